"""The small novel of chapter 9, and beats that were written for it by hand.

One job: `novel` and `pairs`. Ten chapters, some 800 words, chunks of at most 60. A letter is read
in one chapter and read aloud in another.
"""

from __future__ import annotations

from gptlib.beats import Chapter, Pair, chapters_of, chunks_of
from gptlib.beats.pairs import json_lines
from gptlib.resources import data_path

WORDS = 60  # of a chunk, at most


def text() -> str:
    """The novel as a file has it, without its own title."""
    return data_path("beats/ferry.txt").read_text("utf8").partition("\n\n")[2]


def novel() -> list[Chapter]:
    """Its ten chapters."""
    return chapters_of(text())


def pairs() -> list[Pair]:
    """A pair for each chunk, with the beats that stand in `data/beats/ferry.jsonl`."""
    by_hand = {
        (item["chapter"], item["chunk"]): tuple(item["beats"])
        for item, _ in json_lines(data_path("beats/ferry.jsonl"))
    }
    return [
        Pair(by_hand[chunk.chapter, chunk.number], chunk.text, chunk.chapter, chunk.number)
        for chunk in chunks_of(novel(), WORDS)
    ]
