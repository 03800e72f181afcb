"""One model at three ages: each is judged, and words that no lesson named are asked for."""

import json
import shutil

import pytest
import torch

from gptlib.course.stories import stages
from gptlib.course.stories.lessons import Fault
from gptlib.errors import DataError
from gptlib.model import GPT, GPTConfig
from gptlib.resources import data_path


def test_three_runs_are_judged_by_the_same_measures(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "DOCUMENTS", 4)
    asked = []

    def find(model, tokenizer, beginnings, seed):
        asked.append(seed)
        return [Fault((0, 5), 7), Fault((0, 6, 9), 8)], 0.5

    monkeypatch.setattr(stages, "find_faults", find)
    last = tmp_path / "three"
    shutil.copytree(data_path("models/stories"), last)
    line = {"failed": 0.25, "stories": 8, "faults": [[[0, 5], 7], [[0, 6], 8]]}
    (last / "faults.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line) + "\n")
    record = stages.story_stages(["stories", "stories", last], n=3)
    first, second, third = record.result["stages"]
    assert [stage["name"] for stage in record.result["stages"]] == list(stages.NAMES)
    assert first["asked"] == second["asked"] == third["asked"], "it is one and the same model"
    assert first["loss"] > record.result["floor"]
    assert record.result["lessons"] == {"stories": 16, "faults": 4, "failed": [0.25, 0.25]}
    new = record.result["new_faults"]
    assert new["n"] == 2 and new["before"] == pytest.approx(new["after"])
    assert len(record.result["examples"]) == 4
    assert asked == [stages.DICE], "the faults are those of the second"


def test_what_a_model_gives_to_a_word_is_read_at_the_right_place():
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=8, vocab_size=8, n_layer=1, n_head=1, n_embd=16)).eval()
    p = model(torch.tensor([[1, 2, 3]]))[0][0].softmax(-1)
    assert stages.p_wrong(model, [Fault((1, 2, 3), 5), Fault((1,), 4)]) == pytest.approx(
        [p[2, 5].item(), p[0, 4].item()], abs=1e-6
    )


def test_other_than_three_runs_are_refused():
    with pytest.raises(DataError, match="give 3"):
        stages.story_stages(["stories"])
