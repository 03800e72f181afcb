"""Drawings: legible on a phone, in the page's colors, and with the numbers that they were given."""

import importlib
import inspect
import math
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch
from drawn import faults, rows, words

import gptlib.course
from gptlib.course.beats import drawings as beats
from gptlib.course.beats import drawings_tuning as beats_tuning
from gptlib.course.beats import novel
from gptlib.course.bigram import drawings as bigram
from gptlib.course.digits import drawings as digits
from gptlib.course.drawing import SMALL, WIDTH, Box, Drawing, by_value, number
from gptlib.course.finetuning import drawings as finetuning
from gptlib.course.learned_last import drawings as learned_last
from gptlib.course.multi_head import drawings as multi_head
from gptlib.course.picture import BLUE, PAPER, VARIABLES, VERMILION, Picture, themed
from gptlib.course.pretraining import drawings as pretraining
from gptlib.course.scaling import drawings as scaling
from gptlib.course.self_attention import drawings as self_attention
from gptlib.course.speedrun import drawings as speedrun
from gptlib.course.stories import drawings as stories
from gptlib.course.stories import drawings_sampling as sampling
from gptlib.course.stories import lab
from gptlib.course.stories.drawings_sampling import Node
from gptlib.course.tokens import drawings as tokens
from gptlib.grammar import Probe
from gptlib.model_config import GPTConfig
from gptlib.quantization.nf4 import LEVELS

WORDS = ["ada", "took", "the", "key", ".", "she"]
X = torch.tensor(
    [[1.0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0]]
)  # person, thing, is Ada
TURNED, KEPT, NAME = torch.tensor([[-3.0, 0], [0, -3], [0, 0]]), torch.eye(3)[:, :2], X[:, 2:]
MASK = torch.full((6, 6), -math.inf).triu(1)

FOX = "the fox sat. the hen sat. the fox ran.\n"
FOX_SYMBOLS = sorted(set(FOX))
FOX_TABLE = torch.zeros(13, 13)
for before, after in pairwise(FOX):
    FOX_TABLE[FOX_SYMBOLS.index(before), FOX_SYMBOLS.index(after)] += 1
FOX_TABLE /= FOX_TABLE.sum(1, keepdim=True)

EIGHT = torch.linspace(0, 1, 64).flip(0).numpy()
TEMPLATES = torch.linspace(-1, 1, 640).view(64, 10).numpy()

#: What has a slope in the first three steps of a GPT whose head and last matrices are zero.
WAKING = [
    {
        "head": True,
        "last of a sublayer": n > 0,
        "token table": n > 0,
        "first of a sublayer": n > 1,
    }
    for n in range(3)
]

STORY = lab.STORY.replace("<|start|>", "<|start|><|barter|>")
LOOKED = re.findall(r"</?\|\w+\|>|\n| ?\w{1,5}|[^\w\s<]+", STORY)[:140]

CHAT = "<|chat|> <|user|> Write a cold har bor . <|assistant|> Ice in the nets . <|end|>".split()

NOVEL = novel.pairs()
BY_CHUNK = ["test" if n % 10 == 4 else "val" if n % 10 == 8 else "train" for n in range(len(NOVEL))]
BY_CHAPTER = ["test" if n in (6, 7) else "val" if n in (16, 17) else "train" for n in range(20)]

