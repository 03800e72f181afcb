"""The speedrun's races and step times: whole commands, and steps alone, on a tiny text."""

import json

import pytest

from gptlib.course.recipes import load_record
from gptlib.course.records import read_record
from gptlib.course.speedrun import ablation as speedrun
from gptlib.course.speedrun import races, step_times
from gptlib.presets import PRESETS, Preset

SHAPE = dict(n_layer=1, n_head=2, n_embd=8, block_size=8)
TINY = Preset(
    "tiny", SHAPE,
    dict(steps=6, batch_size=4, lr=1e-2, min_lr=0.0, warmup=1, eval_every=6, sampling="random"),
)  # fmt: skip


@pytest.fixture
def goose(tmp_path):
    path = tmp_path / "goose.txt"
    path.write_text("the goose sat on the ladder. the gull sat on the goose.\n" * 60)
    return str(path)


def test_the_shipped_races_compare_like_with_like():
    for name in races.RACES:
        arguments = races.command(name, seed=1)
        at = arguments.index("--steps") if "--steps" in arguments else None
        steps = arguments[at + 1] if at else str(PRESETS[arguments[4]].train["steps"])
        assert arguments[arguments.index("--eval-every") + 1] == steps  # both look equally often
        assert arguments[arguments.index("--seed") + 1] == "1"
        assert name.split("-")[0] == arguments[2]


def test_a_race_runs_whole_commands_and_goes_on_where_it_was(tmp_path, monkeypatch, goose):
    settings = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 8, "batch_size": 4}
    monkeypatch.setattr(races, "RACES", {
        "goose-plain": (goose, "cpu", settings | {"steps": 6}),
        "goose-fast": (goose, "cpu", settings | {"steps": 3}),
    })  # fmt: skip
    out, said = tmp_path / "races", []
    races.race(out, seeds=1, only="plain", report=said.append)
    record = races.race(out, seeds=1, report=said.append)
    assert len(said) == 2
    found = read_record(out).result["races"]
    assert found == record.result["races"]
    plain, fast = found["goose-plain"], found["goose-fast"]
    assert (plain["steps"], fast["steps"]) == (6, 3) and plain["tokens"] == 6 * 4 * 8
    assert plain["params"] == fast["params"] and "faster" not in plain
    for key in ("wall", "training"):
        assert fast["faster"][key] == plain[key]["mean"] / fast[key]["mean"]
    assert 0 < plain["training"]["mean"] < plain["wall"]["mean"]
    races.race(out, seeds=1, report=said.append)
    assert len(said) == 2


def line(kind: str, name: str, val: float, training: float) -> dict:
    return {
        "machine": {"cpu": kind}, "name": name, "seed": 0, "command": "", "val": val, "steps": 1,
        "wall": training + 1, "training": training, "tokens": 1, "params": 1,
    }  # fmt: skip


def test_each_kind_of_processor_is_compared_with_itself(tmp_path, monkeypatch):
    """New lines stand beside those of other kinds; nothing of theirs is run again or mixed in."""
    lines = [
        line("old", "shakespeare-base", 1.9, 100.0),
        line("old", "shakespeare-fifth", 1.88, 20.0),
        line("old", "kalevala-base", 1.5, 100.0),
        line("old", "kalevala-half", 1.41, 40.0),
        line("new", "shakespeare-base", 1.9, 50.0),
        line("new", "shakespeare-sixth", 1.7, 30.0),
    ]
    old, new = races.by_machine(lines)
    assert (old["machine"], new["machine"]) == ({"cpu": "old"}, {"cpu": "new"})
    assert old["races"] == races.compare(lines[:4]) and new["races"] == races.compare(lines[4:])
    assert {name: goal["met"] for name, goal in old["goals"].items()} == {
        "shakespeare-fifth": True, "kalevala-half": False,  # 1.41
    }  # fmt: skip
    assert new["goals"] == {"shakespeare-sixth": {"val": 1.7, "share": 0.6, "met": False}}

    monkeypatch.setattr(races, "RACES", {"shakespeare-base": races.RACES["shakespeare-base"]})
    ran = []
    monkeypatch.setattr(races, "run_race", lambda name, seed: ran.append(name) or line(
        races.this_kind()["cpu"], name, 1.8, 70.0))  # fmt: skip
    for kind in ("old", "newest"):
        monkeypatch.setattr(races, "this_kind", lambda kind=kind: {"cpu": kind})
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        record = races.race(tmp_path, seeds=1, report=ran.append)
        found = [machine["machine"]["cpu"] for machine in record.result["machines"]]
        assert found == ["old", "new", "newest"][: 2 if kind == "old" else 3]
        assert record.result["races"] == races.compare(lines[:4])  # those of the first, as ever
    assert ran[0] == "shakespeare-base" and len(ran) == 2  # and the line that reports it


def test_a_played_processor_is_told_from_the_one_that_plays(monkeypatch):
    for name in races.runtime.PLAYED_DOWN:
        monkeypatch.delenv(name, raising=False)
    plain = races.this_kind()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    played = races.this_kind()
    assert plain["played_by"] == {} and played["played_by"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert played["bfloat16_is_fast"] is False and set(played) == set(plain)


def test_the_shipped_record_names_its_machines():
    result = load_record("speedrun-races").result
    first, *others = result["machines"]
    assert first["races"] == result["races"] and first["machine"]["bfloat16_is_fast"]
    kinds = [json.dumps(row["machine"], sort_keys=True) for row in result["machines"]]
    assert len(set(kinds)) == len(kinds) == 1 + len(others)


def test_step_times_stand_in_the_ablations_record(tmp_path, monkeypatch, goose):
    monkeypatch.setattr(speedrun, "TEST_CHARACTERS", 500)
    sweep = speedrun.plan(TINY, {"rotary": dict(rotary=True)}, {}, goose, seeds=2)
    rows = step_times.time_steps(sweep, steps=4, rounds=2)
    names = {point.name.removesuffix("-s0") for point in sweep.points if point.seed == 0}
    assert set(rows) == {name for name in names if not name.startswith("test-")}
    base = rows["base"]
    assert len(base["ms_per_step"]["values"]) == 2 and base["first_ms"] > 0
    assert base["seconds"] == pytest.approx(6 * base["ms_per_step"]["mean"] / 1000)

    monkeypatch.setattr(step_times, "plan", lambda *args, **kw: sweep)
    out = tmp_path / "tiny"
    step_times.main(["--out", str(out), "--steps", "2", "--rounds", "1"])
    timing = json.loads((out / "timing.json").read_text())
    assert set(timing["variants"]) == set(rows) and timing["threads"] >= 1

    monkeypatch.setattr(speedrun, "plan", lambda *args, **kw: sweep)
    record, _ = speedrun.ablate(out, tmp_path / "work", only="base-s0")
    assert record.result["timing"] == timing["variants"]
