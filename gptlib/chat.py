"""A conversation in tokens: whose turn it is, and which of the tokens are an answer.

One job: the chat template, `render` and `prompt_ids`, and the same for others, `jinja_template`.

    <|chat|><|system|>Be brief.<|user|>Write a cold harbor.<|assistant|>Ice in the nets.<|end|>

Each mark is one id, and only this module writes it: what a user or a system says is encoded as
ordinary text, so nobody ends a turn by spelling its end. Every conversation begins with
`<|chat|>`, by which attention tells those apart that stand in one row (`gptlib.documents`). An
answer ends with the `<|end|>` that stories end with, so a storyteller need not learn it anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypedDict

from gptlib.errors import ConfigError, DataError, nearest
from gptlib.stories.marks import END
from gptlib.tokenizers import BPETokenizer, Tokenizer

CHAT, SYSTEM, USER, ASSISTANT = "<|chat|>", "<|system|>", "<|user|>", "<|assistant|>"
MARK_OF = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
#: Who may speak after whom.
NEXT = {
    "nobody": ("user", "system"), "system": ("user",), "user": ("assistant",),
    "assistant": ("user",),
}  # fmt: skip
CHAT_MARKS = (CHAT, *MARK_OF.values(), END)
IGNORED = -1  # the target of a position that carries no loss


class Message(TypedDict):
    """What one of them said: "system", "user" or "assistant", and the words."""

    role: str
    content: str


def with_chat(tokenizer: Tokenizer) -> BPETokenizer:
    """The tokenizer with those marks of a conversation that it lacks; its ids keep their meaning.

    `gptlib.resize_vocab` gives a trained model rows for them.

    Raises:
        ConfigError: a tokenizer of characters, which has no ids to give.
    """
    if not isinstance(tokenizer, BPETokenizer):
        raise ConfigError(
            f"a conversation has marks of one id each, and {tokenizer!r} has room for none; "
            "fine-tune a model that was trained on byte pairs (--tokenizer bpe-2048 or gpt2)"
        )
    return tokenizer.with_special(CHAT_MARKS)


def has_chat(tokenizer: Tokenizer) -> bool:
    """Say whether each of the five marks is one id."""
    return all(mark in tokenizer.special_tokens for mark in CHAT_MARKS)


def checked(messages: object, answered: bool = True) -> list[Message]:
    """The messages of a conversation, or what is wrong with them.

    A system may speak first; then user and assistant take turns, and the user begins.

    Args:
        messages: a list of objects with "role" and "content", as JSON gives them.
        answered: the last one is to be the assistant's, as in training; False: the user's.

    Raises:
        DataError: anything else, with the number of the message.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataError(f"no messages ({_shown(messages)}); expected a list of role and content")
    found: list[Message] = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise DataError(f"message {number} is {_shown(message)}; expected role and content")
        role, content = message["role"], message["content"]
        if not isinstance(role, str) or role not in MARK_OF:
            raise DataError(
                f"message {number} has the role {_shown(role)}{nearest(role, MARK_OF)}; use one of "
                f"{', '.join(MARK_OF)}"
            )
        if not isinstance(content, str):
            raise DataError(f"message {number} has {_shown(content)} for content; expected text")
        if not content.strip():
            what = "answer" if role == "assistant" else "content"
            raise DataError(f"message {number} has an empty {what}; fill it, or leave the line out")
        if mark := next((mark for mark in CHAT_MARKS if mark in content), None):
            raise DataError(f"message {number} has the mark {mark} in its content; take it out")
        before = found[-1]["role"] if found else "nobody"
        if role not in NEXT[before]:
            place = f"follows the {before}'s" if found else "comes first"
            expected = " or ".join(f"the {name}'s" for name in NEXT[before])
            raise DataError(f"message {number} is the {role}'s and {place}; expected {expected}")
        found.append({"role": role, "content": content})
    last = "assistant" if answered else "user"
    if found[-1]["role"] != last:
        raise DataError(
            f"the last message is the {found[-1]['role']}'s; expected the {last}'s"
            + (", which is what is learned" if answered else ", which is what is answered")
        )
    return found


def render(
    tokenizer: Tokenizer, messages: Sequence[Message], mask_prompt: bool = True
) -> tuple[list[int], list[int]]:
    """The ids of a conversation, and what is to be learned at each.

    Derived in chapter 8, *Which tokens should carry the loss?*

    Args:
        tokenizer: one that `with_chat` gave.
        messages: as `checked` takes them. Where the assistant speaks several times, each of its
            answers is learned.
        mask_prompt: False learns the questions too.

    Returns:
        (ids, targets), equally long. A target is the id that follows, where that is a token of an
        answer or the `<|end|>` after it; elsewhere it is -1. Nothing follows the last id.

    Raises:
        DataError: what `checked` refuses. ConfigError: the tokenizer lacks the marks.
    """
    ids, learned = _opened(tokenizer), [False]
    for message in checked(messages):
        said = _ids(tokenizer, message)
        answer = message["role"] == "assistant"
        ids += said
        learned += [not mask_prompt] + [answer or not mask_prompt] * (len(said) - 1)
    pairs = zip(ids[1:], learned[1:], strict=True)
    return ids, [token if counts else IGNORED for token, counts in pairs] + [IGNORED]


