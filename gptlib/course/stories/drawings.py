"""The drawings of chapter 7.

One job: draw a story and its world, who may see whom in a packed window, what a model loses with
each head, and where a head looks.
"""

from collections.abc import Sequence
from itertools import pairwise

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing, by_value
from gptlib.course.picture import BLUE, COLORS, FAINT, GREEN, INK, VERMILION, Picture
from gptlib.course.stories.replay import HEAD, Event, replay
from gptlib.stories import END, TITLE, TITLE_END

_LINE = 25  # pixels from one line of words to the next
_LETTER = 0.6 * SMALL  # a character's width


def anatomy(story: str) -> Picture:
    """Draw a story with its marks, its sentences numbered, and below it who has what when.

    Args:
        story: whole and marked; of 13 to 17 sentences, with at most four things that are had.
    """
    events, d = replay(story), Drawing()
    head = HEAD.match(story)
    assert head is not None  # or the judge would not have accepted it
    y = 24.0
    d.text((MARGIN, y), head[0], size=SMALL, color=VERMILION, align="start")
    y += _LINE
    title = events[0].sentence.removeprefix(TITLE).removesuffix(TITLE_END)
    x = MARGIN
    for words, color in ((TITLE, VERMILION), (title, INK), (TITLE_END, VERMILION)):
        d.text((x, y), words, size=SMALL, color=color, align="start", bold=words == title)
        x += (len(words) + 1) * _LETTER
    for number, event in enumerate(events[1:], 1):
        for n, line in enumerate(_wrapped(event.sentence, 50)):
            y += _LINE
            if n == 0:
                d.text((MARGIN + 24, y), str(number), size=SMALL, color=FAINT, align="end")
            d.text((MARGIN + 36, y), line, size=SMALL, align="start")
    y += _LINE
    d.text((MARGIN, y), END, size=SMALL, color=VERMILION, align="start")
    told = _lanes(d, y + 44, events[1:])
    return d.picture(
        f"The story “{title}” with its marks, in {len(events) - 1} numbered sentences. Below it a "
        f"lane for each thing shows who has it after each sentence: {told}."
    )


def _lanes(d: Drawing, top: float, events: Sequence[Event]) -> str:
    """Draw who has what after each sentence, a lane for each thing; return it in words."""
    things = sorted({fact[2] for e in events for fact in e.after.facts if fact[1] == "has"})
    lanes = {thing: [e.after.holder(thing) for e in events] for thing in things}
    owners = list(dict.fromkeys(who for e in events for who in map(e.after.holder, things) if who))
    color_of = dict(zip(owners, [*COLORS, INK, FAINT], strict=False))
    x, left = MARGIN + 8.0, 100
    for who in owners:
        d.box(x, top - 9, 18, 18, color=color_of.get(who, FAINT), tint=0.5)
        word = d.text((x + 26, top), who, size=SMALL, align="start")
        x = word.x + word.width + 24
    cell = (WIDTH - MARGIN - left) / len(events)
    y = top + 30
    for thing, holders in lanes.items():
        d.text((left - 10, y + 13), thing, size=SMALL, align="end")
        for who, first, last in _stretches(holders):
            d.box(left + first * cell + 1, y, (last - first + 1) * cell - 2, 26,
                  color=color_of.get(who, FAINT), tint=0.5)  # fmt: skip
        y += 34
    every = 2 if cell < 40 else 1
    for n in range(0, len(events), every):
        d.text((left + (n + 0.5) * cell, y + 8), str(n + 1), size=SMALL, color=FAINT)
    return "; ".join(
        f"the {thing}, "
        + ", ".join(f"{who} from {first + 1}" for who, first, _ in _stretches(holders))
        for thing, holders in lanes.items()
    )


def _stretches(holders: Sequence[str | None]) -> list[tuple[str, int, int]]:
    """(who, first, last) of each stretch in which one has it."""
    cuts = [n for n in range(len(holders)) if n == 0 or holders[n] != holders[n - 1]]
    spans = [(holders[a], a, b - 1) for a, b in pairwise([*cuts, len(holders)])]
    return [(who, first, last) for who, first, last in spans if who is not None]


