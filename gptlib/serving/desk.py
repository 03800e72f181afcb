"""A model at a desk, and those who come to have it write.

One job: `Desk`. Many may ask, each under the name of its session; the model works for one at a time
and for one token at a time, so that two texts that are written together grow in turn. A text grows
only while somebody takes it: between two tokens it is looked whether its reader pressed Stop or has
gone, and nothing goes on unread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.sampling import Sampling, stream
from gptlib.sampling.drawing import processed
from gptlib.sampling.marked import end_of, genres, has_marks, story_head, written
from gptlib.sampling.reading import Reader
from gptlib.serving.asked import Asked
from gptlib.serving.names import token_name
from gptlib.tokenizers import Tokenizer

PACE = 0.1  # seconds between two looks that a reader gets at a growing text
SESSIONS = 500  # whose last text is remembered


@dataclass(frozen=True)
class Limits:
    """What nobody gets more of."""

    tokens: int = 1000  #: of a text
    seconds: float = 120.0  #: that a text takes
    characters: int = 100_000  #: of an opening


@dataclass
class Text:
    """A text as it stands."""

    asked: Asked
    prompt: list[int]  #: what the model was shown
    begun: str  #: what is shown of it
    seed: int
    note: str = ""  #: what a reader should know about the prompt
    new: list[int] = field(default_factory=list, init=False)
    added: str = ""
    ended: str = ""  #: why, empty while it grows
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All that is shown."""
        return self.begun + self.added


@dataclass
class Session:
    """What is known of a reader."""

    stopped: bool = False
    last: Text | None = None


