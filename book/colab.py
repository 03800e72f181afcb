"""Every notebook alone, with Colab's package versions: `python -m book.colab run`.

One job: what a reader of a lone notebook meets. `run` publishes a copy of the repository on this
disk, puts each notebook by itself into an empty folder, and runs it with the Python that it is
given, where gptlib is missing until the set-up cell fetches it. Outputs are not compared: other
versions may print other digits. `pin` writes `environment-colab.txt` from Colab's list.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from book.notebooks import sources
from book.publish import publish

_PIN = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)


def chosen(listed: str, file: str) -> str:
    """Return the text of `environment-colab.txt` with the versions of a newer list.

    Args:
        listed: what `pip freeze` said in Colab. file: the text to renew; its packages stay.
    """
    versions = {name.lower().replace("_", "-"): version for name, version in _PIN.findall(listed)}

    def newer(match: re.Match[str]) -> str:
        return f"{match[1]}=={versions.get(match[1].lower().replace('_', '-'), match[2])}"

    return _PIN.sub(newer, file)


def published_copy(root: Path, folder: Path) -> Path:
    """Commit a copy of the repository's files in a folder, with that folder as its address."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    publish(folder.as_uri(), folder)
    identity = ["-c", "user.name=A Reader", "-c", "user.email=reader@example.org"]
    for step in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=A copy"]):
        subprocess.run(["git", *identity, *step], cwd=folder, check=True)
    return folder


def run_alone(notebook: Path, python: Path, folder: Path) -> float:
    """Run a notebook alone in an empty folder; return its seconds.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    lone = folder / "lone"
    lone.mkdir(parents=True)
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": start, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(about))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    shutil.copy(notebook, lone)
    began = time.monotonic()
    alone = cast(Any, nbformat.read(lone / notebook.name, as_version=4))
    NotebookClient(
        alone, timeout=1800, kernel_name="colab",
        resources={"metadata": {"path": str(lone)}},
    ).execute()  # fmt: skip
    return time.monotonic() - began


def _run(options: argparse.Namespace) -> int:
    failed = []
    with tempfile.TemporaryDirectory() as made:
        copy = published_copy(options.root, Path(made) / "copy")
        names = options.names or [source.stem for source in sources(options.root)]
        for name in names:
            try:
                took = run_alone(
                    copy / "chapters" / f"{name}.ipynb", options.python, Path(made) / name
                )
                print(f"{name}: {took:.0f} s", flush=True)
            except Exception as error:
                failed.append(name)
                print(f"{name}: {error}", file=sys.stderr, flush=True)
    print(f"{len(failed)} of {len(names)} notebooks failed" if failed else "all notebooks ran")
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run notebooks, or renew the list of versions."""
    parser = argparse.ArgumentParser(prog="book.colab", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository's root")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run each notebook alone")
    run.add_argument("names", nargs="*", help="such as 01_bigram; all, unless some are named")
    run.add_argument("--python", type=Path, default=Path(sys.executable), help="runs the cells")
    pin = commands.add_parser("pin", help="write environment-colab.txt from a newer list")
    pin.add_argument("list", type=Path, help="Colab's pip-freeze.txt")
    options = parser.parse_args(argv)
    if options.command == "run":
        return _run(options)
    file = options.root / "environment-colab.txt"
    file.write_text(chosen(options.list.read_text("utf8"), file.read_text("utf8")), "utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
