"""The drawings of chapter 9: a text turned round, and chapters dealt into three sides.

One job: draw what is asked and what is answered when a novel becomes pairs, and where each chunk of
a novel goes by two ways of splitting.
"""

from collections.abc import Sequence

from gptlib.beats import Pair
from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing
from gptlib.course.picture import BLUE, COLORS, FAINT, GREEN, INK, VERMILION, Picture

_LINE = 22  # pixels from one line of words to the next
_WIDE = 23  # characters of a line in half of the sheet
_SIDES = ("train", "val", "test")


def turned_round(pair: Pair) -> Picture:
    """Draw how a chunk of a novel becomes a pair: a model reads the prose and writes beats, and
    what is tuned reads the beats and writes the prose.

    Args:
        pair: of a chunk of some 20 to 60 words, with two to four beats.
    """
    d, width, top = Drawing(), (WIDTH - 2 * MARGIN - 24) / 2, 58.0
    prose = _wrapped(" ".join(pair.prose.split()), _WIDE)[:7]
    if len(prose[-1]) > _WIDE - 2:
        prose[-1] = prose[-1].rsplit(" ", 1)[0]
    prose[-1] += " …"
    beats = [line for beat in pair.beats for line in _wrapped(f"– {beat}", _WIDE)]
    height = 20 + _LINE * (1 + max(len(prose), len(beats)))
    middles = []
    for x, name, lines, color in (
        (MARGIN, "a chunk of the novel", prose, BLUE),
        (WIDTH - MARGIN - width, "beats", beats, VERMILION),
    ):
        d.box(x, top, width, height, color=color, tint=0.1)
        for n, line in enumerate([name, *lines]):
            place = (x + 12, top + 10 + _LINE * (n + 0.5))
            d.text(place, line, size=SMALL, align="start", bold=n == 0)
        middles.append(x + width / 2)
    left, right = middles
    low = top + height
    d.arrow((left, top), (left, top - 22), (right, top - 22), (right, top), color=FAINT)
    d.text((WIDTH / 2, 16), "1. a large model reads it and writes beats", size=SMALL, color=FAINT)
    d.arrow((right, low), (right, low + 22), (left, low + 22), (left, low), color=INK)
    d.text((WIDTH / 2, low + 42), "2. the tuned model learns the way back", size=SMALL)
    return d.picture(
        f"Left a chunk of a novel, “{' '.join(prose[:2])} …”; right its {len(pair.beats)} beats, "
        f"the first “{pair.beats[0]}”. One arrow leads from the prose to the beats: a large model "
        "writes them. A second one leads back, from the beats to the prose: that way the tuned "
        "model learns, with the author's own words for its answer."
    )


def two_splits(
    pairs: Sequence[Pair], by_chunk: Sequence[str], by_chapter: Sequence[str]
) -> Picture:
    """Draw a novel as a row of chunks for each chapter, colored by the side that each is on.

    Args:
        pairs: the chunks of 6 to 12 chapters, at most four in each. by_chunk, by_chapter: for each
            pair "train", "val" or "test", as dealt chunk by chunk and by whole chapters.
    """
    d, chapters = Drawing(), list(dict.fromkeys(pair.chapter for pair in pairs))
    color = dict(zip(_SIDES, (COLORS[0], GREEN, VERMILION), strict=True))
    most = max(sum(pair.chapter == name for pair in pairs) for name in chapters)
    cell, height, top = 46, 24, 84
    block = most * cell
    lefts = {"chunk by chunk": 130, "by chapter": 130 + block + 90}
    x = float(MARGIN)
    for side in _SIDES:
        d.box(x, 10, 18, 18, color=color[side], tint=0.5)
        word = d.text((x + 26, 19), side, size=SMALL, align="start")
        x = word.x + word.width + 24
    alone = 0
    for title, sides in (("chunk by chunk", by_chunk), ("by chapter", by_chapter)):
        d.text((lefts[title] + block / 2, 58), title, bold=True, size=SMALL)
        for row, name in enumerate(chapters):
            y = top + row * (height + 6)
            own = [side for pair, side in zip(pairs, sides, strict=True) if pair.chapter == name]
            alone += title == "chunk by chunk" and len(set(own)) > 1
            if title == "chunk by chunk":
                words = f"chapter {row + 1}"
                d.text((lefts[title] - 12, y + height / 2), words, size=SMALL, align="end")
            for n, side in enumerate(own):
                d.box(lefts[title] + n * cell, y, cell - 4, height, color=color[side], tint=0.5)
    d.height = top + len(chapters) * (height + 6)
    held = [row + 1 for row, name in enumerate(chapters)
            if any(s != "train" for p, s in zip(pairs, by_chapter, strict=True)
                   if p.chapter == name)]  # fmt: skip
    return d.picture(
        f"A novel of {len(chapters)} chapters as rows of chunks, twice. Left, dealt chunk by "
        f"chunk: {alone} chapters have chunks on two sides, so that a test chunk has its neighbor "
        "in the training data. Right, dealt by chapter: every row has one color, and chapters "
        f"{' and '.join(map(str, held))} are held out whole."
    )


def _wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines
