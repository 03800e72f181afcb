"""The speedrun's races and step times: whole commands, and steps alone, on a tiny text."""

import json

import pytest

from gptlib.course import races, speedrun, step_times
from gptlib.course.records import read_record
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
