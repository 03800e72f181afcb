"""No figure has text too small for a phone, text on text, or a legend on its data."""

import inspect
import re
import string
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from reading import faults

from gptlib.course.beats import plots as beats
from gptlib.course.beats import preference_plots as preference
from gptlib.course.bigram import plots as bigram
from gptlib.course.digits import plots as digits
from gptlib.course.learned_last import plots as learned_last
from gptlib.course.multi_head import plots as transformer
from gptlib.course.plotting import Plot, figure
from gptlib.course.pretraining import plots as pretraining
from gptlib.course.records import Record
from gptlib.course.scaling import plots as scaling
from gptlib.course.scaling.law import Law
from gptlib.course.self_attention import plots as attention
from gptlib.course.speedrun import plots as speedrun
from gptlib.course.stories import bits
from gptlib.course.stories import plots as stories
from gptlib.course.stories import plots_sampling as samplers
from gptlib.course.stories.packing import WAYS
from gptlib.course.tokens import plots as tokens

LAW = Law(0.5, 40.0, 0.5, 300.0, 0.45)
SIZES = [1, 4, 16, 64, 256]
RUNS = [
    {"params": N, "tokens": R, "characters": R, "val": LAW(N, R) + 0.1, "best_val": LAW(N, R)}
    for N in (1e4, 3e4, 1e5, 5e5)
    for R in (5e5, 1.5e6, 4.5e6)
]
FALL = [3.8 * 0.9**n + 0.5 for n in range(40)]
PIXELS = np.arange(64) % 17
TABLE = np.eye(10, dtype=int) * 30 + (np.arange(100).reshape(10, 10) % 7 == 3)
LOG = [{"step": n, "loss": loss} for n, loss in enumerate(FALL)]
POINTS = [
    {"val": 0.5 + 2 * 0.7**n, "step": 500 * n}
    | {
        name: {"accuracy": min(1, 0.5 + k * n / 60), "log_ratio": (k + 1) * n / 6}
        for k, name in enumerate(learned_last.PROBES)
    }
    for n in range(15)
]
GROUPS = [{"count": 90, "confidence": c, "accuracy": c - 0.05} for c in (0.45, 0.6, 0.75, 0.9, 1)]
LETTERS = "\n ',.:?ABEHIMNOSTWY" + string.ascii_lowercase
GRID = np.geomspace(1e-4, 1, 200)
SWEEP = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3)

ORDERS = ("source order", "shuffled documents")
SPIKES = Record(
    "x", "x", {}, {}, {},
    {"borders": [10, 20, 30], "orders": {name: {"rise": 0.5} for name in ORDERS}},
    log=[line | {"order": name} for name in ORDERS for line in LOG],
)  # fmt: skip


def told(share: float, distinct: float, **settings: object) -> dict:
    """A sampler's row of the record, as far as it is drawn."""
    interval = [max(0, share - 0.06), min(1, share + 0.04)]
    return {"ok": {"share": share, "ci95": interval}, "distinct_2": distinct, "settings": settings}


