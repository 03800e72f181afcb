"""What stands before the page: which requests come in, and what a browser may do with the answers.

One job: `Gate`, around any ASGI application. gradio brings doors that a page to write with does not
need (files, uploads, proxies, its own analytics); only those in `OPEN` can be found. A browser that
is shown the page fetches nothing from another address, whatever the page says.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The page and its parts; the calls of the page and of gradio's client.
OPEN = re.compile(
    r"/|/(config|status|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?"
    r"|/(assets|static)/[\w./@-]*"
    r"|/gradio_api/(info|cancel|reset|app_id|startup-events|login_check|theme\.css)/?"
    r"|/gradio_api/queue/(join|data|status)/?|/gradio_api/heartbeat/\w+"
    r"|/gradio_api/(run|call)/\w+(/\w+)?/?"
)
BODY_BYTES = 2**20  # a long opening, and room
#: gradio's page writes styles and small scripts into itself; both may, but nothing from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",  # a link carries a title
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """An application behind a gate.

    Args:
        app: what is behind it.
        hosts: the names by which a browser may call this machine, or None for any. A page of
            somebody else's, whose name was made to mean this machine, comes with its own.
        password: what every request has to bring (HTTP Basic; any user name), or None.
    """

    def __init__(
        self, app: App, hosts: frozenset[str] | None = None, password: str | None = None
    ) -> None:
        self.app, self.hosts, self.password = app, hosts, password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if refused := await self._refused(scope, headers):
            return await _answer(send, *refused)
        return await self.app(scope, _at_most(BODY_BYTES, receive), _with_headers(send))

    async def _refused(self, scope: Scope, headers: dict[str, bytes]) -> tuple[int, str] | None:
        """Why a request stays outside: a status and a sentence."""
        host = headers.get("host", b"").decode("latin-1").lower()
        if self.hosts is not None and _without_port(host) not in self.hosts:
            return 421, f"This page is at {', '.join(sorted(self.hosts))}, not at {host[:100]!a}."
        origin = headers.get("origin", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            return 403, "A page from another address may not use this one."
        if self.password is not None and not self._knows_it(headers.get("authorization", b"")):
            if "authorization" in headers:
                await asyncio.sleep(1)  # who guesses has to wait
            return 401, "This page has a password; the user name does not matter."
        if OPEN.fullmatch(scope["path"]) is None or ".." in scope["path"]:
            return 404, "There is nothing here."
        length = headers.get("content-length", b"0")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return 413, f"That is too long; at most {BODY_BYTES:,} bytes."
        return None

    def _knows_it(self, authorization: bytes) -> bool:
        kind, _, word = authorization.partition(b" ")
        try:
            given = base64.b64decode(word, validate=True).partition(b":")[2]
        except ValueError:
            return False
        known = (self.password or "").encode()
        return kind.lower() == b"basic" and secrets.compare_digest(given, known)


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)


def _at_most(size: int, receive: Receive) -> Receive:
    """Receive a body that may not have said how long it is; end it where it is too long."""
    so_far = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal so_far
        message = await receive()
        so_far += len(message.get("body", b""))
        return {"type": "http.disconnect"} if so_far > size else message

    return limited


def _with_headers(send: Send) -> Send:
    """Send an answer, and with it what a browser may do."""
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="gptlib serve", charset="UTF-8"'))
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": sentence.encode()})
