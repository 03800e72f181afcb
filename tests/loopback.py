"""A server on this machine that speaks OpenAI's protocol, or breaks it as a test likes."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = "bell quay moss gull rope tide lamp mast salt oar fog pier net sail crab reed".split()


@dataclass
class Sent:
    """What goes over the wire. `cut` sends fewer bytes than it says, `drop` none at all."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    drop: bool = False


def completion(text: object, ended: str = "stop", refusal: object = None, **changes) -> Sent:
    """A well-formed answer, unless `changes` say otherwise."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": ended, "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }  # fmt: skip
    return Sent(json.dumps(body | changes).encode())


def error(status: int, message: str = "no", headers: dict | None = None, **more) -> Sent:
    body = {"error": {"message": message, "type": "t", **more}}
    return Sent(json.dumps(body).encode(), status, headers=headers or {})


def page(text: str = "Sign in", status: int = 200) -> Sent:
    return Sent(f"<!DOCTYPE html><html>{text}</html>".encode(), status, "text/html")


def story(prompt: str) -> str:
    """A text that is unlike those of other prompts and the same each time."""
    seed = sum(prompt.encode()) * 7919
    return " ".join(WORDS[(seed >> i) % 13 + (seed * i) % 3] for i in range(24)) + f" {prompt}."


class Loopback:
    """What is asked of it, and how it answers.

    Attributes:
        url: of the protocol. answer: from a prompt and how often it was asked before. asked: the
            prompts, in their order. requests: their bodies. keys: their `Authorization`s.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Callable[[str, int], Sent] = lambda prompt, before: completion(story(prompt))
        self.asked: list[str] = []
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()


@contextlib.contextmanager
def serving() -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = request["messages"][-1]["content"]
            with there.lock:
                before = there.asked.count(prompt)
                there.asked.append(prompt)
                there.requests.append(request)
                there.keys.append(self.headers.get("Authorization"))
            sent = there.answer(prompt, before)
            if sent.drop:
                self.close_connection = True
                return
            self.send_response(sent.status)
            self.send_header("Content-Type", sent.kind)
            self.send_header("Content-Length", str(len(sent.body) + 100 * sent.cut))
            for name, value in sent.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent.body)
            self.close_connection = sent.cut

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # a client that was killed, or has waited long enough

    with Server(("127.0.0.1", 0), Handler) as server:
        there = Loopback(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()
