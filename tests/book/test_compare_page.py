"""`gptlib compare` as a reader meets it: in a browser, by the keyboard. Skipped without one."""

import json
import os
import re
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest
from looks import FAINT_TEXT, TOO_WIDE, contrast

pytest.importorskip("gradio")

NOTE = "document.querySelector('#note').innerText"
TEXTS = "['left', 'right'].map(side => document.querySelector(`#${side} textarea`).value)"
#: The colors of what a reader reads in a text field, and of the paper below it.
IN_A_FIELD = """(() => {
  const field = document.querySelector("#left textarea"), style = getComputedStyle(field);
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  let paper, e = field;
  do paper = numbers(getComputedStyle(e).backgroundColor); while (paper[3] === 0 &&
    (e = e.parentElement));
  const ink = style.webkitTextFillColor || style.color;
  return {ink: numbers(ink), paper, opacity: Number(style.opacity)};
})()"""
PAIRS = 5


class Booth:
    """The command in a process; `end` ends it, by a kill or as Ctrl-C does."""

    def __init__(self, folder) -> None:
        self.votes = folder / "votes.jsonl"
        words = [sys.executable, "-m", "gptlib", "compare", "a.jsonl", "b.jsonl", "--votes",
                 "votes.jsonl", "--port", "0"]  # fmt: skip
        self.process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        )  # fmt: skip
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        # The first answer takes the server longest, and a browser waits for it less patiently.
        urlopen(self.address, timeout=600).read()

    def cast(self) -> list[dict]:
        """The votes in the file."""
        text = self.votes.read_text("utf8") if self.votes.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def end(self, kill: bool = False) -> str:
        if kill:
            self.process.kill()
        else:
            self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=120)[0]


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        lines = [{"prompt": f"- beat {n} of <b>them</b>", "text": f"{name} told {n}. " * 40}
                 for n in range(PAIRS)]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return tmp_path


@pytest.fixture
def open_booth(browser, folder):
    """A function that begins the command and shows its page."""
    begun = []

    def begin(width=1280, dark=False) -> Booth:
        begun.append(Booth(folder))
        show(browser, begun[-1], width, dark)
        return begun[-1]

    yield begin
    browser.show("about:blank", 1280)
    for booth in begun:
        booth.end(kill=True)


def show(browser, booth, width=1280, dark=False) -> None:
    browser.show("about:blank", width)
    browser.show(booth.address, width, dark)
    browser.wait(f"document.querySelector('#note p') && {TEXTS}.every(text => text)")
    browser.wait("document.body.dataset.keys === 'listening'")


def at_pair(browser, number: int) -> None:
    browser.wait(f"{NOTE}.includes('Pair {number} of {PAIRS}')")


def test_arrows_vote_and_no_vote_is_lost(browser, open_booth):
    """By the keyboard alone; the tab is closed, the command is killed, and both go on."""
    booth = open_booth()
    at_pair(browser, 1)
    for number, (key, vote) in enumerate(
        [("ArrowLeft", "left"), ("ArrowDown", "tie"), ("ArrowRight", "right")], 1
    ):
        left, right = browser.run(TEXTS)
        assert {left[0], right[0]} == {"a", "b"} and "told" in left
        browser.press(key)
        at_pair(browser, number + 1)  # what shows the next pair has waited for the disk
        cast = booth.cast()
        assert len(cast) == number and cast[-1]["vote"] == vote
        assert cast[-1]["left"] == left[0]
        assert cast[-1]["winner"] == {"left": left[0], "right": right[0], "tie": "tie"}[vote]
    before = browser.run(TEXTS)
    show(browser, booth)  # the tab was closed and opened again
    at_pair(browser, 4)
    assert browser.run(TEXTS) == before and len(booth.cast()) == 3
    booth.end(kill=True)
    booth = open_booth()
    at_pair(browser, 4)
    assert browser.run(TEXTS) == before
    for number in (4, 5):  # Tab reaches the buttons in their order, and Enter presses one
        reached = []
        while "vote-tie" not in reached:
            browser.press("Tab")
            reached.append(browser.run("document.activeElement.closest('[id]')?.id"))
            assert len(reached) < 20, reached
        assert "vote-left" in reached or number == 5
        browser.press("Enter", "\r")
        if number == 4:
            at_pair(browser, 5)
    told = browser.wait(f"{NOTE}.includes('Every pair has a vote') && {NOTE}")
    assert "a.jsonl won" in told and "3 ties" in told and len(booth.cast()) == PAIRS
    browser.press("ArrowLeft")
    assert "3 ties" in booth.end() and len(booth.cast()) == PAIRS


def test_it_fits_a_phone_and_is_readable_by_day_and_in_the_dark(browser, open_booth):
    booth = open_booth(390)
    for width, dark in ((390, False), (1280, True), (390, True)):
        show(browser, booth, width, dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert not [found for found in browser.run(TOO_WIDE) if found.startswith("the page")]
        assert not browser.run(FAINT_TEXT)
        seen = browser.run(IN_A_FIELD)
        assert seen["opacity"] == 1 and contrast(seen["ink"][:3], seen["paper"][:3]) >= 4.5
        assert (sum(seen["paper"][:3]) < 3 * 128) is dark
    names = browser.run("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert names and all(name.startswith((booth.address, "data:")) for name in names)
