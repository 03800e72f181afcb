"""How good are the stories that a model writes? The record `story-model`.

One job: `evaluate_stories`, and the command that records it for a finished run.

    python -m gptlib.course.stories.evaluated --run RUN [--n 200] [--out data/runs/story-model]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gptlib.corpora import load_corpus
from gptlib.course.command import answer, at_least_one
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.replay import grammar
from gptlib.course.stories.verdicts import SharedRuns, Verdicts, judge_all
from gptlib.course.stories.writing import begin_with, story_loss, write_stories
from gptlib.errors import ConfigError
from gptlib.evaluation.diversity import longest_shared_runs
from gptlib.model import GPT
from gptlib.sampling import Sampling
from gptlib.tokenizers import Tokenizer

#: What a story can be asked for.
ASKED = ("nothing", "a title", "a genre")
TEMPERATURES = (0.5, 0.8, 1.0)
_TITLE = re.compile(r"<\|title\|>(.*?)</\|title\|>")


def evaluate_stories(
    model: GPT,
    tokenizer: Tokenizer,
    n: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    asked: str = "nothing",
    shared: SharedRuns | None = None,
) -> Verdicts:
    """Let a model write n stories, and judge each.

    Args:
        sampling: how to draw (default: temperature 0.8); see `write_stories`.
        seed: the same seed, the same stories.
        asked: what is asked for, one of `ASKED`. Titles are those of stories of the grammar that
            the model was not trained on; of genres each has its turn.
        shared: gives for each text the longest run of words that stands in the training text.

    Raises:
        ConfigError: `asked` is none of these. DataError: n is 0.
    """
    texts = write_stories(model, tokenizer, beginnings(asked, n), sampling, seed)
    return judge_all(texts, shared)


def beginnings(asked: str, n: int) -> list[str]:
    """The beginnings of n stories, of each of which the same is asked.

    Raises:
        ConfigError: `asked` is none of `ASKED`.
    """
    if asked == "nothing":
        return [begin_with()] * n
    if asked == "a title":
        titles = [_TITLE.findall(text)[0] for text in held_out(n, seed=4)]
        return [begin_with(title=title) for title in titles]
    if asked == "a genre":
        genres = grammar().genres
        return [begin_with(genre=genres[k % len(genres)]) for k in range(n)]
    raise ConfigError(f"asked is {asked!r}; ask for one of {', '.join(map(repr, ASKED))}")


def runs_shared_with(training: Sequence[str]) -> SharedRuns:
    """How many words the longest run has that a text shares with one of the training stories."""
    return lambda texts: [run.length for run in longest_shared_runs(texts, training)]


def story_model(run: str | Path = "stories", n: int = 200, size: int | None = None) -> Record:
    """Judge n stories of a run's best model for each thing that can be asked for, and n at other
    temperatures; and measure its loss on stories that nobody trained it on.

    Args:
        size: characters of the corpus that the run was trained on, in which copies are looked for;
            None for what the run's note says.

    Raises:
        DataError: the run has no tokenizer.
    """
    model, tokenizer, manifest = load_with_tokenizer(run)
    T, note = model.config.block_size, manifest.get("note") or {}
    corpus = load_corpus("stories", size=size or note.get("corpus_size"))
    shared = runs_shared_with(corpus.train_documents)
    verdicts = {
        what: evaluate_stories(model, tokenizer, n, seed=1, asked=what, shared=shared)
        for what in ASKED
    }
    warmth = {
        str(t): evaluate_stories(model, tokenizer, n, Sampling(T, temperature=t), seed=2).to_dict()
        for t in TEMPERATURES
    }
    documents = held_out(400, seed=3)
    nats, tokens = story_loss(model, [tokenizer.encode(text) for text in documents])
    floor = -sum(grammar().score(text) for text in documents)
    result = {
        "training_stories": len(corpus.train_documents),
        "asked": {what: of.to_dict() for what, of in verdicts.items()},
        "temperatures": warmth,
        "loss": {"nats_a_token": nats / tokens, "floor": floor / tokens, "above": nats / floor - 1},
        "params": model.num_params(),
    }
    samples = [
        {"prompt": what, **asdict(story)}
        for what, of in verdicts.items()
        for story in dict.fromkeys([*of.stories[:8], *of.failed[:8]])
    ]  # fmt: skip
    config = {
        "step": manifest["step"], "model": model.config.to_dict(), "n": n, "temperature": 0.8,
        "note": note, "train": manifest.get("train"), "corpus_size": len(corpus.text),
    }  # fmt: skip
    command = f"python -m gptlib.course.stories.evaluated --run RUN --n {n}"
    return make_record("story-model", config, result, command, samples)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.evaluated")
    parser.add_argument("--run", required=True, help="a finished run folder, or `stories`")
    parser.add_argument("--n", type=at_least_one, default=200, help="stories of each kind")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-model"))
    options = parser.parse_args(arguments)
    record = story_model(options.run, options.n)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
