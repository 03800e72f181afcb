"""One question to a server that speaks OpenAI's protocol, and what came back, whatever came back.

One job: `Server.ask`, which raises nothing. It returns a `Reply`: a text, or the reason why there
is none, in one of a few words that say what may be done about it. Where a server breaks the
protocol, the client hands on what it found (a web page with status 200 comes back as a `str`, half
a JSON text as a bare `JSONDecodeError`), so every part of an answer is looked at before it is
believed. The client tries again and obeys `Retry-After` by itself, in silence; here it tries once,
and who asks waits and says so (`gptlib.writing.pace`).

No word of a server gets out of here with the key in it, and none of the client's exceptions does,
since they hold requests and whole answers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gptlib.errors import ConfigError
from gptlib.serving.server import is_loopback
from gptlib.writing.cost import NOTHING, Tokens
from gptlib.writing.key import Key
from gptlib.writing.pace import retry_after
from gptlib.writing.questions import is_whole

#: Reasons for which the same question may be answered in a moment.
AGAIN = frozenset(
    ["rate limit", "server error", "time-out", "dropped connection", "no JSON", "no answer"]
)
#: Reasons for which it will not: the question is done, without a text.
FINAL = frozenset(["refused", "cut off", "bad request", "key shown"])
#: Reasons for which no other question will be answered either, and what mends them.
STOP = {
    "not allowed": "see whether the key is right, and may use this model",
    "not found": "see whether --base-url and --model are right",
    "no credit": "fill up the account",
}

OPENAI = "https://api.openai.com/v1"
LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")  # they may log headers and answers
TRANSIENT = {408, 409, 425}  # statuses below 500 which ask for another try
SAID = 200  # characters of a server's own words that are kept


@dataclass(frozen=True)
class Reply:
    """What came of asking once.

    Attributes:
        reason: why there is no text, one of `AGAIN`, `FINAL` or `STOP`; "" where there is one.
        text: the text; also of an answer that was cut off.
        detail: a few words more about the reason.
        tokens: what is billed; None if that may be anything, because the server did not say.
        wait: seconds that the server asks to wait.
    """

    reason: str = ""
    text: str = ""
    detail: str = ""
    tokens: Tokens | None = NOTHING
    wait: float | None = None


class Server:
    """A model on a server.

    Args:
        base_url: what the protocol's `/chat/completions` is added to. model: its name there.
        system: an instruction that precedes every question, or "".
        max_tokens: the most that an answer may have. temperature: None leaves it to the server.
        timeout: seconds without a byte before an answer is given up.

    Raises:
        ConfigError: the client is not installed; an address that is none, that has a password or a
            query in it, or that would carry the key through a network as it is.
    """

    def __init__(
        self,
        base_url: str,
        key: Key,
        model: str,
        *,
        system: str = "",
        max_tokens: int = 512,
        temperature: float | None = None,
        timeout: float = 120,
    ) -> None:
        self.name = checked_address(base_url, key)
        self.model, self.system, self.max_tokens = model, system, max_tokens
        self._key, self._timeout = key, timeout
        # OpenAI's newer models refuse the name that all others know.
        limit = "max_completion_tokens" if self.name == OPENAI else "max_tokens"
        self._settings: dict[str, Any] = {"model": model, limit: max_tokens}
        if temperature is not None:
            self._settings["temperature"] = temperature
        try:
            import openai
        except ImportError as error:
            raise ConfigError(
                "asking a server needs its client, which is not installed: pip install openai"
            ) from error
        for logger in LOGGERS:
            logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
        self._client = openai.OpenAI(
            base_url=self.name, api_key=key.reveal(), max_retries=0, timeout=timeout
        )

    def ask(self, prompt: str) -> Reply:
        """Ask once."""
        import openai

        system = {"role": "system", "content": self.system}
        messages: list[Any] = [system] if self.system else []
        messages.append({"role": "user", "content": prompt})
        try:
            completion = self._client.chat.completions.create(messages=messages, **self._settings)
        except openai.APIStatusError as error:
            return self._status(error.status_code, error.body, error.response.headers)
        except openai.APITimeoutError:
            detail = f"no byte within {self._timeout:g} s"
            return Reply("time-out", detail=detail, tokens=None)
        except openai.APIConnectionError as error:
            cause = error.__cause__
            begun = "Connect" not in type(cause).__name__  # else nobody was there to bill it
            return Reply(
                "dropped connection",
                detail=self._words(str(cause)) or type(cause).__name__,
                tokens=None if begun else NOTHING,
            )
        except ValueError:  # json.JSONDecodeError, which holds the whole answer
            return Reply("no JSON", detail="JSON that is cut off or damaged", tokens=None)
        except Exception as error:  # the client promises no list of what its parsers raise
            return Reply("no answer", detail=type(error).__name__, tokens=None)
        return self._read(completion)

    def _read(self, completion: Any) -> Reply:
        """What a client took for an answer."""
        if isinstance(completion, str):
            page = completion.lstrip()[:9].lower().startswith(("<!doctype", "<html"))
            detail = "a web page; is the base URL right?" if page else "text that is no JSON"
            return Reply("no JSON", detail=detail, tokens=None)
        tokens = _tokens(getattr(completion, "usage", None))
        try:
            choice = completion.choices[0]
            text, ended = choice.message.content, choice.finish_reason
            refusal = getattr(choice.message, "refusal", None)
        except (AttributeError, IndexError, KeyError, TypeError):
            return Reply("no answer", detail="no choices in it", tokens=tokens)
        if isinstance(refusal, str) and refusal:
            return Reply("refused", detail=self._words(refusal), tokens=tokens)
        if ended == "content_filter":
            return Reply("refused", detail="by the server's filter", tokens=tokens)
        text = text.strip() if isinstance(text, str) else ""
        if self._key.is_in(text):
            return Reply("key shown", detail="the answer has the key in it", tokens=tokens)
        if not is_whole(text):
            return Reply("no answer", detail="half a character in it", tokens=tokens)
        if ended == "length":
            return Reply("cut off", text, f"at {self.max_tokens} tokens", tokens)
        return Reply(text=text, tokens=tokens) if text else Reply("no answer", "", "empty", tokens)

    def _status(self, status: int, body: object, headers: Any) -> Reply:
        """What an error's status means; of its body, only the protocol's own message is read."""
        error = body if isinstance(body, dict) else {}
        detail = f"{status} {self._words(error.get('message'))}".strip()
        wait = retry_after(headers)
        if error.get("code") == "content_filter":
            return Reply("refused", detail=detail)
        if status == 402 or error.get("code") == "insufficient_quota":
            return Reply("no credit", detail=detail)
        if status in (401, 403):
            return Reply("not allowed", detail=detail)
        if status == 404:
            return Reply("not found", detail=detail)
        if status == 429:
            return Reply("rate limit", detail=detail, wait=wait)
        if status >= 500 or status in TRANSIENT:
            return Reply("server error", detail=detail, wait=wait)
        return Reply("bad request", detail=detail)

    def _words(self, said: object) -> str:
        """What a server said, on one line, short, and without the key."""
        words = " ".join(self._key.hide(said).split()) if isinstance(said, str) else ""
        return words.encode("utf-8", "replace").decode()[:SAID]


def _tokens(usage: object) -> Tokens | None:
    """What a server says was used, if it says so in numbers."""
    told = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    numbers = [n for n in told if isinstance(n, int) and n >= 0]
    return Tokens(*numbers) if len(numbers) == len(told) else None


def checked_address(base_url: str, key: Key) -> str:
    """The address without a slash at its end, if a key may be sent there.

    Raises:
        ConfigError: it may not, or it is no address. What it quotes has no secret in it.
    """
    key.check([("--base-url", base_url)])
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not base_url.isprintable():
        raise ConfigError(
            "--base-url is no address of the web; give one such as http://localhost:8080/v1"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "--base-url has a password, a query or a fragment in it, which would be shown; give "
            "only the address, and the key by --key"
        )
    if key and parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"the key would travel to {host} unencrypted; give an https address, or --key none if "
            "the server needs none"
        )
    return base_url.rstrip("/")
