"""A model that is asked for texts: what it is shown, where its text ends, and what is said of it.

One job: `Writer`, which all ways of `gptlib sample` share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from gptlib.cli.marked import ENDS
from gptlib.errors import ConfigError, TokenizerError
from gptlib.model import GPT
from gptlib.sampling.marked import end_of, written
from gptlib.sampling.settings import More
from gptlib.sampling.stops import Ending
from gptlib.tokenizers import Tokenizer


class Writer(NamedTuple):
    """A model, and what it is asked for."""

    model: GPT
    tokenizer: Tokenizer
    begin: str  #: what a document begins with
    stops: list[str]
    max_new_tokens: int
    temperature: float
    more: More
    asked: Mapping[str, str] = MappingProxyType({})  #: "title", "genre": what `begin` asks for
    marks: bool = False  #: show the marks of a story

    @property
    def end(self) -> int | None:
        """The token that ends a story or a document."""
        return end_of(self.tokenizer)

    def ids(self, prompt: str) -> list[int]:
        """What the model is shown; a newline where that would be nothing."""
        ids = self.tokenizer.encode(self.begin) + self.tokenizer.encode(prompt)
        try:
            return ids or self.tokenizer.encode("\n")
        except TokenizerError as error:
            raise ConfigError(
                "the prompt is empty, and this model knows no newline to begin with; give --prompt "
                "at least one character that it was trained on"
            ) from error

    def shown(self, prompt: str) -> str:
        """What stands before the new text: the title as a line, and the prompt; or with marks."""
        if self.marks:
            return self.begin + prompt
        title = " ".join(self.asked.get("title", "").split())
        return f"{title}\n{prompt}" if title else prompt

    def pieces(self, new: Iterable[int]) -> Iterator[str]:
        """The text of new tokens, a piece at a time, up to its end."""
        return written(self.tokenizer, new, self.stops, self.marks)

    def until_end(self, new: Iterable[int]) -> list[int]:
        """New tokens up to the one that ends the text."""
        ends = [*self.stops, *([] if self.end is None else [self.end])]
        ending, tokens = Ending(ends, self.tokenizer), []
        for token in new:
            tokens.append(token)
            if ending.reached(token):
                break
        return tokens

    def record(self, prompt: str, new: list[int], **about: object) -> dict:
        """What `--json` and `--out` say of a text."""
        text = "".join(self.pieces(new))
        raw = "".join(written(self.tokenizer, new, self.stops, marks=True))
        whole = self.end not in new and raw == "".join(self.tokenizer.decode_each(new))
        ended = "length" if whole else "stop"
        asked = {"begin": self.begin, **self.asked} if self.marks else self.asked
        about = {"text": text, "tokens": len(new), "ended": ended, **about}
        return {**asked, "prompt": prompt, **about}


def between_documents(manifest: dict) -> tuple[str, str]:
    """What a model trained on documents is shown before one, and writes after it; else empty.

    The model that ships says so itself; a run has it in its note, one on stories with their marks
    under "sampling", and one that was trained with --separator under that.
    """
    hints, note = (manifest.get(part) for part in ("sampling", "note"))
    note = note if isinstance(note, dict) else {}
    hints = hints if isinstance(hints, dict) else note.get("sampling")
    if isinstance(hints, dict):
        begin, stop = hints.get("begin"), hints.get("stop")
    else:
        begin = stop = note.get("separator")
        stop = ENDS.get(begin, stop) if isinstance(begin, str) else stop
    return (begin if isinstance(begin, str) else ""), (stop if isinstance(stop, str) else "")
