"""How does `gptlib serve` do with many readers at once, and with one who leaves?

    python bench/serve.py [--threads 1] [--run tales] [--readers 10] [--tokens 200]

A server in a process of its own; readers are gradio's clients in this one, on loopback. Each asks
for a text of so many tokens. `first_s` is when the median reader saw the first of it and `last_s`
when the last reader had all of it, from the moment when all asked. With one worker readers wait for
their turn, with as many workers as readers all texts grow together. Then one reader leaves at the
beginning of an endless text: `after_leaving` says how many tokens were still written, and the
server has to come to rest.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from types import TracebackType

import requests
from timing import arguments, report

PATIENCE = 300  # seconds for a busy machine
MANY = 100_000  # tokens, more than are written while anybody waits


class Server:
    """`gptlib serve` in a process; `with Server("tales") as server` ends it."""

    def __init__(self, run: str, *options: str, threads: int = 1) -> None:
        command = [sys.executable, "-m", "gptlib", "serve", run, "--port", "0", *options]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUTF8": "1"}
        self.told = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=self.told, text=True
        )

    def __enter__(self) -> Server:
        line = self.process.stdout.readline()  # nothing, where it ended
        found = re.search(r"http://\S+", line)
        if found is None:
            self.process.wait(30)
            self.told.seek(0)
            raise RuntimeError(f"no server: {line}{self.told.read()[-2000:]}")
        self.address = found[0]
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.process.stdout.close()
        self.told.seek(0)
        told = self.told.read()
        self.told.close()
        if "Traceback" in told and error is None:
            raise RuntimeError(f"the server had an error: {told[-3000:]}")

    def status(self) -> dict[str, int]:
        """What the server says that it is doing."""
        return requests.get(f"{self.address}status", timeout=60).json()

    def idle(self) -> int:
        """Wait until nothing is written any more; return the tokens that were written so far."""
        deadline, before = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            now = self.status()
            if now["writing"] == 0 and now == before:
                return now["tokens"]
            before = now
            time.sleep(0.2)
        raise TimeoutError(f"the server still writes: {now}")


def read_together(server: Server, readers: int, tokens: int) -> dict[str, float]:
    """Let so many ask at once; return seconds, and check that each got a text of its seed."""
    from gradio_client import Client

    clients = [
        Client(server.address, verbose=False, analytics_enabled=False) for _ in range(readers)
    ]
    ready = threading.Barrier(readers + 1)
    found: list[tuple[float, float, str] | Exception] = [RuntimeError("never read")] * readers
    before = server.idle()

    def read(number: int) -> None:
        ready.wait()
        try:
            # Two readers share a seed: they have to get the same text in any company.
            job = clients[number].submit(
                opening="The ", max_new_tokens=tokens, seed=number // 2, api_name="/write"
            )
            text = next(job)
            first = time.perf_counter() - began
            for more in job:
                text = more
            found[number] = first, time.perf_counter() - began, text
        except Exception as error:  # told below, in the thread that can fail
            found[number] = error

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    for got in found:
        if isinstance(got, Exception):
            raise SystemExit(f"a reader got no text: {got}")
    texts = [text for _, _, text in found]
    if any(
        not text.startswith("The ") or text != texts[i // 2 * 2] for i, text in enumerate(texts)
    ):
        raise SystemExit(f"readers of one seed got different texts: {texts}")
    last = max(seconds for _, seconds, _ in found)
    written = server.idle() - before
    return {
        "first_s": statistics.median(first for first, _, _ in found),
        "last_s": last,
        "tokens": written,
        "tokens_per_s": written / last,
    }


def leave(server: Server) -> dict[str, float]:
    """Leave in the middle of a text; how many tokens were written after that, and seconds."""
    call = f"{server.address}gradio_api/call/write"
    before = server.idle()
    asked = ["", "", "The ", 2.0, 0, 1.0, MANY, 1]  # as `Calls.texts` has them
    event = requests.post(call, json={"data": asked}, timeout=60).json()["event_id"]
    with requests.get(f"{call}/{event}", stream=True, timeout=PATIENCE) as answer:
        for line in answer.iter_lines():
            if line.startswith(b"event: error"):
                raise SystemExit("the server refused the text that was to be left")
            if line.startswith(b"event: generating"):
                break
        at = server.status()["tokens"]
    began = time.perf_counter()
    after = server.idle() - at
    seconds = time.perf_counter() - began
    if at <= before:
        raise SystemExit("the text that was to be left had not begun")
    return {"after_leaving": after, "seconds_to_rest": round(seconds, 2)}


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--run", default="tales")
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10])
    args = parser.parse_args()
    rows, left = [], {}
    for workers in args.workers:
        options = ("--workers", str(workers), "--waiting", str(2 * args.readers),
                   "--max-new-tokens", str(MANY), "--max-seconds", "3600")  # fmt: skip
        with Server(args.run, *options, threads=args.threads) as server:
            for readers in dict.fromkeys((1, args.readers)):
                figures = read_together(server, readers, args.tokens)
                rows.append({"workers": workers, "readers": readers, **figures})
            left[f"{workers} workers"] = leave(server)
    about = {"run": args.run, "threads": args.threads, "gradio": version("gradio")}
    report("serve", rows, args.out, left=json.dumps(left), **about)


if __name__ == "__main__":
    main()
