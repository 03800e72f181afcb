"""`gptlib serve` as a reader meets it: in a browser, by mouse and by keyboard. Skipped without one.

Nothing here waits for a fixed time: the page and the server are asked until it is so.
"""

import sys
import time
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest
from looks import TOO_WIDE
from repository import ROOT

sys.path.append(str(ROOT / "bench"))

from marked_run import marked_run
from serve import Server

from gptlib import checkpoint, load_run

TEXT = "document.querySelector('#text textarea').value"
NOTE = "document.querySelector('#note').innerText"
ENDED = f"/It (came|was|has)/.test({NOTE}) && {NOTE}"
HOSTILE = "<img src=x onerror=hacked=1>"  # few enough letters for a small model's context
MORE = "<script>window.hacked = 1</script>${window.hacked = 1}{{x}}**b** [a](javascript:hacked=1)"
MANY = 100_000  # tokens, minutes for any machine


def endless(folder):
    """The shipped model of tales as a run that knows of no end, whatever is drawn."""
    model, tokenizer, manifest = load_run("tales")
    about = {key: manifest[key] for key in ("data", "model", "tokenizer", "train", "versions")}
    checkpoint.save_weights(folder, 1, checkpoint.plain_weights(model), about)
    checkpoint.point(folder, "best", 1)
    tokenizer.save(folder / "tokenizer")
    return str(folder)


@pytest.fixture(scope="module")
def servers(browser, tmp_path_factory):
    """Pages of a model without marks and of one with them, both started before either is there."""
    home = tmp_path_factory.mktemp("served")
    folder = home / "<i>marked"
    marked_run(folder)
    with ExitStack() as ending:
        tales = Server(
            endless(home / "tales"), "--max-new-tokens", str(MANY), "--max-seconds", "3600"
        )
        stories = Server(str(folder))
        for server in (tales, stories):
            ending.push(server)
        yield tales.__enter__(), stories.__enter__()


@pytest.fixture
def page(browser, servers):
    """A function that shows the page of `tales`, or of the model with marks."""

    def show(query="", marked=False, width=1280):
        server = servers[marked]
        browser.show("about:blank", width)  # the last one's connections end here
        browser.show(server.address + query, width)
        # The fields are there, and what the page does when it opens has been done.
        browser.wait(f"document.querySelector('#note p') && {TEXT} === ''")
        return server

    yield show
    browser.show("about:blank", 1280)


def fill(browser, place, text):
    """Type into a field, which the keyboard finds by its place in the page."""
    browser.run(f"document.querySelector('{place}').focus()")
    browser.run("document.activeElement.select()")
    browser.write(text)


def click(browser, place):
    browser.run(f"document.querySelector('{place}').click()")


def ended(browser, server, texts):
    """Wait until the server has written so many texts and the page shows the last one's end."""
    deadline = time.monotonic() + 120
    while server.status()["texts"] < texts:
        assert time.monotonic() < deadline, f"{server.status()}: {browser.run(NOTE)}"
        time.sleep(0.05)
    return browser.wait(ENDED)


def test_a_text_grows_and_stops_at_once(browser, page):
    server = page(f"?max_new_tokens={MANY}&temperature=2")
    fill(browser, "#opening textarea", "The hen ")
    click(browser, "#write")
    first = browser.wait(f"{TEXT}.startsWith('The hen ') && {TEXT}.length > 9 && {TEXT}")
    browser.wait(f"{TEXT}.length > {len(first)}")
    assert server.status()["writing"] == 1
    click(browser, "#stop")
    assert "It was stopped." in browser.wait(ENDED)
    so_far = server.idle()
    text = browser.run(TEXT)
    assert text.startswith(first)
    rows = browser.run("[...document.querySelectorAll('#likely tr')].map(row => row.innerText)")
    assert len(rows) == 10 and all("%" in row for row in rows)
    assert server.status() == server.status() | {"writing": 0, "tokens": so_far}
    assert browser.run(TEXT) == text


def test_again_with_this_seed_is_the_same_text(browser, page):
    server = page("?max_new_tokens=25")
    texts = server.status()["texts"]
    fill(browser, "#opening textarea", "How ")
    before = None
    for number, (button, same) in enumerate([("write", 0), ("again", 1), ("write", 0)], 1):
        click(browser, f"#{button}")
        seed = ended(browser, server, texts + number).partition("seed ")[2].partition(".")[0]
        shown = seed, browser.run(TEXT)
        assert (shown == before) is bool(same) and shown[1].startswith("How ")
        before = shown
    click(browser, "#copy")
    link = browser.wait("document.querySelector('#link textarea, #link input').value")
    assert link == f"{server.address}?opening=How+&max_new_tokens=25&seed={seed}"
    assert browser.run("location.href") == link
    page("?" + link.partition("?")[2])
    assert browser.wait("document.querySelector('#opening textarea').value") == "How "
    click(browser, "#write")
    ended(browser, server, texts + 4)
    assert browser.run(TEXT) == shown[1]


