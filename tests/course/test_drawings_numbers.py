"""Drawings of chapters 1 to 4 and of the interludes: what they show is what they were given."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
import torch
from drawn import rows

from gptlib.course.bigram import drawings as bigram
from gptlib.course.digits import drawings as digits
from gptlib.course.learned_last import drawings as learned_last
from gptlib.course.multi_head import drawings as multi_head
from gptlib.course.scaling import drawings as scaling
from gptlib.course.speedrun import drawings as speedrun
from gptlib.course.speedrun.ablation import PARTS
from gptlib.grammar import Probe
from gptlib.model_config import GPTConfig

PRICES = torch.tensor([0.5, 1, 0.25])


def rectangles(svg: str, fill_opacity: str) -> list[tuple[float, float]]:
    """Width and height of the rectangles of one tint, in the order of drawing."""
    return [
        (float(mark.get("width")), float(mark.get("height")))
        for mark in ET.fromstring(svg)
        if mark.tag.endswith("rect") and mark.get("fill-opacity") == fill_opacity
    ]


def test_a_bill_multiplies_on_the_left_and_adds_on_the_right():
    drawn = bigram.bill("ab ", PRICES)
    lines = rows(drawn.svg)
    assert ["a", "× 0.50", "0.69", "0.69"] in lines
    assert ["b", "× 1", "0.00", "0.69"] in lines
    assert ["␣", "× 0.25", "1.39", "2.08"] in lines
    widths = [width for width, _ in rectangles(drawn.svg, "0.5")]
    assert widths == pytest.approx([widths[0], widths[0], widths[0] / 4])
    assert "0.125 of the bar is left" in drawn.alt


def test_a_road_is_as_broad_as_it_is_probable():
    table = torch.tensor([[0.0, 1], [0.25, 0.75]])
    svg = bigram.roads(table * torch.tensor([[1, 1], [1, 0]]), "ab", "b", "ab").svg
    widths = re.findall(r'<path [^>]*stroke-width="([^"]*)"', svg)
    assert widths[:2] == ["5", "2"]


def test_pushes_of_a_row_sum_to_zero():
    lines = rows(bigram.pushes("abc", torch.tensor([0.5, 0.25, 0.25]), "b").svg)
    pushed = [float(word.replace("−", "-")) for line in lines for word in line if word[0] in "+−"]
    assert sorted(pushed) == [-0.5, -0.25, 0.75]


def test_eighths_of_a_row_are_written_whole():
    svg = bigram.pushes("abc", torch.tensor([0.5, 0.375, 0.125]), "c").svg
    assert {"0.50", "0.375", "0.125", "+0.875", "−0.375"} <= {w for r in rows(svg) for w in r}


def test_heights_cut_a_column_in_proportion():
    drawn = bigram.heights(4.0, 3.0, 2.0, 2.1, 0.5)
    tall = [height for _, height in rectangles(drawn.svg, "0.18")]
    assert [height / tall[3] for height in tall] == pytest.approx([2, 2, 3, 1])
    assert "2.100 on new text" in drawn.alt


def test_a_push_is_multiplied_along_its_way():
    drawn = digits.one_push(0.5, -0.5)
    assert ["+0.0100", "+0.0050", "−0.0025"] in rows(drawn.svg)
    assert "slope of the whole way is the product, −0.25." in drawn.alt


def test_votes_are_sums_of_products():
    picture, templates = torch.rand(64), torch.rand(64, 10)
    lines = rows(digits.two_votes(picture.numpy(), templates.numpy(), (1, 8)).svg)
    for digit in (1, 8):
        total = (picture @ templates[:, digit]).item()
        assert [f"of the {digit}", f"sum {total:.2f}"] in lines


def test_a_cell_without_words_has_none():
    assert '"></text>' not in digits.picture_to_scores(torch.zeros(64).numpy()).svg


def test_a_gradient_is_multiplied_by_each_block():
    lines = rows(multi_head.two_stacks(0.5, blocks=2).svg)
    assert ["0.5", "1.50"] in lines and ["0.25", "2.25"] in lines


def test_areas_of_matrices_are_their_parameters():
    config = GPTConfig(256, 64, n_layer=3, n_head=2, n_embd=128)
    svg = scaling.matrices(config).svg
    scale = rectangles(svg, "0.35")[1][0] / 128  # the square one
    areas = [width * height / scale**2 for width, height in rectangles(svg, "0.35")]
    assert areas == pytest.approx([n * 128 * 128 for n in (3, 1, 4, 4)], rel=1e-3)
    tables = [width * height / scale**2 for width, height in rectangles(svg, "0.5")]
    assert tables == pytest.approx([64 * 128, 256 * 128], rel=1e-3)
    assert ["3 blocks", "0.6M"] in rows(svg)


def test_a_tile_is_a_number_for_each_parameter():
    drawn = scaling.tiles(1e6, {"weights": 1, "slopes": 1}, 5.2e6)
    assert len(rectangles(drawn.svg, "0.45")) == 2 + 5
    assert ["one tile: a float for each parameter,", "4 MB"] in rows(drawn.svg)


def test_one_budget_has_one_area():
    drawn = scaling.one_budget(lambda N, R: 1e3 / N + 1e6 / R, 6e9, 1e4)
    areas = [width * height for width, height in rectangles(drawn.svg, "0.3")]
    assert areas == pytest.approx([areas[0]] * 3, rel=1e-3)
    assert "10k parameters that read 100k tokens, 10.10 nats" in drawn.alt


@pytest.mark.parametrize("speed", [0.35, 1.0, 2.5])
def test_equal_distances_are_equal_angles(speed):
    drawn = speedrun.clocks(1.2, 0.4, speed, [(3, 1), (9, 7)])
    apart = re.findall(r"(\d+)° apart", drawn.svg)
    assert apart[0] == apart[1] and 0 <= int(apart[0]) <= 180


def test_an_ellipse_has_its_axes_and_a_ring_one_length():
    assert "are 9 and 1, so thin" in speedrun.ellipse((9, 1), (1, 1), 0.8).alt
    svg = speedrun.one_length([0.3, 1.3], [1, 0.2]).svg
    tips = [tuple(map(float, tip.split())) for tip in re.findall(r'<polygon points="([^,]*),', svg)]
    left, right = tips[::2], tips[1::2]
    start = [(130, 142), (420, 142)]
    lengths = [
        [math.dist(at, tip) for tip in side] for at, side in zip(start, (left, right), strict=True)
    ]
    assert lengths[0] == pytest.approx([124, 24.8], abs=0.1)
    assert lengths[1] == pytest.approx([84, 84], abs=0.1)


def test_what_has_a_slope_is_told_step_by_step():
    kinds = ("head", "last of a sublayer", "first of a sublayer", "token table")
    steps = [dict.fromkeys(kinds, False) | {"head": True}, dict.fromkeys(kinds, True)]
    alt = speedrun.waking(steps).alt
    assert "step 1: head; step 2: head, last of a sublayer, first of a sublayer, token table" in alt


def test_the_dozen_are_those_of_the_ablation():
    drawn = [name for changes in speedrun.DOZEN.values() for name in changes]
    assert sorted(drawn) == sorted(PARTS)


def test_a_number_goes_to_its_neighbor():
    alt = speedrun.number_line([0.9961, 1.0, 1.0078], {0.999: 1.0, 1.003: 1.0}).alt
    assert "0.9961, 1, 1.008" in alt and "0.999 becomes 1; 1.003 becomes 1" in alt


def test_what_is_saved_last_is_seen_from_the_other_corner():
    alt = speedrun.square(("rate", "table"), (3.0, 2.5, 2.75, 2.25)).alt
    assert "rate saves 0.50 alone, table 0.25" in alt
    assert "table saves 0.25 last, rate 0.50" in alt and "Together 0.75" in alt


def test_a_question_points_to_the_word_that_decides():
    probes = [
        Probe("spelling", "fed Bea's boo", "ts", "ks", 2),
        Probe("pronoun", "By law Bo " + "fed " * 24 + "cows. ", "He ", "She ", 103),
        Probe("promise", "How Tom hid the oar\n" + "fog fell. " * 50 + "The ", "oar ", "egg ", 505),
    ]
    drawn = learned_last.distances(probes)
    assert all(f"back to “{cue}”" in drawn.alt for cue in ("b", "Bo", "oar"))
    boxes = [float(x) for x in re.findall(r'<rect x="([^"]*)"[^>]*fill-opacity', drawn.svg)]
    assert boxes == sorted(boxes, reverse=True), "further back is further left"


def test_two_answers_differ_by_their_log_odds():
    drawn = learned_last.two_answers("The ", ["a ", "the "], [[-0.5, -0.5], [-2, -1, -1, -1]])
    assert "log-odds: 4.0 nats" in [word for line in rows(drawn.svg) for word in line]
    right, wrong = (w for w, height in rectangles(drawn.svg, "0.5") if height == 16)
    assert wrong == pytest.approx(5 * right)


def test_a_pair_of_heads_copies_what_came_next():
    drawn = learned_last.pair_of_heads("abca")
    assert "In the text “b” stands there" in drawn.alt
    with pytest.raises(ValueError):
        learned_last.pair_of_heads("abc")


def test_dots_are_counted_and_averaged():
    drawn = learned_last.counted([[-1.0, -1.0, 2.0, -4.0], [1.0, 1.0, 4.0, -2.0]])
    assert "−1.0 nats and 25%, +1.0 nats and 75%" in drawn.alt
