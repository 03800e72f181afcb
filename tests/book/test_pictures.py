"""Pictures: compared by their words, put into the page itself, legible in both of its themes."""

import json
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from docutils import nodes
from looks import contrast
from matplotlib.colors import to_hex
from nbval.plugin import IPyNbCell, IPyNbFile

from book.inlining import inline
from book.notebooks import execute, notebook_of
from gptlib.course.picture import COLORS, INK, VARIABLES, Picture
from gptlib.course.plotting import Plot, figure
from gptlib.course.squares import numbered


def line(end: float, alt: str) -> Picture:
    fig, ax = figure()
    ax.plot([0, 1], [1, end])
    return Plot(fig, alt)


def outputs(picture: Picture) -> list:
    """What a notebook stores of a cell whose value is a picture."""
    data, about = picture._repr_mimebundle_()
    return [nbformat.v4.new_output("execute_result", data, metadata=about, execution_count=1)]


def test_a_picture_with_other_digits_is_the_same_and_other_words_are_not(request, tmp_path):
    """Asked of nbval itself, with this repository's settings."""
    notebook = IPyNbFile.from_parent(request.session, path=tmp_path / "notebook.ipynb")
    notebook.setup_sanitize_files()
    cell = IPyNbCell.from_parent(
        notebook, name="Cell 0", cell_num=0, cell=nbformat.v4.new_code_cell(), options={}
    )
    stored = line(2.0, "A line that rises.")
    same = line(2.1, "A line that rises.")
    assert stored.svg != same.svg
    assert cell.compare_outputs(outputs(same), outputs(stored))
    assert not cell.compare_outputs(outputs(line(2.0, "A line that falls.")), outputs(stored))
    assert not cell.compare_outputs([], outputs(stored)), "a picture that is not there"


CELL = """\
import os


class Drawn:
    def _repr_mimebundle_(self, include=None, exclude=None):
        svg = f'<svg viewBox="0 0 9 9">\\n<path d="M0 0h{os.getpid()}"/>\\n</svg>'
        return {"image/svg+xml": svg, "text/plain": "A line of some length."}


Drawn()
"""


def test_the_guard_of_notebooks_compares_a_picture_s_words_alone(tmp_path, root):
    settings = json.dumps(f"--nbval-sanitize-with {root / 'tests' / 'nbval_sanitize.cfg'}")
    (tmp_path / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\naddopts = {settings}\n")
    source = tmp_path / "chapters" / "src" / "01_drawn.md"
    source.parent.mkdir(parents=True)
    source.write_text(f"# Drawn\n\n```{{code-cell}}\n{CELL}```\n", encoding="utf-8")
    execute(source, tmp_path)
    (cell,) = (c for c in nbformat.read(notebook_of(source), 4).cells if c.cell_type == "code")
    assert cell.outputs[0].data["text/plain"] == "A line of some length."


def test_the_page_holds_the_picture_itself(tmp_path):
    picture = line(2.0, "A line that rises.")
    (tmp_path / "picture.svg").write_text(picture.svg, "utf8")
    held = nodes.container("", nodes.image(uri="picture.svg"), mime_type="image/svg+xml")
    beside = nodes.container("", nodes.image(uri="photo.png"), mime_type="image/png")
    page = nodes.section("", held, beside)
    found = SimpleNamespace(relfn2path=lambda uri: (uri, str(tmp_path / uri)))
    inline(SimpleNamespace(env=found), page)
    assert [image["uri"] for image in page.findall(nodes.image)] == ["photo.png"]
    (raw,) = page.findall(nodes.raw)
    assert raw["format"] == "html" and raw.astext() == picture.svg


@pytest.fixture(params=["light", "dark"])
def theme(request, root) -> dict[str, list[int]]:
    """The colors that the style sheet gives to pictures, by their names there."""
    sheet = (root / "assets" / "custom.css").read_text("utf8")
    rules = re.search(rf'html\[data-theme="{request.param}"\] \{{(.*?)\}}', sheet, re.S)[1]
    found = re.findall(r"(--figure-\w+): #(\w\w)(\w\w)(\w\w);", rules)
    return {name: [int(part, 16) for part in parts] for name, *parts in found}


def test_every_theme_has_every_color_and_lines_stand_out(theme):
    assert set(VARIABLES.values()) <= theme.keys()
    paper = theme["--figure-paper"]
    assert contrast(theme["--figure-ink"], paper) > 7
    for color in (*COLORS, INK):
        assert contrast(theme[VARIABLES[color]], paper) > 4.5, "text may have this color"


def test_words_on_squares_can_be_read_in_every_theme(theme):
    _, ax = figure()
    shares = np.linspace(0, 1, 41)
    numbered(ax, shares[None], [["7"] * len(shares)])
    for x, text in enumerate(ax.texts):
        square = theme["--figure-paper"]
        for patch in ax.patches:
            if patch.get_path().contains_point((x, 0)):
                over = theme[VARIABLES[to_hex(patch.get_facecolor()).upper()]]
                share = patch.get_alpha()
                square = [a * (1 - share) + b * share for a, b in zip(square, over, strict=True)]
        front = theme[VARIABLES[text.get_color()]]
        assert contrast(front, square) >= 4.5, f"share {shares[x]:.2f}"