def test_the_keyboard_is_enough(browser, page):
    server = page("?max_new_tokens=20&seed=1", marked=True)
    texts = server.status()["texts"]
    focus = "document.activeElement.closest('[id]').id + ' ' + document.activeElement.tagName"
    browser.run("document.querySelector('#title input, #title textarea').focus()")
    browser.write("A bell")
    seen = []
    while "write BUTTON" not in seen:
        browser.press("Tab")
        seen.append(browser.run(focus))
        assert len(seen) < 20, seen
    assert "opening" in " ".join(seen)
    browser.press("Enter", "\r")
    ended(browser, server, texts + 1)
    text = browser.run(TEXT)
    assert text.startswith("A bell\n")
    for place in ("#stop", "#again"):
        browser.press("Tab")
        assert browser.run(f"document.activeElement === document.querySelector('{place}')")
    browser.run("document.querySelector('#title input, #title textarea').focus()")
    browser.press("Enter", "\r")  # in the title, Enter writes
    ended(browser, server, texts + 2)
    assert browser.run(TEXT) == text


def test_markup_is_text(browser, page):
    server = page("?max_new_tokens=3", marked=True)
    texts = server.status()["texts"]
    assert browser.run("document.querySelector('h1').innerText") == "Write with <i>marked"
    fill(browser, "#title input, #title textarea", HOSTILE)
    fill(browser, "#opening textarea", f"{MORE}<|end|>")
    click(browser, "#write")
    ended(browser, server, texts + 1)
    assert browser.run(TEXT).startswith(f"{HOSTILE}\n{MORE}<|end|>")
    click(browser, "#copy")
    link = browser.wait("document.querySelector('#link textarea, #link input').value")
    fill(browser, "#title input, #title textarea", f"{HOSTILE}<|end|>")
    click(browser, "#write")
    browser.wait(f"{NOTE}.includes('is a mark and no word of a title')")
    wrong = {"seed": HOSTILE, "top_k": "${window.hacked=1}{{x}}", "top_p": "&lt;b&gt;"}
    page(f"{link[link.index('?') :]}&{urlencode(wrong)}", marked=True)
    assert browser.run("document.querySelector('#title input, #title textarea').value") == HOSTILE
    assert all(repr(text) in browser.run(NOTE) for text in wrong.values())
    assert browser.run("window.hacked === undefined && !document.querySelector('[src=x]')")


def test_what_cannot_be_is_said_below_the_text(browser, page):
    page("?top_k=3&genre=wager")
    assert "the genre 'wager' is none of this model's" in browser.run(NOTE)
    fill(browser, "#opening textarea", "ß")
    click(browser, "#write")
    assert "the character 'ß'" in browser.wait(f"{NOTE}.includes('character') && {NOTE}")


def test_a_closed_tab_leaves_no_work(browser, page):
    server = page(f"?max_new_tokens={MANY}&temperature=2")
    before = server.idle()
    click(browser, "#write")
    browser.wait(f"{TEXT}.length > 5")
    browser.show("about:blank", 1280)
    assert server.idle() - before < MANY


def test_the_page_fits_a_phone_and_asks_nobody_else(browser, page):
    server = page("", marked=True, width=390)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    sticking_out = [found for found in browser.run(TOO_WIDE) if found.startswith("the page")]
    assert not sticking_out
    places = "performance.getEntriesByType('resource').map(entry => entry.name)"
    names = browser.run(places)
    assert names and all(name.startswith((server.address, "data:")) for name in names)
    refused = "fetch('https://example.org/').then(() => 'fetched', error => 'refused')"
    assert browser.run(refused) == "refused"


def test_every_field_has_a_name(browser, page):
    page("", marked=True)
    nameless = """[...document.querySelectorAll("input, textarea, button")].filter(field =>
      field.offsetParent && !field.labels?.length && !field.innerText.trim() &&
      !field.getAttribute("aria-label") && !field.title).map(field => field.outerHTML)"""
    assert browser.run(nameless) == []