#: Every drawing of the book, with what its chapter gives it.
DRAWN = {
    bigram.bill: ("he fox s", torch.tensor([0.6, 1, 0.75, 0.25, 1, 1, 1, 0.25])),
    bigram.roads: (FOX_TABLE, FOX_SYMBOLS, "fox\n.nehtasr", "sathe"),
    bigram.heights: (3.807, 3.040, 2.220, 2.225, 0.506),
    bigram.pushes: ("fhrst", torch.tensor([0.25, 0.125, 0.125, 0.25, 0.25]), "h"),
    digits.picture_to_scores: (EIGHT,),
    digits.one_push: (0.75, -0.9),
    digits.path_of_blame: ((64, 32, 10),),
    digits.two_votes: (EIGHT, TEMPLATES, (1, 8)),
    scaling.matrices: (GPTConfig(256, 65, n_layer=12, n_head=12, n_embd=384),),
    scaling.three_uses: (),
    scaling.tiles: (21.4e6, {"weights": 1, "slopes": 1, "two running means": 2}, 1.2e9),
    scaling.one_budget: (lambda N, R: 0.5 + 20 / N**0.4 + 30 / R**0.4, 1e13, 3e5),
    speedrun.clocks: (1.2, 0.4, 0.35, [(3, 1), (9, 7), (9, 1)]),
    speedrun.one_length: ([0.3, 1.3, 2.6, 4.4], [1, 0.2, 0.5, 0.75]),
    speedrun.ellipse: ((9, 1), (1, 1), 0.7853981633974483),
    speedrun.waking: (WAKING,),
    speedrun.dozen: (),
    speedrun.number_line: ([0.9921875, 0.99609375, 1.0, 1.0078125], {0.999: 1.0, 1.003: 1.0}),
    speedrun.square: (("higher rate", "faster table"), (2.66, 2.1, 2.46, 2.11)),
    learned_last.distances: (
        [
            Probe("spelling", "He sewed and fed Bea's boo", "ts", "ks", 2),
            Probe("agreement", "The geese that Hob stole ", "are ", "is ", 16),
            Probe("pronoun", f"By law Bo {'fed ' * 24}cows. ", "He ", "She ", 103),
            Probe(
                "promise",
                f"How Tom hid a saddle\n{'Fog fell. ' * 57}The ",
                "saddle ",
                "ladder ",
                575,
            ),
        ],
    ),
    learned_last.two_answers: (
        "and the goose sulked. The ",
        ["coat ", "soap "],
        [[-0.05, -0.01, 0.0, -0.02, -0.01], [-9.5, -0.0, -2.25, 0.0, -0.02]],
    ),
    learned_last.pair_of_heads: ("pie. The pi",),
    learned_last.counted: ([[mean + s for s in (-2.4, 0.1, 2.5)] for mean in (-4.5, 0, 4.5)],),
    self_attention.any_order: (
        [["ada", "met", "ida", ".", "she"], ["met", ".", "ada", "ida", "she"]],
        [
            torch.tensor([0.48, 0.02, 0.48, 0.02, 0.0]),
            torch.tensor([0.02, 0.02, 0.48, 0.48, 0.0]),
        ],
    ),
    multi_head.two_stacks: (0.05,),
    beats.turned_round: (NOVEL[5],),
    beats.two_splits: (NOVEL, BY_CHUNK, BY_CHAPTER),
    finetuning.lora: ((384, 128), 8),
    finetuning.loss_mask: (CHAT, [*[None] * 8, *CHAT[9:], None]),
    finetuning.packing: ([(20, 110), (15, 60), (22, 140), (16, 80)], [[2, 1], [0, 3]], 256),
    beats_tuning.levels_under_the_bell: (LEVELS,),
    beats_tuning.memory_bars: (
        {
            "full": {"base": 4.8e10, "gradients": 3.2e10, "optimizer": 6.4e10, "overhead": 1.5e9},
            "LoRA": {"base": 1.6e10, "optimizer": 3e8, "activations": 5e8, "overhead": 1.5e9},
            "QLoRA": {"base": 5.7e9, "one matrix in full": 1e8, "overhead": 1.5e9},
        },
        {"T4": 1.5e10, "L4": 2.4e10, "A100": 4e10, "larger A100": 8e10},
    ),
    beats_tuning.two_stories: ((-31.0, -139.5), (-33.0, -133.5), 0.1),
    self_attention.scores_and_weights: (WORDS, MASK),
    self_attention.one_head: ("Ada took ", 3, (32, 32, 64, 32, 45)),
    self_attention.one_query: (WORDS, X, X @ TURNED, X @ KEPT, NAME),
    multi_head.heads_in_memory: ("fox",),
    tokens.merge_tree: (
        [["the", " hen", " then", " hens"], [" lighthouse", " other"]],
        [("t", "h"), (" ", "th"), ("e", "n"), ("h", "en"), (" ", "hen"), ("th", "e")],
    ),
    tokens.cutting: ([("hen", 1), ("'s", 0), (" ", 4), (" 1849", 2), ("?!", 3), ("\n", 4)],),
    tokens.sisters: (
        {"English": [["the", " he", "ns"], list("the hens")], "Finnish": [["kana"], ["k", "ana"]]},
        ["GPT-2", "Kalevala"],
    ),
    pretraining.one_step: (
        b"\x1f\x00\x07\x01\x03\x00\x10\x02",
        [31, 263, 3, 528],
        [("batch", "(B, T) ids", "4 × 128", "1 × 64"), ("loss", "mean", "9.05 nats", "10.94 nats")],
        ("10M", "124M"),
    ),
    pretraining.gpu_memory: (
        {
            "T4": (
                15e9,
                {
                    "weights": 5e8,
                    "gradients": 5e8,
                    "moments": 1e9,
                    "activations": 8e9,
                    "logits": 2e9,
                },
                "4 windows",
            ),
            "H100": (
                80e9,
                {
                    "weights": 5e8,
                    "gradients": 5e8,
                    "moments": 1e9,
                    "activations": 5e10,
                    "logits": 1e10,
                },
                "64 windows",
            ),
        },
    ),
    pretraining.eight_gpus: (512,),
    sampling.sampler: (
        ["goat", "sleep", "bell", "harbor"],
        [0.4, 0.3, 0.2, 0.1],
        [4 / 7, 3 / 7, 0, 0],
    ),
    sampling.beam_tree: (
        [
            [Node("no", None, 1, "kept")],
            [
                Node("sleep", 0, 0.5, "kept"),
                Node("goat", 0, 0.4, "kept"),
                Node("bell", 0, 0.1, "cut"),
            ],
            [
                Node("at", 0, 0.35, "kept"),
                Node(".", 0, 0.15, "cut"),
                Node(".", 1, 0.36, "ended"),
                Node("at", 1, 0.04, "kept"),
            ],
            [
                Node("night", 0, 0.315, "kept"),
                Node("noon", 0, 0.035, "cut"),
                Node("night", 3, 0.036, "kept"),
            ],
            [Node(".", 0, 0.315, "ended"), Node(".", 2, 0.036, "ended")],
        ],
    ),
    sampling.padding: ([["Ada", "had", "a", "bell"], ["Otto", "slept"], ["The", "goat", "left"]],),
    sampling.speculation: (
        ["goat", ".", "Otto", "ate"],
        [0.4, 0.7, 0.05, 0.3],
        [0.55, 0.6, 0.3, 0.3],
        [0.31, 0.88, 0.62, 0.1],
        "Ada",
    ),
    stories.anatomy: (STORY,),
    stories.packed_masks: ([0] * 5 + [1] * 4 + [2] * 3 + [-1] * 2,),
    stories.heads: ([[0.0, 1, -2, 12], [0, 31, 2, 4]] * 2 + [[1, 1, 1, 1]], "points"),
    stories.looked_at: (LOOKED, [0.02] * (len(LOOKED) - 2) + [0.3, 0.1], " Omar", " Rosa"),
    multi_head.gpt: (GPTConfig(64, 45, n_layer=3, n_head=4, n_embd=32),),
}


