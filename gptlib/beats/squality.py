"""Real pairs without a server: plot summaries that people wrote of short stories.

One job: `squality_pairs`. SQuALITY has stories of some 5,000 words, each with four summaries of the
plot. A summary tells of the whole story; its sentences are put to the chunks that they tell of. The
sentences come in the order of the story, so of all ways to deal them out in order that one counts
in which sentences and chunks are most alike (the cosine of their tf-idf vectors). Nobody has
checked these places: expect beats in a neighboring chunk.

Source: Wang et al., SQuALITY: building a long-document summarization dataset the hard way (2022),
summaries CC BY 4.0, stories by Project Gutenberg.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from gptlib.beats.chapters import WORDS, cut
from gptlib.beats.pairs import Pair, json_lines
from gptlib.corpora.downloads import cache_folder
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.diversity import sentences

FILE = "squality/train.jsonl"
SUMMARIES = 4  # of each story

_NOTES = re.compile(r"\s*\[Transcriber['’]s? Note.*?\]|\A\s*Produced by .*?pgdp\.net\)?", re.S)
_PARAGRAPH = re.compile(r"\n\s*\n")


def squality_pairs(
    path: Path | None = None, summary: int = 0, most: int = WORDS, stories: int | None = None
) -> list[Pair]:
    """Chunks of SQuALITY's stories and the sentences of a summary that tell of them.

    Args:
        path: the file; without it `squality/train.jsonl` in the data folder (GPTLIB_DATA).
        summary: which of a story's four, from 0. most: words of a chunk.
        stories: take the first so many only.

    Returns:
        A pair for each chunk that the summary speaks of. A story is a chapter, named by its number
        at Project Gutenberg.

    Raises:
        DataError: the file is not there, or a line is no story with such a summary.
        ConfigError: there is no such summary.
    """
    if not 0 <= summary < SUMMARIES:
        raise ConfigError(f"summary is {summary}; a story has {SUMMARIES}, from 0")
    path = cache_folder() / FILE if path is None else path
    if not path.is_file():
        raise DataError(
            f"{path} is not there; put SQuALITY's train.jsonl there, or set GPTLIB_DATA to a "
            f"folder that has {FILE}"
        )
    pairs = []
    for item, where in json_lines(path)[:stories]:
        name, document, told = _story(item, summary, where)
        chunks = cut(document, most)
        places = align(told, chunks)
        for number, chunk in enumerate(chunks, 1):
            beats = [beat for beat, at in zip(told, places, strict=True) if at == number - 1]
            if beats:
                pairs.append(Pair(tuple(beats), chunk, name, number))
    return pairs


def align(told: Sequence[str], chunks: Sequence[str]) -> list[int]:
    """For each sentence of a summary the number, from 0, of the chunk that it tells of.

    The numbers never fall, and of all such rows of numbers this one has the highest sum of cosines
    between the tf-idf vectors of sentence and chunk.

    Raises:
        DataError: no sentences, no chunks, or no word in them.
    """
    if not told or not chunks:
        raise DataError(f"there are {len(told)} sentences and {len(chunks)} chunks; give both")
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    try:
        texts: Any = vectorizer.fit_transform([*told, *chunks])
    except ValueError as error:  # an empty vocabulary
        raise DataError(f"the sentences and chunks have no words ({error})") from error
    alike: np.ndarray = (texts[: len(told)] @ texts[len(told) :].T).toarray()  # (S, C)
    best = np.empty_like(alike)  # the highest sum that ends with sentence i in chunk j
    best[0] = alike[0]
    for i in range(1, len(told)):
        best[i] = alike[i] + np.maximum.accumulate(best[i - 1])
    places = [int(best[-1].argmax())]
    for i in range(len(told) - 2, -1, -1):
        places.append(int(best[i, : places[-1] + 1].argmax()))
    return places[::-1]


def _story(item: dict[str, Any], summary: int, where: str) -> tuple[str, list[str], list[str]]:
    """Name, paragraphs and sentences of the summary of a line of the file."""
    try:
        name = item["metadata"]["passage_id"]
        plot = next(q for q in item["questions"] if "plot" in q["question_text"].lower())
        told = plot["responses"][summary]["response_text"]
        document = _NOTES.sub("", item["document"])
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(
            f"{where} is no story of SQuALITY with {summary + 1} summaries of its plot "
            f"({type(error).__name__}: {error}); give the file as it was published"
        ) from error
    blocks = [" ".join(block.split()) for block in _PARAGRAPH.split(document)]
    return name, [block for block in blocks if block], sentences(told)
