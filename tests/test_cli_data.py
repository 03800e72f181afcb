"""Numbers as people write them, and orders that `gptlib data prepare` is asked for."""

import argparse
import json

import pytest

from gptlib.cli import main
from gptlib.cli.arguments import count


@pytest.mark.parametrize(
    ("text", "number"),
    [("10B", 10**10), ("500M", 5 * 10**8), ("1.5e6", 1_500_000), ("250k", 250_000), ("7", 7),
     ("1,000", 1000), ("2_000", 2000), ("0.5b", 5 * 10**8)],
)  # fmt: skip
def test_counts(text, number):
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "B", "0", "-5", "1.5", "ten", "1e999", "nan", "inf", "5T"])
def test_counts_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write 10B, 500M"):
        count(text)


def test_prepare_with_a_seed_and_a_limit(tmp_path, capsys):
    lines = [json.dumps({"text": f"The fox {i} sat. " * 9}) for i in range(40)]
    (tmp_path / "fox.jsonl").write_text("\n".join(lines))
    make = ["data", "prepare", str(tmp_path / "fox.jsonl"), "--json", "--out"]
    shuffled = [str(tmp_path / "shuffled"), "--tokens", "2k", "--shuffle-seed", "7"]
    assert main([*make, *shuffled]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["tokens"], manifest["shuffle_seed"]) == (2000, 7)
    assert 2000 <= sum(s["tokens"] for s in manifest["shards"]) < 2200
    assert main([*make, str(tmp_path / "plain"), "--shuffle-seed", "none"]) == 0
    assert "shuffle_seed" not in json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main([*make, str(tmp_path / "x"), "--shuffle-seed", "dice"])
    assert "'dice' is no whole number" in capsys.readouterr().err
