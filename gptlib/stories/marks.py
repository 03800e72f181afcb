"""The marks of a story, each of which a tokenizer can make one id.

One job: their names. A story is `<|start|>`, perhaps the token of its genre, `<|title|>` title
`</|title|>`, a line break, its text, `<|end|>`. The genre's token stands in about half of the
corpus. So one model learns both to be asked for a genre (begin with `<|start|><|wager|>`) and to
choose one itself (begin with `<|start|><|title|>`).
"""

from __future__ import annotations

from gptlib.grammar.grammar import shipped

START, TITLE, TITLE_END, END = "<|start|>", "<|title|>", "</|title|>", "<|end|>"


def genre_token(genre: str) -> str:
    """The control token that asks for a genre, such as `<|wager|>`."""
    return f"<|{genre}|>"


def special_tokens(name: str = "stories") -> list[str]:
    """All marks of a corpus of stories, the four that every story has and one for each genre."""
    return [START, TITLE, TITLE_END, END, *map(genre_token, shipped(name)["genres"])]
