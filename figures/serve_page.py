"""Draw figures/serve.png, the page of `gptlib serve` after a text, through a headless Chromium.

    python figures/serve_page.py [RUN] [--title TEXT] [--genre NAME] [--opening TEXT] [--seed N]

The text is what the run writes with that seed. Needs Chromium and `pip install -e .[dev]`.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

sys.path.append(str(Path(__file__).parent.parent / "bench"))
sys.path.append(str(Path(__file__).parent.parent / "tests" / "book"))

from browser import Browser
from serve import Server

SIZE = (1240, 830)  # CSS pixels: the text, what comes next, and the first sliders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default="tales")
    parser.add_argument("--title")
    parser.add_argument("--genre")
    parser.add_argument("--opening")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-new-tokens", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "serve.png")
    args = parser.parse_args()
    asked = {name: value for name, value in vars(args).items() if name not in ("run", "out")}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Server(args.run) as server, Browser(Path(folder)) as browser:
            picture = photograph(browser, server, query)
    # Few colors are enough for a page, and a third of the bytes.
    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(args.out, optimize=True)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def photograph(browser: Browser, server: Server, query: str) -> Image.Image:
    """The page after its text has come to its end."""
    width, height = SIZE
    browser.show(f"{server.address}?{query}", width)
    browser.wait("!!document.querySelector('#write') && !!document.querySelector('#note p')")
    browser.run("document.querySelector('#write').click()")
    while server.status()["texts"] == 0:
        time.sleep(0.1)
    note = "document.querySelector('#note').innerText"
    print(browser.wait(f"/It (came|has|was)/.test({note}) && {note}"))
    print(browser.run("document.querySelector('#text textarea').value"))
    browser.wait("document.querySelectorAll('#likely tr').length")
    browser.run("document.activeElement.blur()")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                deviceScaleFactor=1, mobile=False)  # fmt: skip
    shot = browser.ask("Page.captureScreenshot", format="png", clip=clip)["data"]
    return Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")


if __name__ == "__main__":
    main()
