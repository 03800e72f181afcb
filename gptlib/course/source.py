"""The library's own code, shown where a chapter has derived it.

One job: `source`. Docstrings are left out, since the chapter has just said what they say.
"""

import ast
import inspect
import textwrap


class Source:
    """Python text as the value of a cell: a highlighted block on a page."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/markdown": f"```python\n{self.text}\n```", "text/plain": self.text}


def source(*things: object) -> Source:
    """Return the source of functions, methods or classes, without their docstrings."""
    return Source("\n\n".join(map(_without_docstrings, things)))


def _without_docstrings(thing: object) -> str:
    text = textwrap.dedent(inspect.getsource(thing))  # type: ignore[arg-type]
    lines = text.splitlines()
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            if isinstance(node, ast.ClassDef):  # and the empty line after it
                last += not lines[last].strip()
            lines[first:last] = [None] * (last - first)
    return "\n".join(line for line in lines if line is not None)
