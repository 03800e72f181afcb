"""Colab's versions: the stored list satisfies gptlib, and a newer one takes its place."""

import tomllib

from packaging.requirements import Requirement

from book.colab import chosen


def test_colab_s_versions_are_admitted(root):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]
    lines = (root / "environment-colab.txt").read_text("utf8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for text in project["dependencies"]:
        need = Requirement(text)
        assert need.specifier.contains(pins[need.name]), f"{need} and {pins[need.name]}"


def test_a_newer_list_changes_versions_and_no_package():
    new = chosen("torch==2.12.0+cu128\nTyping-Extensions==5.0\nkeras==3.1\n",
                 "# head\ntorch==2.11.0\ntyping_extensions==4.15.0\nnumpy==2.0.2\n")  # fmt: skip
    assert new == "# head\ntorch==2.12.0\ntyping_extensions==5.0\nnumpy==2.0.2\n"
