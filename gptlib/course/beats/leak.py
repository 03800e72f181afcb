"""What a test knows of its neighbors, and how long a text must be to know its author. The record
`beats-leak`.

One job: two counts on real texts. The share of names in a test's scenes that training has, where
chunks of SQuALITY's stories are dealt one by one and where whole stories are held out; and how
often Burrows's Delta finds the right one of four authors, for pieces of two lengths.

    GPTLIB_DATA=FOLDER python -m gptlib.course.recipes beats-leak
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from gptlib.beats import Pair, known_names, split_by_chapter, squality_pairs
from gptlib.course.records import Record, make_record, spread
from gptlib.course.tokens.texts import cached
from gptlib.evaluation import burrows_delta

#: Of each author a book that is known, and one whose pieces are asked about.
BOOKS = {
    "Baum": ("pg55_the_wonderful_wizard_of_oz", "pg486_ozma_of_oz"),
    "Nesbit": ("pg778_five_children_and_it", "pg836_the_phoenix_and_the_carpet"),
    "Lang": ("pg503_the_blue_fairy_book", "pg641_the_violet_fairy_book"),
    "Kipling": ("pg236_the_jungle_book", "pg557_puck_of_pook_s_hill"),
}
FRONT = 2_000  # words of a book that are left out: title pages, tables, prefaces
LONG, PIECES = 5_000, {500: 24, 5_000: 4}  # words of a known piece; of each length, how many
SEEDS = 5


def names_known(pairs: Sequence[Pair], seeds: int = SEEDS) -> dict:
    """The share of a test's names that the rest has, by how the pairs were dealt; a tenth is tested
    on. Returns chunk and story, each over the seeds, and how many chunks and stories there are."""
    by_chunk, by_story = [], []
    for seed in range(seeds):
        dealt = random.Random(seed).sample(list(pairs), len(pairs))
        tenth = max(1, len(pairs) // 10)
        by_chunk.append(known_names(dealt[tenth:], dealt[:tenth]))
        sides = split_by_chapter(pairs, seed)
        by_story.append(known_names(sides["train"] + sides["val"], sides["test"]))
    stories = len({pair.chapter for pair in pairs})
    return {
        "chunk": spread(by_chunk), "story": spread(by_story),
        "chunks": len(pairs), "stories": stories,
    }  # fmt: skip


def pieces(words: Sequence[str], length: int, n: int) -> list[str]:
    """The first n pieces of so many words."""
    return [" ".join(words[i * length : (i + 1) * length]) for i in range(n)]


def authors_found(
    known: Mapping[str, Sequence[str]],
    asked: Mapping[str, Sequence[str]],
    lengths: Mapping[int, int],
    long: int = LONG,
) -> list[dict]:
    """How often Delta's nearest author is the right one.

    Args:
        known, asked: for each author the words of a book. lengths: of pieces, and how many of each.
        long: words of a known piece; three are the author's, three more the reference.
    """
    texts = {name: pieces(words, long, 6) for name, words in known.items()}
    reference = [text for own in texts.values() for text in own[1::2]]
    found = []
    for length, n in lengths.items():
        right = total = 0
        for name, words in asked.items():
            some = pieces(words, length, n)
            distances = {
                other: burrows_delta(some, own[::2], reference) for other, own in texts.items()
            }
            nearest = [min(distances, key=lambda o: distances[o][i]) for i in range(len(some))]
            right += sum(other == name for other in nearest)
            total += len(some)
        found.append({"words": length, "right": right, "pieces": total})
    return found


def beats_leak() -> Record:
    """Count both on the texts in GPTLIB_DATA.

    Raises:
        DataError: a text is not there.
    """
    known, asked = (
        {
            name: cached(f"stories/gutenberg/{books[which]}.txt").read_text("utf8").split()[FRONT:]
            for name, books in BOOKS.items()
        }
        for which in (0, 1)
    )
    result = {
        "names": names_known(squality_pairs()), "authors": authors_found(known, asked, PIECES)
    }  # fmt: skip
    config = {"books": BOOKS, "front": FRONT, "known": LONG, "pieces": PIECES, "seeds": SEEDS}
    return make_record("beats-leak", config, result)
