"""Where the files that ship with gptlib are: grammars, the corpus registry, recorded runs.

One job: `data_path`. In a source tree they stand in `data/` beside the package; in an installed
wheel the same folder is part of the package.
"""

from pathlib import Path

from gptlib.errors import DataError

_PACKAGE = Path(__file__).resolve().parent


def data_path(name: str) -> Path:
    """Return the path of a shipped file or folder, e.g. `data_path("runs/kalevala-gpt")`.

    Raises:
        DataError: nothing of that name ships with this version of gptlib.
    """
    for root in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if (root / name).exists():
            return root / name
    raise DataError(
        f"no file data/{name} ships with this version of gptlib; "
        "check the name, or update the package"
    )