RIVALS = (
    "base", "likeliest of 4", "best of 2", "best of 4", "tuned on passed", "tuned on chosen",
    "DPO, β = 0.03", "DPO, β = 0.1", "DPO, β = 0.3",
)  # fmt: skip
DRAWN = {
    bits.levels: (torch.sin(torch.arange(128) ** 1.5) * 0.1,),
    samplers.quality_and_diversity: (
        {"greedy": told(0.97, 0.19), "temperature 0.8": told(0.92, 0.235),
         "no 4-gram twice": told(0.45, 0.29, no_repeat_ngram_size=4),
         "4 beams, by mean": told(1, 0.18, num_beams=4), "repetition 1.2": told(0, 0.4)}
        | {f"top-k {k}": told(0.9, 0.23) for k in range(5, 17)},
    ),
    bits.errors: (torch.sin(torch.arange(512) ** 1.5).reshape(2, 256),),
    tokens.sweep: (
        [256, 1024, 4096, 8192, 16384], [1, 2.5, 3.6, 4.1, 4.6], [2.4, 4.5, 5.6, 6, 6.5],
        [3.4, 2.5, 2.2, 2.1, 2.1], "Alt.",
    ),
    tokens.unread: ([0, 0, 3, 80, 12_000], [0.98, 0.97, 0.9, 0.4, -0.3], "Alt."),
    attention.ngram_losses: (
        {"training": dict(zip(range(2, 7), FALL, strict=False)), "add-one": {2: 3.0, 6: 2.9}},
        0.5, "Alt.",
    ),
    attention.spread_and_entropy: (
        SIZES, {"q·k": [1, 2, 4, 8, 16], "q·k / √D": [1] * 5},
        {"q·k": [3.7, 2.8, 1.4, 0.6, 0.3], "q·k / √D": [3.7] * 5}, 4.16, "Alt.",
    ),
    attention.maps: (
        {"equal weights": torch.ones(21, 21).tril() / 21, "learned": torch.eye(21)},
        list("Ada moved the\nmm. She"[:21]), 20, "e of She", "Alt.",
    ),
    attention.speed: (SIZES, {"naive": [1, 5, 9, 80, 900], "fused": [1, 3, 6, 20, 90]}, "Alt."),
    bigram.pair_map: (np.eye(len(LETTERS)) * 0.5, LETTERS, [LETTERS[1] * 2]),
    bigram.loss_curve: ({1.0: FALL, 40.0: FALL[5:], 90.0: FALL[9:]}, 4.3, 1.4, 0.5),
    bigram.temperature_curve: ([0.1, 0.5, 1, 2, 4], [0.1, 1.4, 2.2, 2.9, 3.5], 3.8, 2.2),
    bigram.batch_spread: (
        [2.466, 2.481, 2.485], [2.464, 2.474, 2.482], 2.475, 2.476, (2.471, 2.462),
    ),
    digits.pictures: (PIXELS, [PIXELS] * 12, list(range(12))),
    digits.nudge_errors: (
        [10.0**-n for n in range(14)],
        {"one side": [10.0 ** -abs(7 - n) for n in range(14)],
         "both sides": [10.0 ** -abs(9 - n) for n in range(14)]},
    ),
    digits.descents: ({0.1: FALL, 1: FALL[3:], 10: FALL[::-1]}, 2.3),
    digits.bowls: (
        {0.5: [1, 0.5, 0.25], 1.0: [1, 0, 0], 1.9: [1, -0.9, 0.81], 2.1: [1, -1.1, 1.21]},
        ["creeps", "lands", "leaps across", "leaves"],
    ),
    digits.templates: (np.sin(np.arange(640)).reshape(64, 10),),
    digits.confusions: (TABLE, [(PIXELS, 5, 9, 0.98)] * 8),
    digits.reliability: ({"hands it knows": GROUPS, "strangers": GROUPS[1:]},),
    digits.errors_by_size: (
        [500, 1000, 2000, 4000, 8000],
        {"softmax": [[0.2 - k / 30] * 2 for k in range(5)],
         "network": [[0.18 - k / 30] * 2 for k in range(5)]},
    ),
    pretraining.shard_spikes: (SPIKES,),
    pretraining.schedules: (
        {"cosine": np.linspace(1, 0.1, 99), "wsd": np.linspace(1, 0, 99), "constant": np.ones(99)},
    ),
    beats.by_rate: (
        [{"rate": rate, "epochs": [
            {"epoch": n, "train": 3 - speed * n if n else None,
             "held_out": 3 - speed * n + speed**2 * n**2} for n in range(24)]}
         for rate, speed in ((1e-2, 0.1), (1e-3, 0.02))],
    ),
    preference.followed: (
        [{"name": name, "followed": 3 * [[{"step": 20 * n, "chosen": 12 * n - 5 * n * k,
                                           "rejected": 9 * n - 8 * n * k} for n in range(7)]]}
         for k, name in enumerate(RIVALS[4:])] + [{"name": RIVALS[0]}],
    ),
    preference.bought_and_paid: (
        [{"name": name, "holds": told(0.6 + n / 30, 0)["ok"],
          "within_self_bleu": {"mean": 30 + 4 * n, "values": [28 + 4 * n, 32 + 4 * n]}}
         | ({} if " of " in name else {"loss": 1}) for n, name in enumerate(RIVALS)],
    ),
    pretraining.faulty_logs: (
        {letter: [{"step": 20 * n, "val": val + k / 2, "grad_norm": 0.1 * 3**k + val / 9}
                  for n, val in enumerate(FALL[:30])] for k, letter in enumerate("ABCD")}, 0.5,
    ),
    pretraining.tokens_and_loss: (
        {"10M": [(8e5 * 1.1**n, 2 * loss + 3) for n, loss in enumerate(FALL[:30])],
         "124M": [(8e3, 10.9), (2.4e5, 7.5), (7.3e5, 6.6)]},
        {"published": (1e10, 3.09)},
    ),
    pretraining.bars: (
        {"somebody, a card, 16 windows of 1,024": [(f"change {n}", 9_000.0 * 2**n)
                                                   for n in range(6)],
         "this machine, two threads": [("transformers, float32", 117.0), ("ours", 105.0)]},
        "times the first's tokens/s",
    ),
    pretraining.hellaswag: (
        {f"{name}, {how}": (0.25 + n / 99, 0.24 + n / 99, 0.26 + n / 99)
         for name in ("untrained", "10M") for n, how in enumerate(("acc", "acc_norm_tokens"))},
        {"GPT-2, by characters": 0.311, "FineWeb, three passes": 0.325},
    ),
    pretraining.changes: (
        {"muon": [-0.12, -0.13], "relu2-qk-norm": [0.04, 0.05]}, {"untied-zero": 0.25},
    ),
    scaling.overfitting: (
        [(n, loss) for n, loss in enumerate(FALL)],
        [(n, 2 + (n - 15) ** 2 / 500) for n in range(40)],
        {"as it is": [(0, 3), (500, 2.8)], "dropout 0.2": [(0, 3), (500, 2)]}, 0.5,
    ),
    scaling.straight_line: (RUNS, lambda N, R: 300 * N**-0.1 * R**-0.3, (1e9, 0.3), 0.48),
    scaling.size_and_text: (RUNS, LAW, 0.48, [LAW]),
    scaling.budgets: (LAW, (1e12, 1e13, 1e14)),
    scaling.prediction: ([1.0, 1.2, 1.7], [1.01, 1.17, 1.8], (0.9, 0.88, 0.92, 0.91)),
    scaling.unique_text: (RUNS,),
    speedrun.rates: (
        {"one rate for all": dict(zip(SWEEP, FALL, strict=False)),
         "table four times": dict(zip(SWEEP, FALL[4:], strict=False))}, 1e-3,
    ),
    speedrun.schedules: (
        {"nanoGPT": [0, 1, 0.8, 0.5, 0.2, 0.1], "ends": [0, 1, 0.7, 0.4, 0.1, 0],
         "wsd": [0, 1, 1, 1, 0.5, 0]},
    ),
    speedrun.pairs: ([2.19, 2.22], [2.15, 2.19], ("ends at zero", "ends at a tenth")),
    speedrun.diagonals: ({"turned": np.eye(24), "vectors added": np.eye(24)},),
    speedrun.lifted: (
        [1 - (1 - GRID) ** 3.4**n for n in range(6)], np.geomspace(1, 1e-5, 64).tolist(),
        np.geomspace(1.2, 1e-2, 64).tolist(),
    ),
    speedrun.gains: (
        [(f"change {n}", [0.02 * n, 0.021 * n], [0.03 * n]) for n in range(12, -3, -1)],
    ),
    speedrun.progress: ({"base": [(0, 4.2), (768, 2.1)], "all": [(0, 4.2), (768, 1.7)]}, "read"),
    speedrun.race: ({"as published": (86.0, 93.9), "tuned": (55.7, 63.6), "all": (12.8, 18.7)},),
    stories.learned: (
        [{"step": step, "loss": 0.2 + 7 * 0.5**n, "form": min(1, n / 3), "names": min(1, n / 6),
          "holds": max(0, n - 6) / 9,
          **{k: {"accuracy": min(1, 0.5 + n / 20)} for k in stories.PROBES}}
         for n, step in enumerate((0, 50, 100, 200, 400, 800, 1500, 3000, 7000))], 0.18,
    ),
    stories.fairy_tales: (
        {"from scratch": [(n, 6 - n / 5 + n * n / 50) for n in range(1, 13)],
         "from chapter 6": [(n, 5 - n / 5 + n * n / 40) for n in range(1, 13)]},
        [(3, 5.042), (4, 4.985), (5, 5.053), (6, 5.215), (8, 5.637), (12, 6.724)],
        [(n, 6 - n / 3) for n in range(1, 13)],
    ),
    stories.third_person: (
        {"names": [f"N{k}" for k in range(32)], "odds": [0, 0, *[1 / 30] * 30], "said": "N7",
         "before": [0.08, 0.02, *[0.03] * 30], "after": [0.001, 0.002, *[0.033] * 30]},
    ),
    stories.packing: (
        {way: {"logged": 3 - n / 10, "loss": 3.1 - n / 20} for n, way in enumerate(WAYS)},
    ),
    transformer.build_up: (
        dict(zip(["bigram", "one head", "multi-head", "feed-forward", "three blocks", "residual",
                  "layer norm"], [[2.3, 2.31], [2, 2.1], [1.8], [1.6], [1.8], [1.4], [1.3]],
                 strict=True)), 0.5,
    ),
    transformer.gradient_by_depth: (
        [1, 2, 4, 8, 16], {"plain": [10.0**-n for n in (2, 4, 8, 12, 20)], "residual": [0.1] * 5},
    ),
    transformer.heads_back: (torch.eye(4, 8).flip(1) * 0.7 + 0.3 / 8,),
    transformer.bend: (
        [-4, -0.76, 0, 1, 4], [0, -0.17, 0, 0.84, 4],
        {"first": [0, 0, 1, 2.5], "second": [0, 0, 0, 1.5], "first − 2 second": [0, 0, 1, -0.5]},
    ),
    transformer.two_ways: (
        {"descent": [(0, 1 - n / 9999) for n in range(1, 101)],
         "AdamW": [(0.985**n,) * 2 for n in range(1, 101)]},
    ),
    learned_last.probes: (POINTS, 0.49),
    learned_last.accuracy_by_distance: (
        {"shipped": {"she or he?": [("70–105", 1.0, 90), ("106–150", 1.0, 90)],
                     "the promise?": [("300–450", 1.0, 90), ("451–600", 1.0, 90)]},
         "half a minute": {"she or he?": [("70–105", 0.5, 90), ("106–150", 0.5, 90)],
                           "the promise?": [("300–450", 0.4, 90), ("451–600", 0.7, 90)]}},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """Let a plot keep its figure, which it otherwise lets go once the picture is made."""
    make = Plot.__init__

    def make_and_keep(self, fig: Figure, alt: str) -> None:
        make(self, fig, alt)
        self.fig = fig

    monkeypatch.setattr(Plot, "__init__", make_and_keep)


def width(plot: Plot) -> int:
    """How many screen pixels a plot's picture is wide."""
    return int(ElementTree.fromstring(plot.svg).get("width"))


def name(draw) -> str:
    return f"{draw.__module__[20:]}.{draw.__name__}"


@pytest.mark.parametrize("draw", DRAWN, ids=name)
def test_every_figure_can_be_read_on_a_phone(draw):
    plot = draw(*DRAWN[draw])
    found = faults(plot.fig, width(plot))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("draw", DRAWN, ids=name)
def test_every_figure_is_small_and_all_of_it_follows_the_page(draw):
    svg = draw(*DRAWN[draw]).svg
    assert len(svg.encode()) < 150_000
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    assert {color for color in colors if not color.startswith("var(--figure-")} <= {"none"}
    assert "<image" not in svg and "<tspan" not in svg, "neither pixels nor small exponents"


MODULES = [
    attention, beats, bigram, digits, learned_last, preference, pretraining, samplers, scaling,
    speedrun, stories, tokens, transformer,
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_figure_of_these_modules_is_left_out(module):
    made = {f for _, f in inspect.getmembers(module, inspect.isfunction) if not
            f.__name__.startswith("_") and f.__module__ == module.__name__}  # fmt: skip
    assert made <= DRAWN.keys(), "these figures have no data in DRAWN, above"


def test_faults_are_found():
    fig, ax = figure()
    ax.plot([0, 1], [0, 1], label="up")
    ax.legend(loc="upper right")
    ax.text(0.5, 0.2, "one", fontsize=9)
    ax.text(0.5, 0.2, "two")
    small, crossed, legend = faults(Plot(fig, "Wrong in three ways.").fig, 550)
    assert small == "'one' has 8.5 pixels on a phone"
    assert crossed in ("'one' lies on 'two'", "'two' lies on 'one'")
    assert legend == "the legend lies on the line 'up'"
