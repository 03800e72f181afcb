"""Beats that a model writes for chunks of a novel: what it is asked, and its answers read back.

One job: `write_prompts` makes the file that `gptlib data write --prompts FILE` asks a server;
`read_answers` makes pairs of what came back, or of beats that somebody wrote by hand:

    {"chapter": "The Mill", "chunk": 2, "text": "- Ada comes to the mill.\\n- …"}
    {"chapter": "The Mill", "chunk": 2, "beats": ["Ada comes to the mill.", "…"]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptlib.beats.chapters import Chunk
from gptlib.beats.pairs import Pair, beats_in, json_lines
from gptlib.errors import ConfigError, DataError
from gptlib.files import write_atomic

ASK = """\
Below is a scene from a novel. Write its beats: what happens, in order, in four to ten short
sentences. Each says who does, says or learns what, in the present tense and in your own words,
without quotations and without judging the style. Write each beat in a line of its own that begins
with "- ", and nothing else.

{scene}"""


def prompts(chunks: Sequence[Chunk], ask: str = ASK) -> list[dict[str, Any]]:
    """What a model is asked, one object for each chunk.

    Args:
        ask: the question, with `{scene}` where the chunk belongs.

    Raises:
        ConfigError: `{scene}` is not in it.
    """
    if "{scene}" not in ask:
        raise ConfigError("the question has no {scene}; write it where the chunk belongs")
    return [
        {"prompt": ask.replace("{scene}", chunk.text), "chapter": chunk.chapter,
         "chunk": chunk.number}
        for chunk in chunks
    ]  # fmt: skip


def write_prompts(path: Path, chunks: Sequence[Chunk], ask: str = ASK) -> None:
    """Write the prompts as a `.jsonl`, whole or not at all."""
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in prompts(chunks, ask)]
    write_atomic(path, "".join(lines).encode())


def read_answers(path: Path, chunks: Sequence[Chunk]) -> list[Pair]:
    """Turn the text round: beats to ask with, the chunk to answer.

    Args:
        path: a `.jsonl` with `chapter`, `chunk`, and `text` or `beats`, in any order.
        chunks: those that were asked about.

    Returns:
        A pair for each chunk that has an answer, in the order of the chunks. Those without are left
        out: refusals and answers that were cut off stand in files of their own.

    Raises:
        DataError: a line that is no answer, that is about no such chunk or about another text than
            the chunk's, that has no beats, or the second about a chunk; or no answers at all.
    """
    known = {(chunk.chapter, chunk.number): chunk for chunk in chunks}
    answered: dict[tuple[str, int], tuple[str, ...]] = {}
    for item, where in json_lines(path):
        place = item.get("chapter"), item.get("chunk")
        if not isinstance(place[0], str) or not isinstance(place[1], int):
            raise DataError(f"{where} does not say of which chapter and chunk it is; add them")
        if (chunk := known.get((place[0], place[1]))) is None:
            raise DataError(
                f"{where} is about {place[0]}, chunk {place[1]}, and there is none; give "
                "the answers for this novel, cut as it was when they were asked for"
            )
        if chunk.text not in item.get("prompt", chunk.text):
            raise DataError(
                f"{where} was asked about another text than {place[0]}, chunk {place[1]}; "
                "cut the novel as it was cut then"
            )
        if (chunk.chapter, chunk.number) in answered:
            raise DataError(f"{where} is the second about one chunk; keep one of the two")
        answered[chunk.chapter, chunk.number] = _beats(item, where)
    if not answered:
        raise DataError(f"{path.name} has no answers in it; give a file with one in each line")
    return [
        Pair(answered[place], chunk.text, chunk.chapter, chunk.number)
        for place, chunk in known.items()
        if place in answered
    ]


def _beats(item: dict[str, Any], where: str) -> tuple[str, ...]:
    by_hand, text = item.get("beats"), item.get("text")
    if isinstance(by_hand, list) and all(isinstance(beat, str) for beat in by_hand):
        beats = [" ".join(beat.split()) for beat in by_hand if beat.strip()]
    else:
        beats = beats_in(text) if isinstance(text, str) else []
    if not beats:
        raise DataError(
            f"{where} has no beats; they are lines of `text` that begin with '- ', or a list "
            "`beats`"
        )
    return tuple(beats)
