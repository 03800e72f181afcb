"""Stories with marks: how a model is asked for one, and how it is shown.

One job: from a title and a genre to what a story begins with, and from the tokens that a model
writes to text that a person reads. A tokenizer has marks if all four of `gptlib.stories` are
special tokens of it; its other special tokens, the end of a text and the marks of conversations
excepted, are genres. Text
without marks goes through the same functions and is shown as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from gptlib.chat import CHAT_MARKS
from gptlib.errors import ConfigError, nearest
from gptlib.sampling.text_stream import until_stop
from gptlib.stories.marks import END, START, TITLE, TITLE_END, genre_token
from gptlib.tokenizers import END_OF_TEXT, Tokenizer

MARKS = (START, TITLE, TITLE_END, END)
NO_GENRES = (*MARKS, *CHAT_MARKS, END_OF_TEXT)


def has_marks(tokenizer: Tokenizer) -> bool:
    """Say whether each of the four marks of a story is one id."""
    return all(mark in tokenizer.special_tokens for mark in MARKS)


def genres(tokenizer: Tokenizer) -> list[str]:
    """The genres that can be asked for, in the order of their ids; none where there are no marks.

    A genre is a special token `<|name|>` that is none of the four, no mark of a conversation and
    not the end of a text.
    """
    if not has_marks(tokenizer):
        return []
    others = [mark for mark in tokenizer.special_tokens if mark not in NO_GENRES]
    return [mark[2:-2] for mark in others if mark == genre_token(mark[2:-2])]


def end_of(tokenizer: Tokenizer) -> int | None:
    """The id that ends a story or a document, if there is one."""
    mark = END if has_marks(tokenizer) else END_OF_TEXT
    return tokenizer.special_tokens.get(mark)


def story_head(tokenizer: Tokenizer, title: str | None = None, genre: str | None = None) -> str:
    """What a story with this title, of this genre, begins with; its text comes next.

    Without a title it ends where the model chooses one. Line breaks in a title become spaces.

    Raises:
        ConfigError: the tokenizer has no marks, or not this genre; a title that is empty or has one
            of the tokenizer's special tokens in it.
    """
    if not has_marks(tokenizer):
        raise ConfigError(
            "this model was trained on text without the marks of a story, so it knows no titles "
            f"and no genres; it lacks {', '.join(missing(tokenizer))}; give only how the text "
            "begins"
        )
    head = START
    if genre is not None:
        if genre not in (known := genres(tokenizer)):
            names = ", ".join(known) if known else "none"
            raise ConfigError(
                f"the genre is {genre!r}{nearest(genre, known)}; this model knows {names}"
            )
        head += genre_token(genre)
    if title is None:
        return head
    line = " ".join(title.split())
    if not line:
        raise ConfigError("the title is empty; give a few words, or leave it out")
    if found := [mark for mark in tokenizer.special_tokens if mark in line]:
        raise ConfigError(
            f"the title has {found[0]} in it, which is a mark and no word of a title; take it out"
        )
    return f"{head}{TITLE}{line}{TITLE_END}\n"


def missing(tokenizer: Tokenizer) -> list[str]:
    """The marks that the tokenizer does not have."""
    return [mark for mark in MARKS if mark not in tokenizer.special_tokens]


def readable(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[int]:
    """The ids without marks: of a story, its title as a line, and its text."""
    marks = set(tokenizer.special_tokens.values()) if has_marks(tokenizer) else set()
    return (token for token in ids if token not in marks)


def written(
    tokenizer: Tokenizer, new: Iterable[int], stops: Sequence[str] = (), marks: bool = False
) -> Iterator[str]:
    """The text of new tokens as it settles, up to what ends it, which is left out.

    It never has half a character, nor what may yet become one of `stops`. `marks` shows the marks
    within a story too.
    """
    special = tokenizer.special_tokens
    ends = {end_of(tokenizer), *(special[stop] for stop in stops if stop in special)}
    ids = itertools.takewhile(lambda token: token not in ends, new)
    shown = ids if marks else readable(tokenizer, ids)
    return until_stop(tokenizer.decode_each(shown), stops)
