"""Text twins to executed notebooks: `python -m book.notebooks [--check] [NAMES]`.

One job: `chapters/src/NN_name.md` is what a person edits, `chapters/NN_name.ipynb` is what a
reader opens. A changed source is converted by jupytext, executed on one thread, run again as on
other machines (`book.machines`), refused if an output that the tests compare differs on
one of them, and stamped with the hash of its source and of what it ran on. What says nothing
to a reader (times, version numbers, random cell ids) is taken out, so that an unchanged result is
an unchanged file. Where no cell of code changed, nothing runs and the outputs stay.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from book.folding import fold_setup, hide_answers
from book.lock import of_chapters
from book.machines import GUARDS, environment
from gptlib.files import sha256

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The first code cell of every chapter, tagged `setup`. `publish.py` fills the address in.
SETUP_CELL = """\
# Fetches gptlib where it is missing, as in Colab. Safe to run twice.
import importlib.util

REPOSITORY = ""  # written by `make publish-url URL=...`
if importlib.util.find_spec("gptlib") is None and REPOSITORY:
    %pip install --quiet --no-deps git+{REPOSITORY}
elif importlib.util.find_spec("gptlib") is None:
    print("gptlib is missing. Open this notebook from your copy of the book's",
          "repository: `make book` installs it there.")"""

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def setup_cell(url: str) -> str:
    """Return the set-up cell for a repository at `url` ("" while it has no address)."""
    return SETUP_CELL.replace('REPOSITORY = ""', f'REPOSITORY = "{url}"')


def sources(root: Path) -> list[Path]:
    """Return the text twins in the order of the book."""
    return sorted((root / "chapters" / "src").glob("*.md"))


def notebook_of(source: Path) -> Path:
    """Return where the notebook of a text twin stands."""
    return source.parent.parent / f"{source.stem}.ipynb"


def stamp(source: Path, root: Path) -> dict[str, str]:
    """Return the hashes that a fresh notebook carries under `metadata.gptlib`."""
    lock = root / "requirements.lock"
    pinned = of_chapters(lock.read_text("utf8")) if lock.exists() else ""
    return {"source": sha256(source), "lock": hashlib.sha256(pinned.encode()).hexdigest()}


def stale(source: Path, root: Path) -> bool:
    """Say whether a notebook is missing or was made from another source or another lock."""
    target = notebook_of(source)
    if not target.exists():
        return True
    stored = _read(target).metadata.get("gptlib", {})
    return {key: stored.get(key) for key in ("source", "lock")} != stamp(source, root)


def _read(path: Path) -> "NotebookNode":
    """Read a notebook as one of format 4."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    assert isinstance(notebook, nbformat.NotebookNode)  # a list of them in format 1 alone
    return notebook


def convert(source: Path) -> "NotebookNode":
    """Return the notebook of a text twin, not executed, with cell ids that do not change."""
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    assert isinstance(notebook, nbformat.NotebookNode)
    notebook.metadata = type(notebook.metadata)(kernelspec=dict(KERNEL))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    fold_setup(notebook)
    _name_cells(notebook)
    return notebook


def renew_setup_cell(source: Path, root: Path, fresh: bool) -> None:
    """Write the set-up cell of a text twin into its notebook, outputs and all else as they are.

    The set-up cell does nothing where gptlib is installed, so no other cell has to run again: a
    notebook that was `fresh` before the source changed is stamped as fresh.
    """
    import nbformat

    target = notebook_of(source)
    if not target.exists():
        return
    notebook = _read(target)
    for old, new in zip(notebook.cells, convert(source).cells, strict=False):
        if "setup" in old.metadata.get("tags", ()) and "setup" in new.metadata.get("tags", ()):
            old.source = new.source
    _name_cells(notebook)
    if fresh:
        notebook.metadata["gptlib"]["source"] = stamp(source, root)["source"]
    nbformat.write(notebook, target)


def rewrite(source: Path, root: Path) -> bool:
    """Write a changed text around the outputs that a notebook has, where no code changed.

    Returns:
        Whether that could be done: False, and nothing is written, if a cell of code is another one
        or the notebook was made with another lock.
    """
    import nbformat

    target, new = notebook_of(source), convert(source)
    if not target.exists():
        return False
    old = _read(target)
    made = dict(old.metadata.get("gptlib", {}))
    ran, runs = ([c for c in n.cells if c.cell_type == "code"] for n in (old, new))
    same = [cell.source for cell in ran] == [cell.source for cell in runs]
    if not same or made.get("lock") != stamp(source, root)["lock"]:
        return False
    for before, after in zip(ran, runs, strict=True):
        after.outputs, after.execution_count = before.outputs, before.execution_count
    _tidy(new)
    new.metadata["gptlib"] = made | stamp(source, root)
    nbformat.write(new, target)
    return True


