"""What a chapter shows of the library is its source, without docstrings."""

import ast
import inspect

import pytest

from gptlib import muon
from gptlib.course.digits import lab
from gptlib.course.source import source
from gptlib.errors import ConfigError, GptlibError
from gptlib.model import GPT, Block, naive_attention

THINGS = [naive_attention, Block, GPT, GPT.forward, muon.orthogonalize]


def without_docstrings(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize("thing", THINGS)
def test_it_is_the_same_program(thing):
    shown = source(thing).text
    assert '"""' not in shown
    whole = ast.parse(inspect.cleandoc("\n" + inspect.getsource(thing)))
    assert ast.dump(ast.parse(shown)) == without_docstrings(whole)


def test_types_can_be_left_out():
    shown = source(lab.Node, types=False).text
    assert shown.splitlines()[:2] == [
        "class Node:", "    def __init__(self, value, made_of=(), back=None):"
    ]  # fmt: skip
    assert "self.grad = None" in shown and ":" not in shown.splitlines()[2]


def test_comments_stay():
    assert "# (B, H, T, S)" in source(naive_attention).text


def test_a_page_gets_a_code_block_and_a_terminal_gets_text():
    shown = source(naive_attention, Block)
    bundle = shown._repr_mimebundle_()
    assert bundle["text/markdown"] == f"```python\n{shown.text}\n```"
    assert repr(shown) == bundle["text/plain"] == shown.text


def test_of_a_class_without_a_body_its_head_stays():
    assert source(GptlibError, ConfigError).text.endswith("class ConfigError(GptlibError):")
