"""What it costs to leave the marks of a story to the tokenizer. The record `story-marks`.

One job: `compare_marks`, one small model trained in three ways on the same stories:

    registered    each mark is one id
    spelled       no mark is known: `<|end|>` is whatever pieces its characters fall into, and the
                  first of them may begin with the last sign of the story
    end is pad    marks are ids, and rows are filled with the id of `<|end|>`, whose targets the
                  loss leaves out, the story's own end with them

    python -m gptlib.course.stories.unregistered [--steps 400] [--out data/runs/story-marks]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.small import Small, in_turn, train_rows
from gptlib.course.stories.writing import padded_rows, story_loss
from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.sampling import generate
from gptlib.stories import END, START, special_tokens
from gptlib.tokenizers import BPETokenizer, Tokenizer

WAYS = ("registered", "spelled", "end is pad")
VOCABULARY = 1024
#: For the chapter's own cell, and for the record.
QUICK = Small(n_layer=1, steps=40, batch_size=4, lr=1e-2)
RECORDED = Small(n_layer=3, n_embd=96, steps=400, batch_size=16)
DOCUMENTS = 4000  # to train on, for the record


@dataclass(frozen=True)
class Marks:
    """What one way cost.

    Attributes:
        tokens: a story's, on average. end: the pieces of `<|end|>` by itself, and `end_in_text`
            those at the end of a story, which are others where a piece reaches over the border.
        loss: nats a character of held-out stories.
        stopped: share of samples that end where generation watches for the ids of `<|end|>`.
        stopped_by_text: share that end where it watches the text instead.
        fragments: share of samples with a part of a mark where no mark is.
        sample: one of them.
    """

    tokens: float
    end: list[str]
    end_in_text: list[str]
    loss: float
    stopped: float
    stopped_by_text: float
    fragments: float
    sample: str


def compare_marks(
    small: Small = QUICK, n: int = 8, ways: Sequence[str] = WAYS, documents: int = 300
) -> dict[str, Marks]:
    """Train and measure each way.

    Args:
        small: the model and its budget, the same for all. n: samples of each.
        documents: stories to train on.

    Raises:
        ConfigError: a way that there is not.
    """
    if unknown := set(ways) - set(WAYS):
        raise ConfigError(f"there is no way {unknown.pop()!r}; compare {', '.join(WAYS)}")
    stories, fresh = held_out(documents, seed=5), held_out(50, seed=6)
    return {way: _one_way(way, stories, fresh, small, n) for way in ways}


def _one_way(way: str, stories: Sequence[str], fresh: Sequence[str], small: Small, n: int) -> Marks:
    special = [] if way == "spelled" else special_tokens()
    tokenizer = BPETokenizer.train(stories, VOCABULARY, special)
    ids = [tokenizer.encode(text) for text in stories]
    longest = max(map(len, ids + [tokenizer.encode(text) for text in fresh]))
    room = -(-longest // 64) * 64  # spelled marks make stories longer
    small = replace(small, block_size=room)
    model, end = small.model(tokenizer.vocab_size), tokenizer.encode(END)
    read = in_turn(len(ids), small.batch_size)

    def rows(step: int) -> tuple[Tensor, Tensor]:
        x, y = padded_rows([ids[k] for k in read(step)], pad=end[-1])
        return x, y.masked_fill(y == end[-1], -1) if way == "end is pad" else y

    train_rows(model, rows, small)
    return _measured(model, tokenizer, ids, fresh, n)


def _measured(
    model: GPT, tokenizer: Tokenizer, ids: list[list[int]], fresh: Sequence[str], n: int
) -> Marks:
    """What a trained model costs; its samples are written without a stop, and looked at then."""
    nats, _ = story_loss(model, [tokenizer.encode(text) for text in fresh])
    end, start = tokenizer.encode(END), tokenizer.encode(START)
    room = model.config.block_size - len(start)
    rows = generate(model, torch.tensor([start] * n), room, temperature=0.8, seed=1).tolist()
    texts = [tokenizer.decode(row) for row in rows]
    return Marks(
        tokens=sum(map(len, ids)) / len(ids),
        end=[tokenizer.decode([token]) for token in end],
        end_in_text=_pieces_of_end(tokenizer, ids[0]),
        loss=nats / sum(map(len, fresh)),
        stopped=sum(_holds(row, end) for row in rows) / n,
        stopped_by_text=sum(END in text for text in texts) / n,
        fragments=sum(_has_fragment(text.partition(END)[0]) for text in texts) / n,
        sample=texts[0],
    )


def _pieces_of_end(tokenizer: Tokenizer, story: list[int]) -> list[str]:
    """The tokens at the end of a story in which a character of its last mark stands."""
    count = next(k for k in range(1, len(story)) if END in tokenizer.decode(story[-k:]))
    return [tokenizer.decode([token]) for token in story[-count:]]


def _holds(row: list[int], part: list[int]) -> bool:
    """Whether some ids stand in a row, one after the other."""
    return any(row[k : k + len(part)] == part for k in range(len(row) - len(part) + 1))


def _has_fragment(text: str) -> bool:
    """Whether a part of a mark is left once all whole ones are taken away."""
    for mark in special_tokens():
        text = text.replace(mark, "")
    return any(part in text for part in ("<|", "|>", "</|"))


def story_marks(small: Small = RECORDED, n: int = 100) -> Record:
    """Compare the three ways at a size that takes a few minutes."""
    found = compare_marks(small, n, documents=DOCUMENTS)
    result = {way: asdict(marks) for way, marks in found.items()}
    samples = [
        {"prompt": START, "text": result[way].pop("sample"), "way": way} for way in found
    ]  # fmt: skip
    config = {**asdict(small), "vocabulary": VOCABULARY, "samples": n, "documents": DOCUMENTS}
    command = f"python -m gptlib.course.stories.unregistered --steps {small.steps} --n {n}"
    return make_record("story-marks", config, result, command, samples)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.unregistered")
    parser.add_argument("--steps", type=at_least_one, default=RECORDED.steps)
    parser.add_argument("--n", type=at_least_one, default=100, help="samples of each way")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-marks"))
    options = parser.parse_args(arguments)
    record = story_marks(replace(RECORDED, steps=options.steps), options.n)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
