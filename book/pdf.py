"""The whole book as one PDF: `make pdf`.

One job: print what `book.joining` joins, with a Chromium, and put page numbers behind its links.
Which page a place is on is read from the PDF itself, whose links name their targets; the numbers
are filled in and it is printed again, until no number changes.
"""

import argparse
import base64
import re
import shutil
import sys
import tempfile
from pathlib import Path

from book.browser import Browser, chromium
from book.joining import join

#: How often it is printed at most. Numbers of up to four digits have room from the start.
_TURNS = 4
_READY = """(async () => {
  await MathJax.startup.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => 0)));
})()"""
#: Puts the pages behind the links, and says behind how many.
_NUMBER = """(pages => {
  let known = 0;
  for (const span of document.querySelectorAll("span.at")) {
    const page = pages[span.dataset.to];
    if (page) known += 1;
    span.textContent = page || "";
  }
  return known;
})"""


def pages_of_places(pdf: bytes) -> dict[str, int]:
    """Return the page, counted from one, of each place that a link within the PDF leads to."""
    kids = {
        number: [int(kid) for kid in re.findall(rb"(\d+) 0 R", inside)]
        for number, inside in _page_trees(pdf)
    }
    below = {kid for inside in kids.values() for kid in inside}
    leaves: list[int] = []

    def walk(number: int) -> None:
        for kid in kids[number]:
            if kid in kids:
                walk(kid)
            else:
                leaves.append(kid)

    for root in kids.keys() - below:
        walk(root)
    page_of = {number: n for n, number in enumerate(leaves, 1)}
    found = {}
    for name, number in re.findall(rb"/(?!Dest )([^\s/\[\]()<>]+) \[(\d+) 0 R /XYZ", pdf):
        plain = re.sub(rb"#([0-9A-Fa-f]{2})", lambda hexed: bytes([int(hexed[1], 16)]), name)
        if int(number) in page_of:
            found[plain.decode("utf8")] = page_of[int(number)]
    return found


def _page_trees(pdf: bytes) -> list[tuple[int, bytes]]:
    """The objects that list pages: their numbers, and their lists."""
    trees = re.finditer(
        rb"(\d+) 0 obj\s*<<(?=[^>]*?/Type /Pages)[^>]*?/Kids \[([^\]]*)\]", pdf, re.DOTALL
    )
    return [(int(tree[1]), tree[2]) for tree in trees]


def print_book(document: Path, browser: Browser) -> tuple[bytes, dict[str, int]]:
    """Print a joined document, and return the PDF and the pages of its places.

    Args:
        document: as `book.joining.join` made it. browser: with patience for some hundred pages.
    """
    browser.show(document, 900)
    browser.run(_READY)
    pages: dict[str, int] = {}
    pdf = b""
    for _ in range(_TURNS):
        answer = browser.ask(
            "Page.printToPDF",
            preferCSSPageSize=True, printBackground=True, generateDocumentOutline=True,
        )  # fmt: skip
        pdf = base64.b64decode(answer["data"])
        found = pages_of_places(pdf)
        if found == pages:
            break
        pages = found
        listed = ",".join(f'"{name}":{page}' for name, page in pages.items())
        browser.run(f"{_NUMBER}({{{listed}}})")
    return pdf, pages


def main(argv: list[str] | None = None) -> int:
    """Join the built book and print it."""
    parser = argparse.ArgumentParser(prog="book.pdf", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository's root")
    options = parser.parse_args(argv)
    html = options.root / "_build" / "html"
    if chromium() is None:
        print("make pdf needs a Chromium or Chrome: apt-get install chromium", file=sys.stderr)
        return 2
    if not (html / "index.html").exists():
        print(f"found no built book in {html}: run `make book` first", file=sys.stderr)
        return 2
    folder = options.root / "_build" / "pdf"
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / "book.html"
    document.write_text(join(html, options.root), "utf8")
    profile = Path(tempfile.mkdtemp())
    try:
        with Browser(profile, patience=900) as browser:
            pdf, _ = print_book(document, browser)
    finally:
        shutil.rmtree(profile, ignore_errors=True)
    target = folder / "from-bigram-to-storyteller.pdf"
    target.write_bytes(pdf)
    print(f"The book is printed: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