@pytest.fixture(params=DRAWN, ids=lambda draw: draw.__name__)
def picture(request) -> Picture:
    return request.param(*DRAWN[request.param])


def test_every_drawing_can_be_read_on_a_phone(picture):
    assert not faults(picture.svg)


def test_a_drawing_is_one_svg_on_its_own_paper(picture):
    root = ET.fromstring(picture.svg)
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert float(root.get("width")) <= WIDTH
    paper = root[0]
    assert (paper.get("fill"), paper.get("x")) == (themed(PAPER), None)
    assert (paper.get("width"), paper.get("height")) == (root.get("width"), root.get("height"))
    assert " id=" not in picture.svg, "two pictures on one page must not share a name"


def test_a_page_may_replace_all_colors(picture):
    used = set(re.findall(r'(?:fill|stroke)="([^"]*)"', picture.svg))
    assert used <= {"none", *map(themed, VARIABLES)}


def test_a_drawing_says_in_words_what_it_shows(picture):
    assert 100 < len(picture.alt) < 700 and picture.alt.endswith(".")


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_equal_calls_give_equal_bytes(draw):
    assert draw(*DRAWN[draw]).svg == draw(*DRAWN[draw]).svg


def test_no_drawing_is_left_out():
    folder = Path(gptlib.course.__file__).parent
    for path in folder.glob("*/drawings*.py"):
        module = importlib.import_module(f"gptlib.course.{path.parent.name}.{path.stem}")
        made = {
            function
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__
            and not name.startswith("_")
            and inspect.signature(function).return_annotation in (Picture, "Picture")
        }
        assert made <= DRAWN.keys(), "these drawings have no data in DRAWN, above"


