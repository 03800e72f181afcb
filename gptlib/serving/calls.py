"""What the page's events call: from the values of its fields to what it shows.

One job: `Calls`, between gradio's events and a `Desk`. A mistake of a reader's becomes a sentence
below the text.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from gptlib.errors import GptlibError
from gptlib.serving.asked import DEFAULTS, NAMES, Asked, asked, from_query, to_query
from gptlib.serving.desk import Desk, Text


class Calls:
    """The calls of a desk's page; `names` are the fields that it has, in their order."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        absent = {"title": not desk.marked, "genre": not desk.genres}
        self.names = [name for name in NAMES if not absent.get(name)]

    def come(self, request: gr.Request) -> str:
        """Before a text is waited for."""
        self.desk.come(_who(request))
        return _status("Waiting for the model …")

    def write(self, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """Write a text, and show it as it grows."""
        yield from self._writing(_who(request), values, None)

    def again(self, request: gr.Request, *values: Any) -> Iterator[tuple]:
        """Write with the seed of the text that was written last."""
        last = self.desk.last(_who(request))
        yield from self._writing(_who(request), values, None if last is None else last.seed)

    def stop(self, request: gr.Request, *values: Any) -> tuple:
        """End the text at this token, and show it."""
        text = self.desk.halt(_who(request))
        if text is None:
            return gr.skip(), _status("Nothing is being written."), gr.skip()
        return self._shown(text, values)

    def look(self, request: gr.Request, *values: Any) -> Any:
        """The next token's probabilities under the settings as they are now."""
        text = self.desk.last(_who(request))
        return gr.skip() if text is None else self._likely(text, values)

    def query(self, request: gr.Request, *values: Any) -> tuple[str, str]:
        """The link's query, with the seed of the text that is shown."""
        try:
            what = self._asked(values)
        except GptlibError as error:
            return "", _status(str(error))
        text = self.desk.last(_who(request))
        if what.seed is None and text is not None:
            what = replace(what, seed=text.seed)
        query, note = to_query(what)
        return query, _status(note or "The link has these settings; it stands in the address too.")

    def opened(self, request: gr.Request) -> list:
        """The fields as the page's link asks for them."""
        what, notes = from_query(str(request.query_params or ""))
        if what.genre and what.genre not in self.desk.genres:
            notes.append(f"Of the link, the genre {what.genre[:40]!r} is none of this model's.")
            what = replace(what, genre="")
        absent = [n for n in NAMES if n not in self.names and getattr(what, n) != DEFAULTS[n]]
        if absent:
            notes.append(f"Of the link, this model has no {' and no '.join(absent)}.")
        values = {name: getattr(what, name) for name in self.names}
        values["seed"] = "" if what.seed is None else str(what.seed)
        return [*values.values(), _status(" ".join(notes))]

    def gone(self, request: gr.Request) -> None:
        """A tab was closed, or its connection is lost."""
        self.desk.halt(_who(request))

    def texts(
        self,
        request: gr.Request,
        title: str = "",
        genre: str = "",
        opening: str = "",
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        max_new_tokens: int = 300,
        seed: int | None = None,
    ) -> Iterator[str]:
        """A text as it grows, for scripts."""
        given = {
            "title": title, "genre": genre, "opening": opening, "temperature": temperature,
            "top_k": top_k, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed,
        }  # fmt: skip
        try:
            for text in self.desk.write(_who(request), asked(given)):
                yield text.text
        except GptlibError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def _asked(self, values: tuple) -> Asked:
        return asked(dict(zip(self.names, values, strict=True)))

    def _writing(self, who: str, values: tuple, seed: int | None) -> Iterator[tuple]:
        try:
            what = self._asked(values)
            what = what if seed is None else replace(what, seed=seed)
            for text in self.desk.write(who, what):
                yield self._shown(text, values)
        except GptlibError as error:
            yield gr.skip(), _status(str(error)), gr.skip()

    def _shown(self, text: Text, values: tuple) -> tuple:
        """The text, what is said of it, and what could come next where it has ended."""
        said = [f"{len(text.new):,} tokens in {text.seconds:.1f} s, seed {text.seed}."]
        said += [f"{text.ended}."] if text.ended else []
        said += [text.note] if text.note else []
        likely = self._likely(text, values) if text.ended else gr.skip()
        return text.text, _status(" ".join(said)), likely

    def _likely(self, text: Text, values: tuple) -> Any:
        try:
            return bars(self.desk.likely(text, self._asked(values)))
        except GptlibError:
            return gr.skip()  # a setting that cannot be; Write says so


def bars(likely: dict[str, float]) -> str:
    """A table of tokens and their probabilities, each with a bar."""
    rows = [
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f'<td><span style="width: {100 * p:.1f}%"></span></td><td>{_percent(p)}</td></tr>'
        for name, p in likely.items()
    ]
    about = "What comes next, as these settings draw it" if rows else "What comes next: write first"
    return f"<table><caption>{about}</caption>{''.join(rows)}</table>"


def _percent(p: float) -> str:
    return f"{100 * p:.1f}%" if p >= 0.0005 else "&lt;0.1%"


def _who(request: gr.Request) -> str:
    return str(request.session_hash)


def _status(sentence: str) -> str:
    """A sentence that a screen reader reads out when it changes."""
    return f'<p role="status">{html.escape(sentence)}</p>'
