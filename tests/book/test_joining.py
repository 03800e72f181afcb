"""The book on paper: pages in order, ids that are unique, solutions behind the chapters."""

import re

import pytest
from browser import Browser, chromium
from bs4 import BeautifulSoup

from book.joining import join
from book.pdf import pages_of_places, print_book

PAGE = """<article class="bd-article"><section id="{name}"><h1>{title}</h1>
<section id="one"><h2>One</h2><p><a href="{link}">there</a> \
<a href="https://example.org">outside</a> <a href="genindex.html">index</a></p>
<section class="exercise" id="exercise-1-1"><h3>Exercise 1.1 · Add (★, 5 minutes)</h3>
<div class="cell tag_solution"><details class="admonition hide above-input"><summary>Solution
</summary><div class="cell_input"><pre>the answer of {name}</pre></div></details></div></section>
</section><div class="cell"><div class="cell_output"><svg role="img"><path id="p"/>
<use xlink:href="#p"/></svg></div></div><div class="caption"><p><strong>Figure 1.1.</strong></p>
</div><section id="quiz"><h2>Quiz</h2><details><summary>1. Why?</summary><p>Because {name}.</p>
</details></section></section></article>"""


@pytest.fixture
def built(tmp_path):
    html = tmp_path / "_build" / "html"
    (html / "_static").mkdir(parents=True)
    for name, link in (("index", "a.html"), ("a", "b.html#one"), ("b", "a.html")):
        text = PAGE.format(name=name, title=name.upper(), link=link)
        (html / f"{name}.html").write_text(text)
    (tmp_path / "_toc.yml").write_text(
        "parts:\n  - caption: Chapters\n    chapters:\n      - file: b\n      - file: a\n"
    )
    return tmp_path


def test_pages_are_joined_in_order_with_solutions_behind(built):
    text = join(built / "_build" / "html", built)
    soup = BeautifulSoup(text, "html.parser")
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert [c["id"] for c in soup.select(".chapter")] == ["b", "a", "solutions"]
    assert text.index("the answer of b") < text.index("the answer of a")
    assert text.index('id="solutions"') < text.index("the answer of b")
    assert text.index('id="solutions"') < text.index("Because b.")
    for link in soup.select('a[href^="#"]'):
        assert link["href"][1:] in ids, link
    assert 'href="#b--one"' in text and "genindex.html" not in text
    assert len(soup.select(".plate svg")) == len(soup.select(".plate .caption")) == 2


def test_a_pdf_knows_where_its_links_lead(built, tmp_path):
    if chromium() is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    document = built / "_build" / "book.html"
    text = join(built / "_build" / "html", built)
    document.write_text(re.sub(r"<script.*?</script>", "", text, flags=re.S).replace(
        "</head>", "<style>.chapter { break-before: page; }</style>"
        "<script>MathJax = {startup: {promise: 0}}</script></head>"))  # fmt: skip
    with Browser(tmp_path / "chromium", patience=120) as browser:
        pdf, pages = print_book(document, browser)
        wide = browser.run("document.documentElement.scrollWidth > innerWidth")
        behind = browser.run("document.querySelector('#a .at').textContent")
    assert pages == pages_of_places(pdf) and not wide
    assert 0 < pages["b"] < pages["a"] < pages["solutions"]
    assert behind == str(pages["b--one"])
