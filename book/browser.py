"""A Chromium without a window: it prints the book, and tests measure in it how a page looks.

One job: start it, show it a page at a width and in a color scheme, and ask the page a question.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-port=0"
).split()


def chromium() -> str | None:
    """Where Chromium is on this machine, if it is."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


class Browser:
    """One Chromium and one tab; `with Browser(folder) as browser` ends it.

    Args:
        folder: an empty folder for what the browser writes.
        patience: seconds that an answer may take.
    """

    def __init__(self, folder: Path, patience: float = 60) -> None:
        self._folder = folder
        self._patience = patience
        self._count = 0

    def __enter__(self) -> "Browser":
        from websocket import create_connection

        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        program = chromium() or "chromium"
        command = [program, *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(command, **silent)
        told = self._folder / "DevToolsActivePort"
        deadline = time.monotonic() + 120
        while not (told.exists() and len(told.read_text().splitlines()) == 2):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"{command[0]} did not start: {self._process.poll()}")
            time.sleep(0.02)
        port, path = told.read_text().split()
        self._socket = create_connection(
            f"ws://127.0.0.1:{port}{path}", suppress_origin=True, timeout=self._patience
        )
        self._session = None
        (tab,) = (
            target["targetId"]
            for target in self.ask("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        )
        self._session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)

    def ask(self, method: str, **params: Any) -> dict:
        """Send one command of the DevTools protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while (reply := json.loads(self._socket.recv())).get("id") != self._count:
            pass  # what happened meanwhile, which nobody asked for
        if "error" in reply:
            raise RuntimeError(f"the browser refused {method}: {reply['error']['message']}")
        return reply["result"]

    def show(self, page: Path | str, width: int, dark: bool = False) -> None:
        """Open a page from the disk or at an address, in a window of so many CSS pixels, and wait
        for its pictures."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.run(
            "new Promise(done => document.readyState === 'complete' ? done() : "
            "addEventListener('load', () => done()))"
        )

    def press(self, key: str, text: str = "") -> None:
        """Press a key where the focus is, and let it go."""
        number = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                     windowsVirtualKeyCode=number)  # fmt: skip
            text = ""

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self.ask("Input.insertText", text=text)

    def wait(self, script: str, seconds: float = 120) -> Any:
        """Ask again and again until the answer is neither false nor nothing, and return it."""
        deadline = time.monotonic() + seconds
        while not (answer := self.run(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds:g} s still not so: {script}")
            time.sleep(0.05)
        return answer

    def run(self, script: str) -> Any:
        """Return what a JavaScript expression, awaited, is worth on the page shown."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")
