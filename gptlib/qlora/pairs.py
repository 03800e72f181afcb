"""Pairs to learn from: what was asked, and the answer, whose tokens alone carry loss.

One job: `read_pairs`, `encode_pair`, which pairs an update learns from (`pairs_of_step`, a function
of the step, so a resumed run needs no position), and the batch that they make (`collate`).

A line of the file is an object {"messages": [{"role": ..., "content": ...}, ...]}, as chat models'
services and mlx-lm read it, and ends with a message of the assistant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gptlib.errors import DataError, TokenizerError
from gptlib.paths import user_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant")
IGNORE = -100  # the label of a token without loss, as torch has it
#: For a base model, which has no chat form of its own: what was asked, a blank line, the answer,
#: the end.
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ m['content'] + eos_token }}{% else %}{{ m['content'] + '\n\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class EncodedPair:
    """A pair as ids; the first `prompt` of them carry no loss."""

    ids: list[int]
    prompt: int


def read_pairs(path: str | Path) -> list[Messages]:
    """The conversations of a JSON-lines file, in order.

    Raises:
        DataError: no such file, nothing in it, or a line that is no such object, by its number.
    """
    return [messages for _, messages in _numbered(path)]


def encode_file(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, max_length: int = 1 << 30
) -> list[EncodedPair]:
    """The pairs of such a file, encoded.

    Raises:
        DataError: what `read_pairs` and `encode_pair` refuse, by the number of the line.
        TokenizerError: see `encode_pair`.
    """
    found = []
    for number, messages in _numbered(path):
        try:
            found.append(encode_pair(messages, tokenizer, max_length))
        except DataError as error:
            raise DataError(f"line {number} of {Path(path).name}: {error}") from error
    return found


def _numbered(path: str | Path) -> list[tuple[int, Messages]]:
    path = user_path(path)
    try:
        lines = path.read_text("utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} ({error}); give a file of JSON lines") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
            check_messages(messages)
        except (ValueError, KeyError, TypeError, RecursionError, DataError) as error:
            why = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            raise DataError(
                f"line {number} of {path.name} is no conversation ({why}); expected "
                '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", ...}]}'
            ) from error
        pairs.append((number, messages))
    if not pairs:
        raise DataError(f"{path} has no lines; give at least one conversation")
    return pairs


def check_messages(messages: Messages) -> None:
    """Refuse what is no conversation that ends with an answer.

    Raises:
        DataError: see above.
    """
    for n, message in enumerate(messages, 1):
        if message["role"] not in ROLES:
            raise DataError(f"message {n} has the role {message['role']!r}, not {', '.join(ROLES)}")
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise DataError(f"message {n} has no text")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise DataError("nothing is asked and answered by the assistant at the end")


def asked(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text that a model reads before it answers; `messages` end with what is asked."""
    return _written(messages, tokenizer, ask=True)


def encode_pair(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int = 1 << 30
) -> EncodedPair:
    """The ids of a conversation, in the tokenizer's chat form or in `PLAIN`.

    Question and answer are encoded apart, as they are when the model answers: no token reaches
    over from one into the other. The answer ends with the token that says so, which is learned too;
    an answer that is cut off would teach never to stop, so a pair that is too long is refused.

    Raises:
        DataError: no conversation, or too long. TokenizerError: the chat form changes what was
            asked when the answer is there, so the two cannot be told apart.
    """
    check_messages(messages)
    before, whole = asked(messages[:-1], tokenizer), _written(messages, tokenizer)
    if not whole.startswith(before):
        raise TokenizerError(
            "this tokenizer's chat form writes a question otherwise once it is answered; set "
            "tokenizer.chat_template = gptlib.qlora.PLAIN"
        )
    prompt, answer = (
        tokenizer(text, add_special_tokens=False)["input_ids"]  # the form has written them
        for text in (before, whole[len(before) :])
    )
    if len(prompt) + len(answer) > max_length:
        raise DataError(
            f"a pair has {len(prompt)} + {len(answer)} tokens and max_length is {max_length}; "
            f"cut the text into smaller scenes, or raise it: {messages[0]['content'][:40]!r}"
        )
    return EncodedPair(prompt + answer, len(prompt))


def _written(messages: Messages, tokenizer: PreTrainedTokenizerBase, ask: bool = False) -> str:
    form: Any = tokenizer.chat_template or PLAIN
    return str(
        tokenizer.apply_chat_template(
            messages, chat_template=form, tokenize=False, add_generation_prompt=ask
        )
    )


def pairs_of_step(step: int, count: int, batch_size: int, seed: int) -> list[int]:
    """The numbers of the pairs that update `step`, from 0, learns from.

    All are seen once before any is seen again, each time in another order.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _order(epoch, count, seed) for epoch in {place // count for place in places}}
    return [orders[place // count][place % count] for place in places]


def _order(epoch: int, count: int, seed: int) -> list[int]:
    dice = torch.Generator().manual_seed((seed << 20) + epoch)
    return torch.randperm(count, generator=dice).tolist()


def collate(pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
    """Pairs as rows of one length.

    Returns:
        input_ids (B, T), filled up at the end; attention_mask (B, T), 0 there; labels (B, T), the
        ids of answers and `IGNORE` elsewhere.
    """
    shape = len(pairs), max(len(pair.ids) for pair in pairs)
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORE)
    for row, pair in enumerate(pairs):
        own = torch.tensor(pair.ids)
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
        labels[row, pair.prompt : len(own)] = own[pair.prompt :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def answer_tokens(pairs: Sequence[EncodedPair]) -> int:
    """How many tokens carry loss."""
    return sum(len(pair.ids) - pair.prompt for pair in pairs)


def sha256_of(pairs: Sequence[EncodedPair]) -> str:
    """Hex sha256 of all ids and where answers begin."""
    text = json.dumps([[pair.prompt, pair.ids] for pair in pairs])
    return hashlib.sha256(text.encode()).hexdigest()
