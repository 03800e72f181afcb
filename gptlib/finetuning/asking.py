"""A model that was taught to answer is asked.

One job: `ask`. The prompt is what training showed before every answer, to the id; a prompt that
differs by a space is another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from gptlib.chat import Message, prompt_ids
from gptlib.model import GPT
from gptlib.sampling import generate
from gptlib.sampling.settings import Seed
from gptlib.stories.marks import END
from gptlib.tokenizers import Tokenizer


def ask(
    model: GPT,
    tokenizer: Tokenizer,
    text: str | Sequence[Message],
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    seed: Seed = None,
    **more: Any,
) -> str:
    """The answer to a question, up to its `<|end|>`.

    Args:
        model, tokenizer: as `load_run` gives those of a run of `gptlib finetune`.
        text: what the user says, or a whole conversation whose last message is the user's.
        max_new_tokens: where the answer ends at the latest.
        temperature: 0 always takes the likeliest token.
        seed, more: as for `gptlib.generate`.

    Raises:
        ConfigError: a model that was taught no conversations, or a setting out of range.
        DataError: an empty question, or messages out of order.
    """
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    ids = prompt_ids(tokenizer, cast("Sequence[Message]", messages))
    end = tokenizer.special_tokens[END]
    out = generate(model, ids, max_new_tokens, temperature, stop=[end], seed=seed, **more)
    answer = out[0].tolist()[len(ids) :]
    return tokenizer.decode(answer[: answer.index(end)] if end in answer else answer)