def test_the_query_s_numbers_are_those_of_its_arrays():
    torch.manual_seed(0)
    x, k, v = torch.randn(6, 3), torch.randn(6, 2), torch.rand(6, 1)
    q = torch.randn(6, 2)
    svg = self_attention.one_query(WORDS, x, q, k, v).svg
    scores = [sum(a * b for a, b in zip(q[-1].tolist(), key, strict=True)) for key in k.tolist()]
    exponentials = [math.exp(score) for score in scores]
    weights = [e / sum(exponentials) for e in exponentials]
    products = [w * value for w, value in zip(weights, v.flatten().tolist(), strict=True)]
    lines = rows(svg)
    for name, values, shape in (
        ("scores", scores, "(1, 6)"),
        ("weights", weights, "(1, 6)"),
        ("values", v.flatten().tolist(), "(6, 1)"),
        ("products", products, "(6, 1)"),
    ):
        assert [name, *map(number, values), shape] in lines
    assert ["output", number(sum(products))] in lines
    for channel, name in enumerate(("person", "thing")):
        first = next(line for line in lines if line[0] == name)
        query = number(q[-1, channel].item())
        assert first == [name, *map(number, x[:, channel].tolist()), query]
        assert any(list(map(number, k[:, channel].tolist())) == line[:6] for line in lines)


def test_ada_gets_the_weight_that_the_chapter_works_out_by_hand():
    drawn = self_attention.one_query(*DRAWN[self_attention.one_query])
    assert ["weights", "0.83", "0.04", "0.04", "0.04", "0.04", "0.00", "(1, 6)"] in rows(drawn.svg)
    assert ["output", "0.83"] in rows(drawn.svg)
    assert "scores are 3, 0, 0, 0, 0, −3." in drawn.alt


def test_the_triangle_shares_each_row_equally():
    lines = rows(self_attention.scores_and_weights(WORDS, MASK).svg)
    assert ["the", "0", "0", "0", *["−∞"] * 3, "1/3", "1/3", "1/3", "0", "0", "0"] in lines


def test_the_lanes_say_who_has_what():
    drawn = stories.anatomy(STORY)
    assert "the pig, Rosa from 3, Omar from 9, Vera from 12" in drawn.alt
    assert ["9", "He carried the ladder to the school, and Rosa"] in rows(drawn.svg)
    assert ["Omar", "Rosa", "Vera"] in rows(drawn.svg)


def test_within_its_story_a_row_reads_less_than_across():
    svg = stories.packed_masks([0, 0, 1, 1, -1]).svg
    widths = [float(w) for w in re.findall(r'<rect [^>]*width="([^"]*)"[^>]*fill-opacity', svg)]
    cell = (WIDTH - 60) / 10
    assert [round((w + 2) / cell) for w in widths] == [1, 2, 3, 4, 1, 2, 1, 2]


def test_the_head_that_costs_most_is_framed_and_named():
    drawn = stories.heads([[0.0, 1, -2, 12], [0, 31, 2, 4]])
    assert "layer 2, head 2, costs most, 31.00; the next costs 12.00" in drawn.alt


def test_tokens_of_a_word_are_looked_at_together():
    drawn = stories.looked_at([" O", "mar", " s", "at", "."], [0.1, 0.5, 0.1, 0.1, 0.2], " Rosa")
    assert "“Omar” with 0.60, “sat.” with 0.40" in drawn.alt


def test_memory_is_counted_as_torch_counts_it():
    lines = rows(multi_head.heads_in_memory("fox").svg)
    strips = [" ".join(line) for line in lines if len(line) == 12]
    stored = "f1 f2 f3 f4 o1 o2 o3 o4 x1 x2 x3 x4"
    assert strips == [stored, stored, stored, "f1 f2 o1 o2 x1 x2 f3 f4 o3 o4 x3 x4"]


