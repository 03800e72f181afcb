"""One address in one place, and a chapter that works with nothing but its own notebook."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from repository import ROOT, repository_files

from book.notebooks import notebook_of, setup_cell, sources, stale
from book.publish import FILES, publish, repository_url, rewrite
from gptlib.errors import ConfigError

URL = "https://github.com/somebody/storyteller"


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the repository's files, and nothing else."""
    for path in repository_files():
        target = tmp_path / "copy" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return tmp_path / "copy"


def test_every_place_agrees_with_the_one_address(root):
    url = repository_url(root)
    for name in FILES:
        text = (root / name).read_text("utf8")
        assert rewrite(text, url) == text, f"{name}: run `make publish-url URL={url}`"


def test_publish_url_writes_the_address_everywhere(copy):
    were_stale = [stale(source, copy) for source in sources(copy)]
    publish(URL + ".git", copy)
    assert repository_url(copy) == URL
    config = yaml.safe_load((copy / "_config.yml").read_text("utf8"))
    assert config["repository"]["url"] == URL
    assert config["launch_buttons"]["colab_url"].startswith("https://colab.")
    assert config["html"]["use_repository_button"] is True
    assert f'"{URL}"' in (copy / "CITATION.cff").read_text("utf8")
    for page in ("README.md", "index.md"):
        assert "colab.research.google.com/github/somebody/storyteller" in (copy / page).read_text()
    for source in sources(copy):
        notebook = nbformat.read(notebook_of(source), as_version=4)
        assert notebook.cells[first_code(notebook)].source == setup_cell(URL)
        assert setup_cell(URL) in source.read_text("utf8")
    assert [stale(source, copy) for source in sources(copy)] == were_stale


def test_publish_url_twice_changes_nothing_and_can_be_taken_back(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    url = repository_url(copy)
    publish(URL, copy)
    assert publish(URL, copy) == []
    publish(url, copy)
    assert {path: path.read_bytes() for path in before} == before


def test_an_address_that_no_browser_knows_is_refused(copy):
    with pytest.raises(ConfigError, match="expected one such as"):
        publish("my repository", copy)


def first_code(notebook) -> int:
    return next(n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A Reader", "-c", "user.email=reader@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def colab(tmp_path) -> Path:
    """A fresh environment that has what the lock has and no gptlib; returns its Python."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "gptlib" not in entry.name and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    made = tmp_path / "colab"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    python = made / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    (Path(site) / "colab.pth").write_text(f"{packages}\n")
    return python


def test_a_lone_notebook_fetches_gptlib(copy, colab, tmp_path, monkeypatch):
    """Only chapter 1's notebook, in an empty folder: its set-up cell installs from the address."""
    publish(copy.as_uri(), copy)
    git(copy, "init", "--quiet", "--initial-branch=main")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=A copy")
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(copy / "chapters" / "01_bigram.ipynb", lone)
    notebook = nbformat.read(lone / "01_bigram.ipynb", as_version=4)

    kernel = tmp_path / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    start = [str(colab), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": start, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(about))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # hatchling is at hand: no network is asked
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)

    setup = notebook.cells[first_code(notebook)]
    look = nbformat.v4.new_code_cell(
        "import torch, gptlib\n"
        "from gptlib.resources import data_path\n"
        "print(gptlib.__file__)\n"
        "print(data_path('corpora.toml'))\n"
        "print(torch.__file__)"
    )
    notebook.cells = [setup, setup.copy(), look]
    for cell, name in zip(notebook.cells, "abc", strict=True):
        cell.id = name
    resources = {"metadata": {"path": str(lone)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="colab", resources=resources)
    client.execute()
    again = "".join(output.get("text", "") for output in notebook.cells[1].outputs)
    assert again == "", "the set-up cell did something the second time"
    package, data, torch_file = notebook.cells[2].outputs[0].text.split()
    inside = str(colab.parents[1])
    assert package.startswith(inside) and data.startswith(inside)
    assert not torch_file.startswith(inside), "the set-up cell touched torch"
