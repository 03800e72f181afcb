"""The line under a chapter's title: its notebook, and a button that opens all answers.

One job: where the repository has an address, a chapter opens in Colab; always, its notebook can be
downloaded from the built book. A page says nothing about an address that it does not have.
"""

from pathlib import Path
from typing import Any

from docutils import nodes

from book.folding import Answer
from book.publish import colab_url, repository_url


def add_tools(app: Any, doctree: Any) -> None:
    """Put the line under the title of a page that is a notebook."""
    if not str(doctree.get("source", "")).endswith(".ipynb"):
        return
    name, root = app.env.docname, Path(app.srcdir)
    up = "../" * name.count("/")
    tools = [f'<a href="{up}_sources/{name}.ipynb" download>Download this notebook</a>']
    if address := colab_url(repository_url(root), f"{name}.ipynb"):
        tools.insert(0, f'<a href="{address}">Open in Colab</a>')
    if any(doctree.findall(Answer)):  # without a script each still opens by itself
        tools.append('<button type="button" class="all-answers" hidden>Open all answers</button>')
    line = f'<div class="page-tools">{" ".join(tools)}</div>'
    title = next(doctree.findall(nodes.title))
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", line, format="html"))


def _load_script(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    if doctree is not None and any(doctree.findall(Answer)):
        app.add_js_file("answers.js", loading_method="defer")


def connect(app: Any) -> None:
    """Register with Sphinx, behind what folds the answers."""
    app.connect("doctree-read", add_tools)
    app.connect("html-page-context", _load_script)
