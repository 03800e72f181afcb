"""How each sampler writes: the record `story-samplers`, quality beside diversity.

One job: `measure_samplers`, which lets one model tell stories under the same titles and with the
same seeds in many ways, and judges each, and the record of it.

    python -m gptlib.course.stories.sampling [RUN] [--draft RUN] [--n N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gptlib.corpora import load_corpus
from gptlib.corpora.corpus import EMBEDDED_SIZE
from gptlib.course.command import answer, at_least_one
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.speculation import small_draft, speculation_gain
from gptlib.course.stories.verdicts import missing_part, parses
from gptlib.errors import DataError
from gptlib.evaluation import judge_story, wilson
from gptlib.evaluation.diversity import (
    copied_share,
    distinct_n,
    longest_shared_runs,
    self_bleu,
    sentences,
    words,
)
from gptlib.grammar import Grammar
from gptlib.model import GPT
from gptlib.runs import load_run
from gptlib.sampling import Sampling, generate
from gptlib.stories import END, TITLE_END, special_tokens
from gptlib.tokenizers import Tokenizer

LENGTH = 320  # tokens, of which the longest stories of the grammar have fewer
BLEU_OF = 60  # stories; self-BLEU compares each with each
#: Settings that say nothing of how a text is drawn.
_ASIDE = {"max_new_tokens", "seed", "stop", "tokenizer", "processors", "use_cache", "num_samples"}

_MARK = re.compile("|".join(map(re.escape, special_tokens())))

#: What the table compares. Everything else is as it is learned: temperature 1, nothing cut.
SAMPLERS: dict[str, Sampling] = {
    "greedy": Sampling(LENGTH, temperature=0),
    "temperature 0.5": Sampling(LENGTH, temperature=0.5),
    "temperature 0.8": Sampling(LENGTH, temperature=0.8),
    "temperature 1": Sampling(LENGTH),
    "temperature 1.3": Sampling(LENGTH, temperature=1.3),
    "top-k 5": Sampling(LENGTH, top_k=5),
    "top-k 40": Sampling(LENGTH, top_k=40),
    "top-p 0.9": Sampling(LENGTH, top_p=0.9),
    "min-p 0.1": Sampling(LENGTH, min_p=0.1),
    "typical 0.9": Sampling(LENGTH, typical_p=0.9),
    "repetition 1.2": Sampling(LENGTH, repetition_penalty=1.2),
    "repetition 1.5": Sampling(LENGTH, repetition_penalty=1.5),
    "presence 0.5": Sampling(LENGTH, presence_penalty=0.5),
    "frequency 0.5": Sampling(LENGTH, frequency_penalty=0.5),
    "no 4-gram twice": Sampling(LENGTH, no_repeat_ngram_size=4),
    "4 beams, by sum": Sampling(LENGTH, num_beams=4, length_penalty=0.0),
    "4 beams, by mean": Sampling(LENGTH, num_beams=4),
    "2 groups of 2": Sampling(LENGTH, num_beams=4, num_beam_groups=2, diversity_penalty=1.0),
}


def without_marks(story: str) -> str:
    """Title and text of a story, without the marks, as a reader sees them."""
    return _MARK.sub("", story).strip()


def heads(stories: Sequence[str], n: int) -> list[str]:
    """Prompts: the first n different beginnings of marked stories, up to the end of their titles.

    About half of the grammar's ask for a genre too.

    Raises:
        DataError: there are fewer.
    """
    found = dict.fromkeys(s.partition(TITLE_END)[0] + TITLE_END for s in stories if TITLE_END in s)
    if len(found) < n:
        raise DataError(f"{len(stories)} stories have {len(found)} different titles, not {n}")
    return list(found)[:n]


def tell(
    model: GPT, tokenizer: Tokenizer, prompts: Sequence[str], sampler: Sampling, seed: int
) -> list[str]:
    """Continue each prompt up to `<|end|>`; return whole stories, marks and all.

    Prompt number i is drawn with the seed `seed + i`, in whatever company.
    """
    stories, end = [], tokenizer.encode(END)
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    at_once = max(1, 64 // sampler.num_beams)
    for first in range(0, len(ids), at_once):
        some = ids[first : first + at_once]
        seeds = [seed + first + row for row in range(len(some))]
        drawn = generate(model, some, **vars(replace(sampler, seed=seeds, stop=[end])))
        rows, lengths = drawn if isinstance(drawn, tuple) else (drawn, [drawn.size(1)] * len(some))
        for prompt, row, length in zip(some, rows.tolist(), lengths, strict=True):
            stories.append(tokenizer.decode(_until(row[:length], end, len(prompt))))
    return stories


def _until(row: list[int], end: Sequence[int], begun: int) -> list[int]:
    """A row up to the end of its first `end`; of one length, rows repeat their last token."""
    for stop in range(begun + len(end), len(row) + 1):
        if row[stop - len(end) : stop] == list(end):
            return row[:stop]
    return row


def measure_samplers(
    model: GPT,
    tokenizer: Tokenizer,
    settings: Mapping[str, Sampling],
    n: int,
    seed: int = 0,
    prompts: Sequence[str] | None = None,
    training: Sequence[str] = (),
    grammar: Grammar | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[dict]:
    """For each sampler n stories, and what they are like; a row of plain numbers for each.

    Args:
        settings: the samplers by name; their seeds and stops are put in here.
        prompts: heads of stories; None takes those of stories that the corpus keeps for validation.
        training: stories that the model has read, to look for copies in; none leaves that out.
        grammar: which parses; None for that of the corpus `stories`.

    Returns:
        rows with `sampler`, `settings` (those that differ from the usual ones), `n`; `well_formed`,
        `parse` and `ok`, each {"count", "share", "ci95"}; `distinct_2` and `self_bleu`, without the
        marks, the first of as many pairs of words for each sampler, the second of `BLEU_OF` stories
        at most; `words`, the mean; `longest_run`, in words, and `copied`, where there is a
        training text; `story`, the first one, and `wrong`, the first that the judge refuses, with
        its sentence and reason.
    """
    if prompts is None or grammar is None:
        corpus = load_corpus("stories")
        grammar = grammar or corpus.grammar
        prompts = heads(corpus.val_documents, n) if prompts is None else prompts
    assert grammar is not None  # an embedded corpus has one
    told = {}
    for name, sampler in settings.items():
        told[name] = tell(model, tokenizer, prompts[:n], sampler, seed)
        report(f"{name}: {len(told[name])} stories")
    plain = {name: [without_marks(s) for s in stories] for name, stories in told.items()}
    pairs = min(sum(max(0, len(words(s)) - 1) for s in texts) for texts in plain.values())
    shared = _shared(plain, training) if training else {}
    rows: list[dict] = []
    for name, stories in told.items():
        rows.append(
            {"sampler": name, "settings": changed(settings[name]), "n": len(stories)}
            | _quality(stories, grammar)
            | _diversity(plain[name], max(1, pairs))
            | shared.get(name, {})
        )
        report(f"{name}: {rows[-1]['ok']['count']} of {len(stories)} hold together")
    return rows


def changed(sampler: Sampling) -> dict[str, Any]:
    """The settings of a sampler that say how it draws, where they are not the usual ones."""
    usual = {f.name: f.default for f in fields(Sampling) if f.name not in _ASIDE}
    return {k: getattr(sampler, k) for k, v in usual.items() if getattr(sampler, k) != v}


def _quality(stories: Sequence[str], grammar: Grammar) -> dict:
    verdicts = [judge_story(story) for story in stories]
    refused = [(s, v) for s, v in zip(stories, verdicts, strict=True) if not v.ok]
    return {
        "well_formed": _share([not missing_part(story) for story in stories]),
        "parse": _share([parses(story, grammar) for story in stories]),
        "ok": _share([verdict.ok for verdict in verdicts]),
        "story": stories[0],
        "wrong": [
            {"text": s, "sentence": v.sentence, "reason": v.reason} for s, v in refused[:1]
        ],
    }  # fmt: skip


def _share(answers: Sequence[bool]) -> dict:
    right, n = sum(answers), len(answers)
    return {"count": right, "share": right / n, "ci95": [round(x, 4) for x in wilson(right, n)]}


def _diversity(texts: Sequence[str], pairs: int) -> dict:
    some = [text for text in texts if text][:BLEU_OF]
    return {
        "distinct_2": round(distinct_n(texts, 2, pairs), 4),
        "self_bleu": round(self_bleu(some), 2) if len(some) > 1 else None,
        "words": round(statistics.fmean(len(words(text)) for text in texts), 1),
    }


def _shared(texts: Mapping[str, Sequence[str]], training: Sequence[str]) -> dict[str, dict]:
    """By sampler, what its texts have in common with the training text, which may be large: it is
    read twice, not twice for each sampler."""
    every = [text for some in texts.values() for text in some]
    runs = iter(longest_shared_runs(every, map(without_marks, training)))
    met = _met(every, training)
    found = {}
    for name, some in texts.items():
        of_these = list(islice(runs, len(some)))
        longest = max(of_these, key=lambda run: run.length)
        found[name] = {
            "longest_run": longest.length,
            "longest_run_text": " ".join(map(str, longest.words)),
            "mean_run": round(statistics.fmean(run.length for run in of_these), 1),
            "copied": copied_share(some, met),
        }
    return found


def _met(texts: Sequence[str], training: Sequence[str]) -> list[str]:
    """Of the texts and their sentences, those that stand in the training text."""
    whole, parts = set(texts), {part for text in texts for part in sentences(text)}
    met: set[str] = set()
    for story in map(without_marks, training):
        met |= parts.intersection(sentences(story)) | whole.intersection([story])
    return sorted(met)


def story_samplers(
    run: str | Path = "stories",
    draft: str | Path | None = None,
    n: int = 200,
    seed: int = 0,
    corpus_size: int | None = None,
    report: Callable[[str], None] = print,
) -> Record:
    """The record `story-samplers`, of the shipped model or of another run.

    Args:
        draft: a run of a smaller model with the same tokenizer, for `speculation`; None trains
            one, for a minute.
        corpus_size: characters of the corpus that the run was trained on; None: what it noted. Of
            another size, the titles might be of stories that it has read.

    Raises:
        DataError: the run has no tokenizer.
    """
    model, tokenizer, manifest = load_with_tokenizer(run)
    size = corpus_size or (manifest.get("note") or {}).get("corpus_size") or EMBEDDED_SIZE
    corpus = load_corpus("stories", size=size)
    prompts = heads(corpus.val_documents, n)
    rows = measure_samplers(
        model, tokenizer, SAMPLERS, n, seed, prompts, corpus.train_documents, corpus.grammar, report
    )
    result: dict = {"samplers": {row.pop("sampler"): row for row in rows}}
    config = {
        "model": model.config.to_dict(), "step": manifest.get("step"), "n": n, "seed": seed,
        "samplers": list(SAMPLERS),  # in their order, which a record's result has not
        "prompts": "heads of validation stories", "max_new_tokens": LENGTH, "bleu_of": BLEU_OF,
        "training_documents": len(corpus.train_documents), "corpus_size": len(corpus.text),
    }  # fmt: skip
    small = load_run(draft)[0] if draft else small_draft(tokenizer, corpus)
    config["draft"] = small.config.to_dict()
    result["speculation"] = speculation_gain(
        model, small, tokenizer, prompts[:20], seed=seed, max_new_tokens=LENGTH
    )
    samples = [
        {"sampler": name, "prompt": prompts[0], "text": row["story"]}
        for name, row in result["samplers"].items()
    ]
    return make_record("story-samplers", config, result, samples=samples)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.sampling")
    parser.add_argument("run", nargs="?", default="stories", help="a run (default: the shipped)")
    parser.add_argument("--draft", help="a run of a smaller model (default: trained here)")
    parser.add_argument("--n", type=at_least_one, default=200, help="stories for each sampler")
    parser.add_argument("--seed", type=int, default=0, help="of the first story")
    parser.add_argument("--corpus-size", type=at_least_one, help="that the run was trained on")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    a = parser.parse_args(arguments)
    record = story_samplers(a.run, a.draft, a.n, a.seed, a.corpus_size)
    save_record(record, a.out / record.name)
    print(record)


if __name__ == "__main__":
    answer(main)
