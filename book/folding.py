"""What stays folded until a reader opens it: answers to predictions, and the set-up cell.

One job: find the answer to each `> **Predict.** ...` box, by one rule for the page and one for the
notebook. The answer begins with the output of the next cell that has one, goes on through cells and
captions, and ends with the paragraph that follows, which says it in words. The rule looks no
further than the next heading, exercises excepted: what answers a box may stand below one.
"""

import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from docutils import nodes

#: The line that stands for a folded answer, closed and open.
SUMMARY = '<span class="closed">Decided? Open the answer</span><span class="open">The answer</span>'
_ASIDE = {"exercise", "solution"}  # tags of cells that answer no box
_BOX = re.compile(r"^> \*\*Predict\.\*\*.*(?:\n>.*)*", re.M)
_HEADING = re.compile(r"^#{1,6} (?!Exercise)", re.M)


class Answer(nodes.container):
    """What `<details class="answer">` folds."""


def fold(app: Any, doctree: Any) -> None:
    """Fold a page's answers and its set-up cell."""
    for box in list(doctree.findall(_is_box)):
        _fold_answer(box)
    for cell in doctree.findall(_is_cell):
        if "setup" in _tags(cell):
            cell.attributes.update(hide_mode="all", prompt_show="Set up", prompt_hide="Set up")


def _is_box(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and "box-predict" in node["classes"]


def _is_cell(node: nodes.Node) -> TypeGuard[nodes.container]:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def _tags(cell: nodes.Element) -> set[str]:
    return set(cell["cell_metadata"].get("tags", ()))


def _output(cell: nodes.Node) -> nodes.Element | None:
    """Return what a cell printed and drew, if it is a cell that did."""
    if not _is_cell(cell) or _tags(cell) & _ASIDE:
        return None
    for part in cell.children:
        if isinstance(part, nodes.Element) and part.get("nb_element") == "cell_code_output":
            return part
    return None


def _begins(node: nodes.Node, html: str) -> bool:
    return isinstance(node, nodes.raw) and node.astext().lstrip().startswith(html)


def _after(box: nodes.Element) -> Iterator[nodes.Node]:
    """Yield what follows a box up to the next heading that is not an exercise's."""
    siblings = box.parent.children[box.parent.index(box) + 1 :]
    for node in siblings:
        if not isinstance(node, nodes.section):
            yield node
        elif "exercise" not in node["classes"]:
            return
        else:
            yield from node.children
            return


def _fold_answer(box: nodes.Element) -> None:
    following = list(_after(box))
    if following and _begins(following[0], "<details"):
        return  # folded by hand
    for node in following:
        if isinstance(node, Answer):
            return  # two boxes with one answer
        if (output := _output(node)) is not None:
            parent, place = node.parent, node.parent.index(node) + 1
            rest = _said(parent.children[place:])
            for part in (output, *rest):
                part.parent.remove(part)
            parent.insert(place, Answer("", nodes.container("", output, classes=["cell"]), *rest))
            return


def _said(siblings: list[nodes.Node]) -> list[nodes.Node]:
    """Return how much of what follows an output belongs to the answer."""
    taken: list[nodes.Node] = []
    in_caption = False
    for node, after in zip(siblings, [*siblings[1:], None], strict=True):
        if in_caption or _begins(node, '<div class="caption"'):
            in_caption = not _begins(node, "</div>")
        elif isinstance(node, nodes.paragraph | nodes.bullet_list | nodes.enumerated_list):
            if not isinstance(after, nodes.math_block):
                return [*taken, node]
        elif isinstance(node, nodes.math_block):
            if node.astext().rstrip().endswith("."):  # else its sentence goes on behind it
                return [*taken, node]
        elif not isinstance(node, nodes.table | nodes.comment | nodes.target) and (
            not _is_cell(node) or _tags(node) & _ASIDE
        ):
            break
        taken.append(node)
    while taken and _is_cell(taken[-1]) and _output(taken[-1]) is None:
        taken.pop()
    return taken


def hide_answers(notebook: Any) -> None:
    """Collapse the same outputs in an executed notebook, as JupyterLab and Colab understand it.

    A cell that is run shows what it printed, collapsed or not before.
    """
    cells = list(notebook.cells)
    for n, cell in enumerate(cells):
        if cell.cell_type == "markdown" and (boxes := list(_BOX.finditer(cell.source))):
            rest = cell.source[boxes[-1].end() :]
            if not _HEADING.search(rest) and not rest.lstrip().startswith("<details"):
                _hide_next(cells[n + 1 :])


def _hide_next(cells: list) -> None:
    found = False
    for cell in cells:
        if cell.cell_type != "code":
            if found or _HEADING.search(cell.source):
                return
        elif not _ASIDE & set(cell.metadata.get("tags", ())) and (found or cell.outputs):
            found = True
            if cell.outputs:
                cell.metadata["collapsed"] = True
                cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True


def fold_setup(notebook: Any) -> None:
    """Fold the code of the set-up cell: Colab shows a form, JupyterLab a bar."""
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", ()):
            cell.metadata["cellView"] = "form"
            cell.metadata.setdefault("jupyter", {})["source_hidden"] = True


def _open(self: Any, node: Answer) -> None:
    self.body.append(f'<details class="answer">\n<summary>{SUMMARY}</summary>\n')


def _close(self: Any, node: Answer) -> None:
    self.body.append("</details>\n")


def _unfolded(self: Any, node: Answer) -> None:
    """On paper an answer is text like any other."""


def connect(app: Any) -> None:
    """Register with Sphinx, behind what marks the boxes."""
    on_paper = (_unfolded, _unfolded)
    app.add_node(Answer, html=(_open, _close), latex=on_paper, text=on_paper)
    app.connect("doctree-read", fold)