def prompt_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """What a model reads before it answers: the conversation up to the mark of its own turn.

    Derived in chapter 8, *Which tokens should carry the loss?*

    Args:
        messages: the last is the user's.

    Raises:
        DataError: what `checked` refuses. ConfigError: the tokenizer lacks the marks.
    """
    ids = _opened(tokenizer)
    for message in checked(messages, answered=False):
        ids += _ids(tokenizer, message)
    return [*ids, tokenizer.special_tokens[ASSISTANT]]


def chat_head(tokenizer: Tokenizer, text: str) -> str:
    """A question as a text with its marks, whose ids are `prompt_ids`; the answer comes next.

    Raises:
        DataError: an empty question, or one of the tokenizer's special tokens in it.
        ConfigError: the tokenizer lacks the marks.
    """
    _opened(tokenizer)
    (said,) = checked([{"role": "user", "content": text}], answered=False)
    if mark := next((mark for mark in tokenizer.special_tokens if mark in text), None):
        raise DataError(f"the question has {mark} in it, which is a mark and no word; take it out")
    return f"{CHAT}{USER}{said['content']}{ASSISTANT}"


_JINJA = (
    "{% set now = namespace(before='nobody') %}{{ CHAT }}{% for m in messages %}"
    "{% if m['role'] not in NEXT[now.before] %}{{ raise_exception('the ' ~ m['role'] ~ ' may not "
    "speak here: a system may speak first, then user and assistant take turns') }}{% endif %}"
    "{% if m['content'] is not string or not m['content'] | trim %}{{ raise_exception("
    "'a message of the ' ~ m['role'] ~ ' has no text') }}{% endif %}"
    "{% for mark in (CHAT_MARKS if m['role'] == 'assistant' else SPECIAL) %}"
    "{% if mark in m['content'] %}{{ raise_exception('a message of the ' ~ m['role'] ~ ' has the "
    "mark ' ~ mark ~ ' in it; take it out') }}{% endif %}{% endfor %}"
    "{{ MARK_OF[m['role']] ~ m['content'] }}{% if m['role'] == 'assistant' %}{{ END }}{% endif %}"
    "{% set now.before = m['role'] %}{% endfor %}{% if add_generation_prompt %}"
    "{% if now.before != 'user' %}{{ raise_exception('the last message is not the user\\'s') }}"
    "{% endif %}{{ ASSISTANT }}{% endif %}"
)


def jinja_template(tokenizer: Tokenizer) -> str:
    """The chat template in Jinja, as transformers finds it beside a tokenizer.

    The ids of the text that it writes are those of `render`, and with `add_generation_prompt` those
    of `prompt_ids`. What these refuse it refuses, and a special token in what a user or a system
    says, which would be more than text to who encodes a whole conversation at a time.

    Raises:
        ConfigError: the tokenizer lacks the marks.
    """
    _opened(tokenizer)
    names = {
        "CHAT": CHAT, "NEXT": NEXT, "CHAT_MARKS": CHAT_MARKS, "END": END, "MARK_OF": MARK_OF,
        "SPECIAL": list(tokenizer.special_tokens), "ASSISTANT": ASSISTANT,
    }  # fmt: skip
    said = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in names.items())
    return said + _JINJA


def _opened(tokenizer: Tokenizer) -> list[int]:
    """The mark that a conversation begins with."""
    if not has_chat(tokenizer):
        lacks = [mark for mark in CHAT_MARKS if mark not in tokenizer.special_tokens]
        raise ConfigError(
            f"this model was trained on no conversations: its tokenizer lacks {', '.join(lacks)}; "
            "teach it with `gptlib finetune`, or make a tokenizer by gptlib.chat.with_chat"
        )
    return [tokenizer.special_tokens[CHAT]]


def _ids(tokenizer: Tokenizer, message: Message) -> list[int]:
    """The mark of a turn, its words, and for an answer its end."""
    mark = tokenizer.special_tokens[MARK_OF[message["role"]]]
    if message["role"] != "assistant":
        return [mark, *tokenizer.encode_ordinary(message["content"])]
    # What the model is to write may have special tokens of its texts, such as a story's marks.
    return [mark, *tokenizer.encode(message["content"]), tokenizer.special_tokens[END]]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
