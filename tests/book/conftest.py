"""What the tests of the book share: the repository's root, its chapters, and the built book."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import Browser, chromium
from repository import ROOT

from book.notebooks import notebook_of, sources


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(params=sources(ROOT), ids=lambda source: source.stem)
def source(request) -> Path:
    """The text twin of each chapter in turn."""
    return request.param


@pytest.fixture
def chapter(source):
    """The notebook of each chapter in turn."""
    return nbformat.read(notebook_of(source), as_version=4)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The whole book, built once with warnings as errors; only `test_pages.py` asks for it."""
    out = tmp_path_factory.mktemp("site")
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(ROOT)]
    command += ["-W", "-n", "--keep-going", "--all", "--path-output", str(out)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=out, check=False)
    problems = [line for line in (built.stdout + built.stderr).splitlines() if "WARNING" in line]
    assert built.returncode == 0 and not problems, "\n".join(problems) or built.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium without a window; a test that asks for it is skipped where there is none."""
    if chromium() is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started
