"""What the ablation's record says, and where a step's time goes."""

import pytest
import torch

import gptlib
from gptlib.course.speedrun.ablation import OTHERS, PARTS
from gptlib.course.speedrun.profile import KINDS, REST, kind_of, profile
from gptlib.course.speedrun.reading import mean_errors, pooled, savings, verdicts


@pytest.fixture(scope="module")
def variants():
    return gptlib.load_record("speedrun-cpu").result["variants"]


def test_all_changes_have_a_row_and_the_best_comes_first(variants):
    rows = savings(variants)
    assert {name for name, *_ in rows} == {*PARTS, *OTHERS}
    assert rows[0][0] == "muon" and rows[-1][0] == "larger-batch"


def test_what_is_left_out_and_what_is_put_on_top_have_opposite_signs(variants):
    rows = {name: (alone, last) for name, alone, last in savings(variants)}
    left_out = variants["without-muon"]["val_minus_all"]["mean"]
    on_top = variants["all-plus-rmsnorm"]["val_minus_all"]["mean"]
    assert sum(rows["muon"][1]) / 3 == pytest.approx(left_out)
    assert sum(rows["rmsnorm"][1]) / len(rows["rmsnorm"][1]) == pytest.approx(-on_top)


def test_scatter_is_averaged_over_all_changes(variants):
    sds = [variants[f"plus-{part}"]["val"]["sd"] for part in (*PARTS, *OTHERS)]
    assert min(sds) < pooled(variants, "val") < max(sds)


def test_a_verdict_takes_two_errors():
    rows = [
        ("good", [0.5, 0.6], [0.0, 0.1]),
        ("bad", [-0.5, -0.6], [0.01]),
        ("none", [0.0, 0.1], []),
    ]
    alone, last = mean_errors(rows)
    assert alone == pytest.approx(last) == pytest.approx(0.05)
    first, second = verdicts(rows)
    assert first == {"added": "alone", "saves": "good", "loses": "bad", "nobody can say": 1}
    assert second == {"added": "last", "saves": "–", "loses": "–", "nobody can say": 2}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::gelu_backward", "GELU"),
        ("aten::_fused_adamw_", "AdamW"),
        ("aten::add.Tensor", REST),
    ],
)
def test_operations_are_told_by_their_names(operation, kind):
    assert kind_of(operation) == kind


def test_a_profile_shares_out_the_whole_time():
    x = torch.randn(200, 200)
    shares, operations, covered = profile(lambda: (x @ x).add(1).sum(), times=4)
    assert list(shares) == [*KINDS, REST] and sum(shares.values()) == pytest.approx(1)
    assert shares["matrix products"] > 0 and operations == 3 and covered > 0