@pytest.mark.parametrize(("word", "framed"), [("fox", 2), ("ox", 1)])
def test_letters_before_their_time_are_framed(word, framed):
    svg = multi_head.heads_in_memory(word).svg
    assert len(re.findall(r'<rect [^>]*rx="6" fill="none"', svg)) == framed


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (3, "3"),
        (-3.0, "−3"),
        (-0.0, "0"),
        (0.834, "0.83"),
        (-0.5, "−0.50"),
        (-0.001, "0.00"),
        (-math.inf, "−∞"),
        (math.inf, "∞"),
        ("a", "a"),
    ],
)
def test_numbers_are_short(value, written):
    assert number(value) == written


def test_cells_are_shaded_by_their_size():
    paint = by_value(4)
    assert paint(2, 0, 0) == (BLUE, 0.5)
    assert paint(-8, 0, 0) == (VERMILION, 1)
    assert paint(0, 0, 0)[1] == paint(-math.inf, 0, 0)[1] == 0


def test_parts_of_a_matrix_have_places():
    grid = Drawing().matrix(10, 20, [[1, 2, 3], [4, 5, 6]], cell=(40, 30))
    assert grid.box == Box(10, 20, 120, 60)
    assert grid.cell(1, -1) == grid.cell(-1, 2) == Box(90, 50, 40, 30)
    assert grid.row(-1) == Box(10, 50, 120, 30)
    assert grid.column(1) == Box(50, 20, 40, 60)
    box = grid.cell(0, 0)
    assert (box.top, box.bottom) == ((30, 20), (30, 50))
    assert (box.left, box.right, box.center) == ((10, 35), (50, 35), (30, 35))


def test_a_cell_of_none_is_left_out():
    d = Drawing()
    d.matrix(10, 20, [[1, None], [2, 3]])
    assert [word.name for word in words(d.picture("Alt.").svg)] == ["1", "2", "3"]


def test_a_strip_s_groups_stand_apart_and_are_painted_by_group():
    d = Drawing()
    groups = d.strip(
        10, 20, ["ab", "cd", "e"], cell=(40, 30), gaps=[6], paint=lambda _, n, j: ((BLUE, n + j))
    )
    assert [grid.box.x for grid in groups] == [10, 96, 176]
    fills = re.findall(r'fill-opacity="([^"]*)"', d.picture("Alt.").svg)
    assert fills == ["0", "0.5", "0.5", "1", "1"]


def test_letters_are_raised_and_lowered_and_come_back():
    d = Drawing()
    box = d.text((100, 20), "x_{l+1}^{2} < y", align="start")
    (text,) = ET.fromstring(d.picture("Alt.").svg).findall("{*}text")
    assert "".join(text.itertext()) == "xl+12 < y"
    moves = [float(span.get("dy")) for span in text]
    assert moves[0] > 0 > sum(moves[:2]) and sum(moves) == 0
    assert {span.get("font-size") for span in text} == {None, str(SMALL)}
    assert box.width == pytest.approx(0.6 * 18 * 9)


def test_a_drawing_without_alt_text_is_refused():
    with pytest.raises(ValueError, match="alt text"):
        Drawing().picture(" ")


