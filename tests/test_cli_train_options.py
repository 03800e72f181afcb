"""The help of `gptlib train`, and of the other commands: each flag says what it is for."""

import argparse
import re

import pytest

from gptlib.cli import build_parser, main
from gptlib.cli.arguments import flag_of
from gptlib.cli.train_options import CONFIGS, OF_A_CALL, OPTIONS, settings_of
from gptlib.presets import PRESETS
from gptlib.settings import GROUPS


def parsers(parser=None, name="gptlib"):
    """Every parser of every command and action, by what is typed."""
    parser = parser or build_parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}")
    yield name, parser


TRAIN = dict(parsers())["gptlib train"]


def test_train_lists_its_flags_under_headings_and_forgets_none():
    headings = {group.title: group for group in TRAIN._action_groups}
    grouped = {a.dest for title in GROUPS.values() for a in headings[title]._group_actions}
    assert grouped == {a.dest for a in TRAIN._actions} - {"help"}
    assert grouped == {
        *OPTIONS,
        *OF_A_CALL,
        *(name for part in CONFIGS for name in settings_of(part)),
    }
    assert all(headings[title]._group_actions for title in GROUPS.values())


@pytest.mark.parametrize("name", dict(parsers()))
def test_every_flag_says_what_it_is_for(name):
    for action in dict(parsers())[name]._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        about = action.help.replace("%%", "%")
        words = re.sub(r"\(default.*?\)", "", about).split()
        assert len(words) >= 2, f"{name} {action.dest}: {about!r}"
        if action.default not in (None, argparse.SUPPRESS, False, "", []):
            assert "default" in about, f"{name} {action.dest} does not name its default"


def test_the_help_of_a_setting_is_its_own_sentence_and_the_default_that_holds(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in CONFIGS:
        for name, field in settings_of(part).items():
            default = getattr(PRESETS["cpu"], part).get(name, field.default)
            default = {"True": "on", "False": "off"}.get(str(default), default)
            assert f" {field.metadata['help']} (default {default})" in shown, name
    for name, preset in PRESETS.items():
        assert f"{name} {preset.about}" in shown


def test_the_flags_that_others_rely_on():
    words = (
        "--corpus c --out o --preset cpu --tokenizer char --resume --seed 1 --steps 1 "
        "--batch-size 1 --block-size 1 --n-layer 1 --n-head 1 --n-embd 1 --dropout 0.1 --lr 0.1 "
        "--accumulate 1 --save-every 1 --eval-every 1 --stop-after 1 --threads 1 --no-bias --json "
        "--corpus-size 9 --init-from r --override --mirror-to m --min-lr 0.1"
    ).split()
    args = build_parser(["train"]).parse_args(["train", *words])
    assert args.n_layer == 1 and args.bias is False and str(args.out) == "o"


def test_a_command_is_built_only_when_it_is_typed():
    commands = build_parser(["train"])._subparsers._group_actions[0].choices
    built = [name for name, parser in commands.items() if len(parser._actions) > 1]
    assert built == ["train"]


@pytest.mark.parametrize("name", [name for name, _ in parsers()])
def test_the_help_is_read_in_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*name.split()[1:], "--help"])
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80, max(shown, key=len)


def test_flag_of():
    assert flag_of("batch_size") == "--batch-size"
