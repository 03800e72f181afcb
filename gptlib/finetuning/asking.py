"""A model that was taught to answer is asked.

One job: `ask`, and `ask_many` for many questions in one pass. The prompt is what training showed
before every answer, to the id; a prompt that differs by a space is another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptlib.chat import Message, prompt_ids
from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.sampling import generate
from gptlib.stories.marks import END
from gptlib.tokenizers import Tokenizer

#: What the user says, or a whole conversation whose last message is the user's.
Question = str | Sequence[Message]


def ask(
    model: GPT,
    tokenizer: Tokenizer,
    question: Question,
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    seed: int | None = None,
    **more: Any,
) -> str:
    """The answer to a question, up to its `<|end|>`.

    Args:
        model, tokenizer: as `load_run` gives those of a run of `gptlib finetune`.
        question: what the user says, or a conversation whose last message is the user's.
        max_new_tokens: where the answer ends at the latest.
        temperature: 0 always takes the likeliest token.
        seed, more: as for `gptlib.generate`.

    Raises:
        ConfigError: a model that was taught no conversations, or a setting out of range.
        DataError: an empty question, one with a mark in it, or messages out of order.
    """
    return ask_many(model, tokenizer, [question], max_new_tokens, temperature, seed, **more)[0]


def ask_many(
    model: GPT,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    seed: int | None = None,
    batch_size: int = 32,
    **more: Any,
) -> list[str]:
    """The answers to many questions, each as `ask` gives it.

    Args:
        batch_size: questions that are read at a time; those of one batch draw apart.
        the others: as for `ask`.

    Raises:
        ConfigError, DataError: what `ask` raises.
    """
    if type(batch_size) is not int or batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size!r}; it must be a whole number >= 1")
    end = tokenizer.special_tokens.get(END, -1)  # where there is none, `prompt_ids` says so
    answers = []
    for first in range(0, len(questions), batch_size):
        prompts = [
            prompt_ids(tokenizer, [{"role": "user", "content": q}] if isinstance(q, str) else q)
            for q in questions[first : first + batch_size]
        ]
        found = generate(model, prompts, max_new_tokens, temperature, stop=[end], seed=seed, **more)
        rows, lengths = found if isinstance(found, tuple) else (found, [found.size(1)] * len(found))
        for prompt, row, length in zip(prompts, rows.tolist(), lengths, strict=True):
            new = row[len(prompt) : length]
            answers.append(tokenizer.decode(new[: new.index(end)] if end in new else new))
    return answers