class Desk:
    """A model, its tokenizer, and who sits at it.

    Args:
        begin, stop: what a document begins with and ends before, where the texts have no marks.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        begin: str = "",
        stop: str = "",
        limits: Limits | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.begin, self.stop = begin, stop
        self.limits = limits or Limits()
        self.genres = genres(tokenizer)
        self.marked = has_marks(tokenizer)
        self._turn = threading.Lock()  # who has it uses the model
        self._guard = threading.Lock()  # of what stands below
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._at_work = self._texts = self._tokens = 0
        self._closed = False

    def come(self, who: str) -> None:
        """A reader asks anew: an earlier Stop is forgotten."""
        self._session(who).stopped = False

    def halt(self, who: str) -> Text | None:
        """A reader has enough, or has gone: what is written for them ends at this token."""
        session = self._session(who)
        session.stopped = True
        if session.last is not None:
            session.last.ended = session.last.ended or "It was stopped"
        return session.last

    def close(self) -> None:
        """End all texts; new ones do not begin."""
        self._closed = True

    def status(self) -> dict[str, int]:
        """How many texts are being written now, and how many and how many tokens were in all."""
        with self._guard:
            return {"writing": self._at_work, "texts": self._texts, "tokens": self._tokens}

    def last(self, who: str) -> Text | None:
        """A reader's last text."""
        return self._session(who).last

    def write(self, who: str, asked: Asked) -> Iterator[Text]:
        """Yield the text as it grows, at most every `PACE` seconds, and at last when it has ended.

        Raises:
            GptlibError: what was asked for cannot be had; then nothing was written.
        """
        session = self._session(who)
        text = self._opened(asked)
        settings = {
            "top_k": asked.top_k or None,
            "top_p": None if asked.top_p == 1 else asked.top_p,
        }
        tokens = stream(
            self.model, text.prompt, asked.max_new_tokens, asked.temperature, seed=text.seed,
            **settings, **asked.more(),
        )  # fmt: skip
        if session.last is not None and not session.last.ended:
            session.last.ended = "Another text was begun"
        session.last = text
        stops = [*asked.stops(), *([self.stop] if self.stop else [])]
        with self._working():
            began = due = time.monotonic()
            for piece in written(self.tokenizer, self._drawn(tokens, text, session, began), stops):
                text.added += piece
                text.seconds = time.monotonic() - began
                if time.monotonic() >= due:
                    yield text
                    due = time.monotonic() + PACE
            text.ended = text.ended or "It came to its end"
            text.seconds = time.monotonic() - began
        yield text

    def likely(self, text: Text, asked: Asked, most: int = 10) -> dict[str, float]:
        """The likeliest next tokens at the end of a text and their probabilities, as `asked` would
        have them drawn."""
        top_p = None if asked.top_p == 1 else asked.top_p
        settings = Sampling(1, asked.temperature, asked.top_k or None, top_p, **asked.more())
        settings.check_vocabulary(self.model.config.known_ids)
        new = [token for token in list(text.new) if token != end_of(self.tokenizer)]
        with self._turn, torch.inference_mode():
            prompt = torch.tensor([text.prompt[-self.model.config.block_size :]])
            reader = Reader(self.model, prompt.to(self.model.device), use_cache=False)
            for token in new:
                reader.append(reader.ids(token))
                reader.room()  # the window slides where it slid when the text was written
            with reader.at_work():
                logits = processed(settings)(reader.read(), reader)[0].float()
        if settings.greedy:
            logits = logits / 1e-6
        found, ids = logits.softmax(-1).topk(min(most, len(logits)))
        pairs = zip(ids.tolist(), found.tolist(), strict=True)
        return {token_name(self.tokenizer, token): p for token, p in pairs if p > 0}

    def _session(self, who: str) -> Session:
        with self._guard:
            session = self._sessions.setdefault(who, Session())
            self._sessions.move_to_end(who)
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
            return session

    @contextmanager
    def _working(self) -> Generator[None]:
        with self._guard:
            self._at_work += 1
        try:
            yield
        finally:  # also where nobody takes the text any more
            with self._guard:
                self._at_work -= 1
                self._texts += 1

    def _drawn(
        self, tokens: Iterator[int], text: Text, session: Session, began: float
    ) -> Iterator[int]:
        """The tokens, each drawn while it is this text's turn, until there is a reason to end."""
        while True:
            if session.stopped or self._closed:
                text.ended = text.ended or "It was stopped"
            elif time.monotonic() - began > self.limits.seconds:
                text.ended = (
                    f"It was ended after {self.limits.seconds:g} seconds, the most for a text"
                )
            if text.ended:
                return
            with self._turn:
                token = next(tokens, None)
            if token is None:
                text.ended = "It has the length that was asked for"
                return
            text.new.append(token)
            with self._guard:
                self._tokens += 1
            yield token

    def _opened(self, asked: Asked) -> Text:
        """A text of no token yet: what the model is shown, and what is shown of that."""
        for name, given, most in (
            ("opening", len(asked.opening), self.limits.characters),
            ("title", len(asked.title), 500),
            ("stop", len(asked.stop), 500),
        ):
            if given > most:
                raise ConfigError(f"{name} has {given:,} characters; give at most {most:,}")
        if asked.max_new_tokens > self.limits.tokens:
            raise ConfigError(
                f"max_new_tokens is {asked.max_new_tokens:,}; this page writes at most "
                f"{self.limits.tokens:,}"
            )
        begin, shown = self.begin, ""
        if self.marked or asked.title or asked.genre:
            begin = story_head(self.tokenizer, asked.title or None, asked.genre or None)
            shown = " ".join(asked.title.split()) + "\n" if asked.title else ""
        head = self.tokenizer.encode(begin)
        ids = self.tokenizer.encode_ordinary(asked.opening)  # marks in it are spelled out
        room, note = self.model.config.block_size - len(head), ""
        if room < 1:
            raise ConfigError(
                f"the title has {len(head)} tokens and the model reads "
                f"{self.model.config.block_size} at most; give a shorter one"
            )
        if len(ids) > room:
            note = (
                f"The opening has {len(ids):,} tokens; the model reads the last {room:,} of them."
            )
            ids = ids[-room:]
        elif ids and self.marked and not asked.title:
            note = "The stories that this model knows begin with a title; it may miss one."
        prompt = head + ids or self.tokenizer.encode("\n")
        seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
        return Text(asked, prompt, shown + asked.opening, seed, note)
