"""The drawings on what is learned last.

One job: draw how far back a question looks, what two answers cost, a pair of heads at work, and
how counting makes a jump of a slope.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing, by_value
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture
from gptlib.grammar import Probe

_LETTER = 0.6 * SMALL  # a character's width
_MARKS = {" ": "␣", "\n": "↵"}


def _shown(letter: str) -> str:
    return _MARKS.get(letter, letter)


def distances(probes: Sequence[Probe]) -> Picture:
    """Draw for each probe the cue, the place where the model takes over, and what lies between.

    Args:
        probes: one of a kind; four fill the page.
    """
    d, told = Drawing(), []
    gap = 372  # where the model takes over
    for n, probe in enumerate(probes):
        y = 64.0 + 114 * n
        before = probe.prefix[: len(probe.prefix) - probe.distance]
        whole = before.endswith((" ", "\n")) or probe.prefix[len(before)] in " .,'\n"
        cue = before.split()[-1] if whole else before[-1]
        cue = cue.split("'")[-1]
        tail = probe.prefix[len(before) :].replace("\n", " ").strip()
        while len(tail) > 12:  # whole words from the end, as many as fit
            tail = tail[1:].partition(" ")[2]
        d.text((MARGIN, y - 40), probe.kind, bold=True, align="start")
        d.text((gap - 4, y + 14), tail, size=SMALL, align="end")
        # The further back, the further to the left.
        wide = _LETTER * len(cue) + 16
        edge = gap - 36 - 254 * math.log(probe.distance / 2) / math.log(300)
        box = d.box(edge - wide, y, wide, 28, color=BLUE)
        d.text(box.center, cue, size=SMALL)
        up = y - 14
        d.arrow((gap, y), (gap, up), (box.top[0], up), box.top, color=BLUE, width=1.6)
        said = f"{probe.distance} characters"
        d.text((gap, up - 14), said, size=SMALL, color=BLUE, align="end")
        d.line((gap, y), (gap, y + 28), color=INK)
        for at, answer, color, sign in (
            (y, probe.right, GREEN, "✓"),
            (y + 28, probe.wrong, VERMILION, "✗"),
        ):
            d.text((gap + 22, at), "".join(map(_shown, answer)), size=SMALL, align="start")
            d.text((gap + 110, at), sign, color=color, bold=True)
        told.append(
            f"{probe.kind}, {probe.distance} characters back to “{cue}”: “{probe.right.strip()}” "
            f"or “{probe.wrong.strip()}”"
        )
    return d.picture(
        "Four lines of text, each broken off where an answer is due, with an arrow from there back "
        "to the word that decides. " + "; ".join(told) + "."
    )


def two_answers(prefix: str, answers: Sequence[str], letters: Sequence[Sequence[float]]) -> Picture:
    """Draw two answers to one question, letter by letter, and what each costs.

    Args:
        prefix: the text before. answers: the right one and the wrong one, up to 7 letters each.
        letters: for each answer the log-probability of each of its letters.
    """
    d, left, cell = Drawing(), 84, (40, 30)
    prices = [[-p for p in row] for row in letters]
    totals = [sum(row) for row in prices]
    most = max(max(row) for row in prices)
    d.text((MARGIN, 20), f"…{prefix[-40:].strip()} |", size=SMALL, align="start")
    bar_left, y = left, 50.0
    unit = (WIDTH - bar_left - 150) / max(totals)
    ends = []
    for answer, row, total, color, name in zip(
        answers, prices, totals, (GREEN, VERMILION), ("right", "wrong"), strict=True
    ):
        d.text((left - 14, y + 15), name, size=SMALL, color=color, align="end")
        shade = by_value(most, VERMILION, VERMILION)
        d.matrix(left, y, [list(map(_shown, answer))], cell=cell)
        d.matrix(left, y + 30, [row], cell=cell, paint=shade, write=lambda p: f"{p:.1f}")
        d.text((left - 14, y + 45), "nats", size=SMALL, color=FAINT, align="end")
        width = max(2.0, unit * total)
        d.box(bar_left, y + 70, width, 16, color=color, tint=0.5)
        d.text((bar_left + width + 12, y + 78), f"{total:.1f} nats", size=SMALL, align="start")
        ends.append((bar_left + width, y + 86))
        y += 114
    odds = totals[1] - totals[0]
    d.bracket((ends[0][0], y - 20), (ends[1][0], y - 20), f"log-odds: {odds:.1f} nats", color=BLUE)
    return d.picture(
        f"The right answer, “{answers[0].strip()}”, and the wrong one, “{answers[1].strip()}”, "
        f"letter by letter, each letter with its price in nats. Below each a bar as long as the "
        f"sum: {totals[0]:.1f} nats for the right one and {totals[1]:.1f} for the wrong one. The "
        f"difference of the bars, {odds:.1f} nats, is the log-odds."
    )


def pair_of_heads(text: str) -> Picture:
    """Draw how two heads predict the letter after a text whose last letter has stood before.

    Args:
        text: 10 to 12 letters.

    Raises:
        ValueError: the last letter stands nowhere before.
    """
    d, cell, x = Drawing(), (37, 32), 104
    at = text.rindex(text[-1], 0, len(text) - 1)
    last, came = len(text) - 1, text[at + 1]

    def tint(places: dict[int, str]) -> Callable[[Any, int, int], tuple[str, float]]:
        return lambda _, __, j: (places.get(j, FAINT), 0.6 if j in places else 0.12)

    def name(y: float, words: str, color: str = INK) -> None:
        d.text((x - 10, y), words, size=SMALL, color=color, align="end")

    letters = [*map(_shown, text)]
    top = d.matrix(x, 14, [letters], cell=cell, paint=tint({last: VERMILION, at + 1: GREEN}))
    notes = d.matrix(x, 92, [["", *letters[:-1]]], cell=cell, paint=tint({at + 1: BLUE}))
    name(30, "the text")
    name(108, "noted", BLUE)
    name(68, "1st head", BLUE)
    for j in range(last):
        start, end = top.cell(0, j).at(0.7, 1), notes.cell(0, j + 1).at(0.3, 0)
        d.arrow(start, end, color=BLUE if j == at else FAINT, width=2.4 if j == at else 1.2)
    # The last letter looks for a note that equals it, and takes what stands in the text there.
    asks, found = notes.cell(0, last).bottom, notes.cell(0, at + 1).bottom
    d.arrow(asks, (asks[0], 152), (found[0], 152), found, color=VERMILION)
    name(170, "2nd head", VERMILION)
    d.text((x, 170), f"where is “{_shown(text[-1])}” noted?", size=SMALL, color=VERMILION,
           align="start")  # fmt: skip
    d.text((x, 196), f"“{_shown(came)}” stands there: copied, as what comes next", size=SMALL,
           color=GREEN, align="start")  # fmt: skip
    return d.picture(
        f"The text “{text}” in cells, and below it a row in which the first head has written into "
        f"each cell the letter before it. The second head stands at the last letter, "
        f"“{text[-1]}”, and an arrow leads to the cell in which “{text[-1]}” is noted. In the text "
        f"“{came}” stands there: this letter is copied and predicted."
    )


def counted(moments: Sequence[Sequence[float]]) -> Picture:
    """Draw the log-odds of the same questions at several moments, their mean and what is counted.

    Args:
        moments: for each the log-odds of every question, in nats between −8 and 8; 4 or 5 moments.
    """
    d, left, right, row = Drawing(), 30, 348, 52
    middle, unit = (left + right) / 2, (right - left) / 16
    for x, name in ((middle, "0"), (left + unit, "−7"), (right - unit, "7")):
        d.text((x, 44), name, size=SMALL, color=FAINT)
    d.text((middle, 18), "log-odds, nats", size=SMALL, bold=True)
    d.text((396, 18), "mean", size=SMALL, bold=True)
    d.text((490, 18), "right", size=SMALL, bold=True)
    bottom = 66 + row * len(moments)
    d.line((middle, 58), (middle, bottom), color=FAINT, dashed=True)
    told = []
    for n, odds in enumerate(moments):
        y = 66 + row * (n + 0.5)
        d.line((left, y), (right, y), color=FAINT, width=1)
        for value in odds:
            d.dot((middle + unit * value, y), color=GREEN if value > 0 else VERMILION)
        mean, share = sum(odds) / len(odds), sum(value > 0 for value in odds) / len(odds)
        d.text((396, y), f"{mean:+.1f}".replace("-", "−"), size=SMALL)
        d.box(484, y - 13, max(1.0, 66 * share), 26, color=BLUE, tint=0.5)
        d.text((474, y), f"{share:.0%}", size=SMALL, align="end")
        told.append(f"{mean:+.1f} nats and {share:.0%}".replace("-", "−"))
    d.height = math.ceil(bottom)
    return d.picture(
        f"{len(moments)} rows of dots on an axis of log-odds, one dot for each question. From row "
        "to row all dots move to the right by the same step. Beside each row the mean of its "
        f"log-odds and the share above 0: {', '.join(told)}."
    )