def _wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def packed_masks(story: Sequence[int]) -> Picture:
    """Draw who sees whom in a window of packed stories: across all, and within each.

    Args:
        story: for each position the number of its story, -1 where padding is; 12 to 16 of them.
    """
    T, d, y = len(story), Drawing(), 74
    size = (WIDTH - 2 * MARGIN - 40) / 2 / T
    for x, title, within in ((MARGIN, "across", False), (MARGIN + T * size + 40, "within", True)):
        d.text((x + T * size / 2, 20), title, bold=True)
        d.frame(Box(x, y, T * size, T * size), color=FAINT, grow=2, width=1)
        for number, first, last in _runs(story):
            color = COLORS[number % 3] if number >= 0 else FAINT
            start, end = x + first * size, x + (last + 1) * size
            name = str(number + 1) if number >= 0 else "fill"
            d.bracket((start + 2, y - 6), (end - 2, y - 6), name, up=True, color=color)
            for row in range(first, last + 1) if number >= 0 else ():
                left = start if within else x
                width = x + (row + 1) * size - left
                d.box(left + 1, y + row * size + 1, width - 2, size - 2, color=color, tint=0.4)
    d.text((WIDTH / 2, y + T * size + 22), "row: who reads; column: who is read", size=SMALL,
           color=FAINT)  # fmt: skip
    d.height = y + T * size + 32
    stories = sum(number >= 0 for number, _, _ in _runs(story))
    return d.picture(
        f"Two squares of {T} by {T} cells for a window into which {stories} stories are packed. A "
        "cell is filled where the row's token may read the column's. Across: the whole triangle "
        "below the diagonal, so that a story reads those before it. Within: a triangle for each "
        "story on the diagonal, and nothing between two stories. Padding reads nothing."
    )


def _runs(story: Sequence[int]) -> list[tuple[int, int, int]]:
    """(number, first, last) of each stretch of one story or of padding."""
    cuts = [n for n in range(len(story)) if n == 0 or story[n] != story[n - 1]]
    return [(story[a], a, b - 1) for a, b in pairwise([*cuts, len(story)])]


def heads(lost: Sequence[Sequence[float]], unit: str = "points") -> Picture:
    """Draw what a measure loses when one head is silenced, a row a layer and a column a head.

    Args:
        lost: (layers, heads), more is worse. unit: what the numbers are of, with two digits or
            none.
    """
    d, layers, columns = Drawing(), len(lost), len(lost[0])
    most = max(1e-9, *(abs(value) for row in lost for value in row))
    width = min(90.0, (WIDTH - 130) / columns)
    grid = d.matrix(
        110, 78, lost, cell=(width, 40), paint=by_value(most, VERMILION, BLUE),
        rows=[f"layer {n + 1}" for n in range(layers)],
        columns=[f"head {n + 1}" if width >= 74 else str(n + 1) for n in range(columns)],
    )  # fmt: skip
    d.text((grid.box.center[0], 24), f"lost without a head ({unit})", bold=True)
    worst = max(((v, i, j) for i, row in enumerate(lost) for j, v in enumerate(row)))
    d.frame(grid.cell(worst[1], worst[2]), grow=-3)
    others = sorted((v for row in lost for v in row), reverse=True)[1]
    return d.picture(
        f"A grid of {layers} layers by {columns} heads. Each cell says what is lost, in {unit}, "
        f"when this head alone is silenced. The framed one, layer {worst[1] + 1}, head "
        f"{worst[2] + 1}, costs most, {worst[0]:.2f}; the next costs {others:.2f}."
    )


def looked_at(
    tokens: Sequence[str], weights: Sequence[float], right: str, wrong: str = ""
) -> Picture:
    """Draw a story up to a word that is due, each token shaded by how much one head looks at it.

    Args:
        tokens: their texts, in order. weights: of the last token's look, which add up to 1.
        right: the word that is due. wrong: another that could have been.
    """
    words = _whole_words(tokens, weights)
    d, x, y, most = Drawing(), float(MARGIN), 24.0, max(weight for _, weight in words)
    for word, weight in words:
        width = len(word) * _LETTER
        if word == "\n" or x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 30
        if word != "\n":
            if weight >= 0.05 * most:
                d.box(x, y - 13, width, 26, color=GREEN, tint=0.75 * weight / most)
            d.text((x + width / 2, y), word, size=SMALL)
            x += width + 0.8 * _LETTER
    y += 44
    due = d.text((MARGIN, y), f"due: {right.strip()}", color=GREEN, align="start", bold=True)
    if wrong:
        d.text((due.x + due.width + 40, y), f"not: {wrong.strip()}", color=VERMILION, align="start")
    top = sorted(words, key=lambda pair: -pair[1])[:3]
    said = ", ".join(f"“{word}” with {weight:.2f}" for word, weight in top)
    return d.picture(
        f"A story up to the place where “{right.strip()}” is due. Its words are shaded by how much "
        f"one head looks at them from the last one: most at {said}."
    )


def _whole_words(tokens: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    """Words and marks, put together of their tokens, with what goes to each; "\\n" ends a line."""
    words: list[tuple[str, float]] = []
    for token, weight in zip(tokens, weights, strict=True):
        if token == "\n":
            words.append((token, weight))
        elif words and not token.startswith((" ", "<")) and words[-1][0][-1] not in "\n>":
            words[-1] = words[-1][0] + token, words[-1][1] + weight
        else:
            words.append((token.strip(), weight))
    return words
