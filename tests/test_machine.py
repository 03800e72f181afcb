"""A job whose variables do not go together, or no compiler: one line, before the run."""

import pytest
import torch

from gptlib import parallel
from gptlib.errors import DeviceError
from gptlib.runtime import Runtime
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
FULL = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **MEETING}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR is ''"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here"}, "MASTER_PORT is ''"),
        (FULL | {"MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        (FULL | {"MASTER_ADDR": ""}, "MASTER_ADDR is ''"),
        ({"RANK": "3"}, "RANK is 3, and WORLD_SIZE is not set"),
        ({"RANK": "0"}, "RANK is 0, and WORLD_SIZE is not set"),
        (FULL | {"RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2; expected a rank from 0 to 1"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK is 1 and WORLD_SIZE is 1"),
        *((FULL | {name: ""}, f"{name} is ''") for name in RANKS[:3]),
        *((FULL | {name: "two"}, f"{name} is 'two'") for name in RANKS[:3]),
        (FULL | {"RANK": "-1"}, "RANK is '-1'"),
        (FULL | {"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        (FULL | {"WORLD_SIZE": "²"}, "WORLD_SIZE is '²'"),
    ],
)
def test_rank_variables_that_do_not_go_together_are_one_line(
    given, says, monkeypatch, make_model, ids, tmp_path
):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match="use torchrun|with torchrun") as refused:
        Trainer(make_model(), ids, ids, TrainConfig(), tmp_path / "run")
    assert says in str(refused.value) and "unset" in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"LOCAL_RANK": "0"}]
)
def test_one_process_is_a_job_too(given, monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    runtime = Runtime.detect("cpu")
    assert (runtime.rank, runtime.world_size) == (0, 1)


@pytest.mark.parametrize("minutes", ["", "ten", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_time_is_one_line(minutes, monkeypatch):
    monkeypatch.setenv("GPTLIB_TIMEOUT_MINUTES", minutes)
    with (
        pytest.raises(DeviceError, match="GPTLIB_TIMEOUT_MINUTES is"),
        parallel.joined(Runtime("cpu", "float32", 0, 2)),
    ):
        pass


def test_a_machine_that_cannot_compile_says_so_before_the_run(
    make_model, ids, tmp_path, monkeypatch
):
    def compiler(function, **options):
        def call(*args):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore words")

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    config = TrainConfig(compile=True)
    with pytest.raises(DeviceError, match="does not work here .*No working C.*--compile"):
        Trainer(make_model(), ids, ids, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
