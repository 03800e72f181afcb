"""Where only the text of a chapter changed, its notebook keeps what its cells printed."""

import nbformat
import pytest

from book.notebooks import convert, notebook_of, rewrite, stale, stamp

TEXT = "# A chapter\n\nOld words.\n\n```{code-cell}\nprint(1 + 1)\n```\n"


@pytest.fixture
def source(tmp_path):
    """A chapter with its notebook, executed: here the output is written by hand."""
    source = tmp_path / "chapters" / "src" / "01_short.md"
    source.parent.mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("numpy==2.0\n")
    source.write_text(HEAD + TEXT)
    notebook = convert(source)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", text="2\n")]
    cell.execution_count = 1
    notebook.metadata["gptlib"] = stamp(source, tmp_path) | {"seconds": 3}
    nbformat.write(notebook, notebook_of(source))
    assert not stale(source, tmp_path)
    return source


HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
---

"""


def test_new_words_are_written_around_the_old_outputs(source, tmp_path):
    source.write_text(HEAD + TEXT.replace("Old words", "New words"))
    assert stale(source, tmp_path)
    assert rewrite(source, tmp_path)
    notebook = nbformat.read(notebook_of(source), as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "New words" in notebook.cells[0].source
    assert (code.outputs[0].text, code.execution_count) == ("2\n", 1)
    assert notebook.metadata["gptlib"]["seconds"] == 3
    assert not stale(source, tmp_path)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in convert(source).cells]


@pytest.mark.parametrize("change", ["code", "one more cell", "lock", "no notebook"])
def test_what_has_to_run_is_left_alone(source, tmp_path, change):
    if change == "code":
        source.write_text(HEAD + TEXT.replace("1 + 1", "1 + 2"))
    elif change == "one more cell":
        source.write_text(HEAD + TEXT + "\n```{code-cell}\nprint(3)\n```\n")
    elif change == "lock":
        (tmp_path / "requirements.lock").write_text("numpy==2.1\ntorch==2.13.0\n")
    else:
        notebook_of(source).unlink()
    before = notebook_of(source).read_bytes() if change != "no notebook" else b""
    assert not rewrite(source, tmp_path)
    assert (notebook_of(source).read_bytes() if before else b"") == before
