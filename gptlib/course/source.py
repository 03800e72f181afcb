"""The library's own code, shown where a chapter has derived it.

One job: `source`. Docstrings are left out, since the chapter has just said what they say.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


class Source:
    """Python text as the value of a cell: a highlighted block on a page."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/markdown": f"```python\n{self.text}\n```", "text/plain": self.text}


def source(*things: Callable[..., Any], types: bool = True) -> Source:
    """Return the source of functions, methods or classes, without their docstrings.

    Args:
        types: False leaves out the types too, and with them comments and empty lines: for a class
            that is shown for what it holds.
    """
    texts = map(_without_docstrings, things)
    return Source("\n\n".join(texts if types else map(_without_types, texts)))


class _Untyped(ast.NodeTransformer):
    """Takes annotations off arguments, results and names."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        if node.value is None:
            return None
        return ast.Assign([node.target], node.value, lineno=node.lineno)


def _without_types(text: str) -> str:
    plain = ast.unparse(_Untyped().visit(ast.parse(text)))
    return "\n".join(line for line in plain.splitlines() if line.strip())


def _without_docstrings(thing: Callable[..., Any]) -> str:
    text = textwrap.dedent(inspect.getsource(thing))
    lines, gone = text.splitlines(), set()
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            last = docstring.end_lineno or docstring.lineno
            if isinstance(node, ast.ClassDef) and not "".join(lines[last : last + 1]).strip():
                last += 1  # the empty line after it
            gone |= set(range(docstring.lineno, last + 1))
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in gone)