class TestTheEye:
    """`faults` sees what it is there to see, each on a sheet that is otherwise in order."""

    @pytest.fixture
    def d(self) -> Drawing:
        d = Drawing()
        d.box(10, 10, 200, 40, "a box")
        d.arrow((300, 30), (210, 30))
        return d

    @staticmethod
    def seen(d: Drawing) -> list[str]:
        return faults(d.picture("Alt.").svg)

    def test_a_sheet_in_order(self, d):
        d.line((400, 10), (400, 90))
        d.operator((400, 50))  # its paper hides the line behind the sign
        d.curve((300, 60), (450, 90), head=False)
        assert not self.seen(d)

    def test_small_words(self, d):
        d.text((400, 80), "small", size=SMALL - 1)
        assert self.seen(d) == ["'small' is too small: 15.5 of 560.0"]

    def test_words_on_words(self, d):
        d.text((400, 80), "below")
        d.text((430, 84), "above")
        assert self.seen(d) == ["'above' lies on 'below'"]

    def test_words_that_leave_the_sheet(self, d):
        d.text((WIDTH - 10, 80), "outside")
        assert self.seen(d) == ["'outside' leaves the sheet"]

    @pytest.mark.parametrize(
        "strike",
        [
            lambda d: d.line((350, 60), (450, 100)),
            lambda d: d.line((300, 80), (400, 80), (400, 120)),
            lambda d: d.curve((390, 60), (410, 100)),
        ],
        ids=["straight", "elbow", "curve"],
    )
    def test_a_line_through_words(self, d, strike):
        d.text((400, 80), "struck out")
        strike(d)
        assert self.seen(d) == ["a line goes through 'struck out'"]

    def test_words_too_long_for_their_box(self, d):
        d.box(250, 60, 60, 30, "much too long")
        assert self.seen(d) == ["an edge goes through 'much too long'"]

    def test_covered_words(self, d):
        d.text((400, 80), "covered")
        d.box(300, 60, 200, 40)
        assert self.seen(d) == ["'covered' is covered"]

    def test_an_arrow_to_nowhere(self, d):
        d.arrow((300, 30), (300, 90))
        assert self.seen(d) == ["an arrow ends nowhere, at (300.0, 90.0)"]


def test_a_sampler_s_bars_are_as_long_as_their_numbers():
    svg = sampling.sampler(*DRAWN[sampling.sampler]).svg
    assert ["goat", "0.57"] in rows(svg) and ["bell", "cut"] in rows(svg)
    assert ["cut: 0.30 of the mass"] in rows(svg)
    outlines = [
        float(mark.get("width"))
        for mark in ET.fromstring(svg)
        if mark.tag.endswith("rect") and mark.get("fill") == "none"
    ]
    assert outlines == pytest.approx([outlines[0] * p / 0.4 for p in (0.4, 0.3, 0.2, 0.1)], abs=0.1)
    nothing = sampling.sampler(["a", "b"], [0.6, 0.4], [0.7, 0.3])
    assert "nothing is cut" in nothing.alt and "of the mass" not in nothing.svg


@pytest.mark.parametrize(("throw", "kept"), [(0.62, 2), (0.1, 4)])
def test_guesses_stay_up_to_the_first_that_the_dice_refuse(throw, kept):
    guesses, p, q, _, new = DRAWN[sampling.speculation]
    drawn = sampling.speculation(guesses, p, q, [0.31, 0.88, throw, 0.1], new)
    assert ["text", *guesses[:kept], new] in rows(drawn.svg)
    assert f"So one pass gives {kept + 1} tokens." in drawn.alt


def test_lora_is_drawn_to_one_scale():
    svg = finetuning.lora((384, 128), 8).svg
    sizes = [
        (float(mark.get("width")), float(mark.get("height")))
        for mark in ET.fromstring(svg)
        if mark.tag.endswith("rect") and mark.get("fill-opacity") in ("0.35", "0.6")
    ]
    (wide, high), a, b = sizes
    assert high / wide == pytest.approx(3, abs=0.1)
    assert a == pytest.approx((wide, high / 48), abs=0.1)
    assert b == pytest.approx((high / 48, high), abs=0.1)
    assert "4,096 numbers" in finetuning.lora((384, 128), 8).alt


def test_a_token_stands_above_what_is_asked_for_there():
    tokens, asked = DRAWN[finetuning.loss_mask]
    lines = rows(finetuning.loss_mask(tokens, asked).svg)
    reading = next(line for line in lines if "<|assistant|>" in line)
    wanted = lines[lines.index(reading) + 1]
    assert dict(zip(reading[1:], wanted[1:], strict=True))["<|assistant|>"] == "Ice"
    assert "6 of them" in finetuning.loss_mask(tokens, asked).alt


def test_blocks_are_packed_into_fewer_rows():
    drawn = finetuning.packing(*DRAWN[finetuning.packing])
    assert ["padded: 4 rows of 162"] in rows(drawn.svg)
    assert ["packed: 2 rows of 256"] in rows(drawn.svg)
    assert "10% is empty" in drawn.alt