def _name_cells(notebook: "NotebookNode") -> None:
    """Give each cell an id that depends on its text alone."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


class NotPortable(Exception):
    """A notebook prints something else on another machine; the message shows which cells."""


def execute(source: Path, root: Path, timeout: int = 600) -> float:
    """Convert, run, try elsewhere and write one notebook; return the CPU seconds of its cells.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; nothing is written.
        NotPortable: an output that the tests compare differs on another machine; nothing is
            written.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = convert(source)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(source.parent.parent)}},
    )
    notebook.cells.append(nbformat.v4.new_code_cell(_MEASURE))
    client.execute(env=_alone(os.environ))
    used = json.loads(notebook.cells.pop().outputs[0].text)
    _tidy(notebook)
    target = notebook_of(source)
    partial = target.with_name(f".{source.stem}.ipynb")  # beside it: cells see the same folder
    try:
        nbformat.write(notebook, partial)
        _try_elsewhere(partial, root, source.stem)
        _fill_card(source, notebook, **used)
        measured = {"seconds": round(used["seconds"]), "gigabytes": round(used["gigabytes"], 1)}
        notebook.metadata["gptlib"] = stamp(source, root) | measured | {"machines": list(GUARDS)}
        nbformat.validate(notebook)
        nbformat.write(notebook, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return used["seconds"]


# The CPU seconds that the kernel has used and the most memory that it held.
_MEASURE = """\
import json, resource, sys
_used = resource.getrusage(resource.RUSAGE_SELF)
_unit = 1e9 if sys.platform == "darwin" else 1e6  # Linux counts in kilobytes
print(json.dumps({"seconds": _used.ru_utime + _used.ru_stime,
                  "gigabytes": _used.ru_maxrss / _unit}))"""

_CARD = re.compile(r"^\| `cpu`, one thread \|.*\|$", re.M)


def card(seconds: float, gigabytes: float) -> str:
    """Return the line of a chapter's cost card that was measured."""
    return f"| `cpu`, one thread | {seconds / 60:.1f} | {gigabytes:.1f} GB |"


def _fill_card(source: Path, notebook: "NotebookNode", seconds: float, gigabytes: float) -> None:
    """Write what was measured into the cost card, in the notebook and in its text twin."""
    text = source.read_text("utf8")
    source.write_text(_CARD.sub(card(seconds, gigabytes), text), "utf8")
    for cell in notebook.cells:
        cell.source = _CARD.sub(card(seconds, gigabytes), cell.source)
    _name_cells(notebook)


def _alone(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a notebook: one thread, and only what ships with the package."""
    alone = {**variables, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    alone.pop("GPTLIB_DATA", None)
    return alone


def _try_elsewhere(notebook: Path, root: Path, name: str) -> None:
    """Run a notebook as the tests do, as on each of the machines that guard it."""
    command = [
        sys.executable, "-m", "pytest", "-n", "0", "-q", "--color=no", "--no-header", "--nbval",
        f"--rootdir={root}", "-p", "no:cacheprovider", str(notebook),
    ]  # fmt: skip
    runs = {
        machine: subprocess.Popen(
            command, cwd=root, env=_alone(environment(machine)), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for machine in GUARDS
    }  # fmt: skip
    said = {machine: run.communicate()[0] for machine, run in runs.items()}
    for machine, run in runs.items():
        if run.returncode:
            raise NotPortable(
                f"{name} says something else on the machine {machine} than here, and is not "
                f"stored; let its cells show what holds on every machine:\n{said[machine]}"
            )


def _tidy(notebook: "NotebookNode") -> None:
    """Drop what changes from run to run, label the folds of solutions, fold the answers."""
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "solution" in cell.metadata.get("tags", ()):
            shown = {"code_prompt_show": "Solution", "code_prompt_hide": "Solution"}
            cell.metadata["mystnb"] = shown
    hide_answers(notebook)


def main(argv: list[str] | None = None) -> int:
    """Bring the notebooks up to date, or with `--check` only say which are not."""
    parser = argparse.ArgumentParser(prog="book.notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="chapters, e.g. 01_bigram; default: all")
    parser.add_argument("--check", action="store_true", help="run nothing; exit 1 if any is stale")
    parser.add_argument("--all", action="store_true", help="run the fresh ones again as well")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository's root")
    options = parser.parse_args(argv)
    wanted = [s for s in sources(options.root) if not options.names or s.stem in options.names]
    missing = set(options.names) - {source.stem for source in wanted}
    if missing:
        parser.error(f"chapters/src has no {sorted(missing)[0]}.md")
    old = [source for source in wanted if options.all or stale(source, options.root)]
    if options.check:
        for source in old:
            print(f"{source.stem}: stale; run `make notebooks`")
        return 1 if old else 0
    refused = []
    for source in old:
        if not options.all and rewrite(source, options.root):
            print(f"{source.stem}: only the text changed; its outputs stay")
            continue
        print(f"{source.stem}: running", flush=True)
        try:
            seconds = execute(source, options.root)
        except NotPortable as error:
            print(error)
            refused.append(source.stem)
        else:
            print(f"{source.stem}: {seconds:.1f} s of CPU time", flush=True)
    if not old:
        print("every notebook is up to date")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
