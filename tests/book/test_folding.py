"""Answers to predictions are folded by rule, on a page and in a notebook, and so is the set-up."""

from types import SimpleNamespace

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

from book.folding import Answer, fold, fold_setup, hide_answers
from book.page_tools import add_tools
from book.pages import keep_together, mark

BOX = "> **Predict.** More, or less?"


def page(*parts: nodes.Node) -> nodes.section:
    """A section of a page, its boxes marked and its answers folded."""
    section = nodes.section("", nodes.title("", "A question"), *parts)
    document = new_document("page")
    document += section
    mark(None, document)
    fold(None, document)
    return section


def box() -> nodes.block_quote:
    return nodes.block_quote(
        "", nodes.paragraph("", "", nodes.strong("", "Predict."), nodes.Text(" ?"))
    )


def cell(code: str, output: str = "", tags: tuple = ()) -> nodes.container:
    parts = [nodes.container("", said(code), nb_element="cell_code_source")]
    if output:
        parts.append(nodes.container("", said(output), nb_element="cell_code_output"))
    about = {"nb_element": "cell_code", "cell_metadata": {"tags": list(tags)}}
    return nodes.container("", *parts, **about)


def said(text: str) -> nodes.paragraph:
    return nodes.paragraph(text, text)


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


def caption() -> list[nodes.Node]:
    return [raw('<div class="caption">\n'), said("figure"), raw("</div>")]


def formula(text: str) -> nodes.math_block:
    return nodes.math_block(text, text)


def words(node: nodes.Node) -> str:
    return " ".join(node.astext().split())


def folded(*parts: nodes.Node) -> list[str]:
    return [words(answer) for answer in page(*parts).findall(Answer)]


def test_an_output_and_the_paragraph_that_follows_are_folded_and_the_code_is_not():
    section = page(
        box(), said("before"), cell("silent"), cell("code", "42"), said("so"), said("on")
    )
    assert [words(answer) for answer in section.findall(Answer)] == ["42 so"]
    left = [words(child) for child in section.children if not isinstance(child, Answer)]
    assert left == ["A question", "Predict. ?", "before", "silent", "code", "on"]


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        (lambda: [cell("a", "1"), *caption(), said("so"), said("on")],
         '1 <div class="caption"> figure </div> so'),
        (lambda: [cell("a", "1"), cell("assert"), said("so"), said("on")], "1 assert so"),
        (lambda: [cell("a", "1"), cell("b", "2"), *caption(), said("so")],
         '1 b 2 <div class="caption"> figure </div> so'),
        (lambda: [cell("a", "1"), said("so"), formula("x,"), said("since"), said("on")],
         "1 so x, since"),
        (lambda: [cell("a", "1"), said("so"), formula("x."), said("on")], "1 so x."),
        (lambda: [cell("a", "1"), cell("b"), box()], "1"),
    ],
)  # fmt: skip
def test_an_answer_ends_with_its_sentence(parts, answer):
    assert folded(box(), *parts())[0] == answer


def test_an_answer_may_stand_below_an_exercise_and_below_no_other_heading():
    def below(title: str) -> nodes.section:
        stub, solution = cell("stub", "○", ("exercise",)), cell("fix", "✓", ("solution",))
        return nodes.section("", nodes.title("", title), stub, solution, cell("a", "1"), said("so"))

    assert folded(box(), below("Exercise 1.1 · Rows")) == ["1 so"]
    assert folded(box(), below("What else?")) == []


def test_what_is_folded_by_hand_or_already_stays_as_it_is():
    by_hand = [raw("<details><summary>Answer</summary>"), said("so"), raw("</details>")]
    assert folded(box(), *by_hand, cell("a", "1"), said("on")) == []
    assert folded(box(), said("or else"), box(), cell("a", "1"), said("so")) == ["1 so"]
    assert folded(cell("a", "1"), said("nobody asked")) == []


def test_the_set_up_cell_is_folded_on_the_page():
    setup = cell("fetch", tags=("setup",))
    page(setup, cell("a", "1"))
    assert (setup["hide_mode"], setup["prompt_show"]) == ("all", "Set up")


@pytest.mark.parametrize("url", ["", "https://github.com/somebody/storyteller"])
def test_a_chapter_offers_its_notebook_and_colab_where_there_is_an_address(tmp_path, url):
    project = f'[project.urls]\nRepository = "{url}"\n' if url else ""
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n{project}")
    app = SimpleNamespace(env=SimpleNamespace(docname="chapters/one"), srcdir=str(tmp_path))
    document = new_document("chapters/one.ipynb")
    document += nodes.section("", nodes.title("", "One"), Answer("", said("so")))
    add_tools(app, document)
    _, line, _ = document[0].children
    assert 'href="../_sources/chapters/one.ipynb" download' in line.astext()
    assert 'class="all-answers" hidden' in line.astext()
    address = "https://colab.research.google.com/github/somebody/storyteller/blob/main/chapters/one"
    assert (address in line.astext()) == bool(url)
    plain = new_document("glossary.md")
    plain += nodes.section("", nodes.title("", "One"))
    add_tools(app, plain)
    assert len(plain[0].children) == 1


def notebook(*cells: str | tuple) -> nbformat.NotebookNode:
    """Markdown is a string; a code cell is a tuple of its output and its tags."""
    made = []
    for part in cells:
        if isinstance(part, str):
            made.append(nbformat.v4.new_markdown_cell(part))
        else:
            output, *tags = part
            outputs = [nbformat.v4.new_output("stream", text=output)] if output else []
            made.append(nbformat.v4.new_code_cell("code", outputs=outputs, metadata={"tags": tags}))
    return nbformat.v4.new_notebook(cells=made)


@pytest.mark.parametrize(
    ("cells", "hidden"),
    [
        ([("0",), BOX, ("",), ("1",), ("2",), "so", ("3",)], [3, 4]),
        ([BOX + "\n> A second line.\n\nBefore.", ("1",), "so", ("2",)], [1]),
        ([f"{BOX}\n\n### Exercise 1", ("○", "exercise"), "x", ("✓", "solution"), ("1",)], [4]),
        ([BOX + "\n\n## What else?", ("1",)], []),
        ([BOX, ("",), "## What else?", ("1",)], []),
        ([BOX + "\n\n<details><summary>Answer</summary>", ("1",)], []),
        (["> **Careful.** This is no question.", ("1",)], []),
    ],
)  # fmt: skip
def test_a_notebook_collapses_the_same_outputs(cells, hidden):
    made = notebook(*cells)
    hide_answers(made)
    nbformat.validate(made)
    collapsed = [
        n
        for n, cell in enumerate(made.cells)
        if cell.metadata.get("collapsed") and cell.metadata["jupyter"]["outputs_hidden"]
    ]
    assert collapsed == hidden


def test_a_notebook_folds_its_set_up():
    made = notebook("Title", ("", "setup"), ("1",))
    fold_setup(made)
    nbformat.validate(made)
    assert [cell.metadata.get("cellView") for cell in made.cells] == [None, "form", None]
    assert made.cells[1].metadata["jupyter"]["source_hidden"]


def test_no_line_of_the_contents_ends_within_a_name():
    """Twice, since Sphinx keeps what it has read; the words stay the same."""
    link = nodes.reference("", "", nodes.Text("Pretraining: a GPT-2, from bytes, well-known GPT-2"))
    toc = nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "", link)))
    words = toc.astext()
    for _ in range(2):
        assert keep_together(None, SimpleNamespace(tocs={"page": toc})) == []
        assert [part.astext() for part in toc.findall(nodes.inline)] == ["GPT-2", "GPT-2"]
        assert toc.astext() == words
