"""The built book: every link leads somewhere, every picture speaks, no page asks a network.

What only a browser can tell, whether something is cut off or glares in the dark, is asked of a
Chromium, and not asked on a machine without one.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from access import FAINT, MOVING, NUMBER_STOPS, STOP, VIOLATIONS, axe_core
from bs4 import BeautifulSoup
from looks import COLORS_OF_A_PLOT, CUT_ENTRIES, FAINT_TEXT, SIZES_OF_PLOTS, TOO_WIDE, contrast

from book.publish import colab_url, repository_url

#: What loads something when a page opens; an ordinary link does not.
LOADING = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data", "link": "href", "input": "src",
}  # fmt: skip
SILENT_LINKS = {"canonical", "author", "license", "index", "search", "next", "prev", "alternate"}
CDNS = ("cdn.", "unpkg", "cdnjs", "jsdelivr", "googleapis", "gstatic", "polyfill.io")


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text("utf8"), "html.parser")


@cache
def places(page: Path) -> set[str]:
    named = soup(page).find_all(lambda tag: tag.get("id") or tag.get("name"))
    return {"top", *(tag.get(key) for tag in named for key in ("id", "name"))}


def pages(site: Path) -> list[Path]:
    found = [p for p in site.rglob("*.html") if "_static" not in p.relative_to(site).parts]
    assert site / "index.html" in found
    return found


def looks(site: Path) -> list[Path]:
    """The pages that a browser looks at: of the modules' sources, which look alike, only one."""
    sources = [page for page in sorted(pages(site)) if "_modules" in page.parts]
    return sorted({*pages(site)} - {*sources[1:]})


def target(page: Path, link: str) -> tuple[Path, str]:
    parts = urlsplit(link)
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_every_internal_link_and_image_resolves(site):
    broken = []
    for page in pages(site):
        for tag in soup(page).find_all(["a", "img", "script", "link", "iframe"]):
            link = tag.get("href") or tag.get("src") or ""
            if not link or urlsplit(link).scheme or link.startswith("//"):
                continue
            path, fragment = target(page, link)
            if not path.is_file():
                broken.append(f"{page.name}: {link}")
            elif fragment and path.suffix == ".html" and fragment not in places(path):
                broken.append(f"{page.name}: {link} (no such place on that page)")
    assert not broken, "\n".join(sorted(set(broken)))


def test_no_page_loads_anything_from_a_network(site):
    asked = []
    for page in pages(site):
        for name, attribute in LOADING.items():
            for tag in soup(page).find_all(name):
                link = tag.get(attribute) or ""
                silent = name == "link" and set(tag.get("rel", ())) <= SILENT_LINKS
                if not silent and re.match(r"(https?:)?//", link):
                    asked.append(f"{page.name}: <{name}> {link}")
        for tag in soup(page).find_all("script", src=False):
            if any(host in tag.text for host in CDNS):
                asked.append(f"{page.name}: a script names {tag.text.strip()[:80]}")
    for sheet in site.rglob("*.css"):
        found = re.findall(
            r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text("utf8")
        )
        asked += [f"{sheet.name}: {link}" for link in found]
    assert not asked, "\n".join(asked)


def test_every_picture_has_alt_text(site):
    silent = [
        f"{page.name}: {image.get('src')}"
        for page in pages(site)
        for image in soup(page).find_all("img")
        if not (image.get("alt") or "").strip() or image["alt"].strip() == image.get("src")
    ]
    assert not silent, "\n".join(silent)
    for page in pages(site):
        for picture in soup(page).select('article svg[role="img"]'):
            assert len(picture.get("aria-label", "")) >= 20, page.name


def test_pictures_of_cells_stand_in_the_page_itself(site):
    """There they follow its style sheet; names do not clash where many stand in one page."""
    for page in pages(site):
        assert not soup(page).select(".cell_output img"), page.name
        names = [tag["id"] for tag in soup(page).select('article svg[role="img"] [id]')]
        assert len(names) == len(set(names)), page.name
    assert not list((site / "_images").glob("*.svg")), "copied, and shown nowhere"


def test_a_page_says_its_title_and_its_viewport_once(site):
    for page in pages(site):
        assert len(soup(page).select('meta[name="viewport"]')) == 1, page.name
        parts = soup(page).title.get_text().split(" — ")
        assert all(parts) and len(set(parts)) == len(parts), f"{page.name}: {parts}"


def test_the_front_page_and_the_contents_at_the_side_call_a_chapter_alike(site):
    front = soup(site / "index.html")
    side = {
        link["href"]: " ".join(link.get_text().split())
        for link in front.select("nav.bd-links a[href^=chapters]")
    }
    cards = {
        link["href"]: " ".join(link.get_text().split())
        for link in front.select(".cards a[href^=chapters]")
    }
    assert cards == side and len(cards) > 4


def reference(site: Path) -> list[Path]:
    return [site / "api.html", *sorted((site / "api").glob("*.html"))]


def test_the_reference_has_no_block_that_says_only_a_type(site):
    for page in reference(site):
        labels = {label.get_text(strip=True) for label in soup(page).select(".field-list > dt")}
        assert "Type:" not in labels, page.name
        assert not soup(page).select("dl.py.attribute dl.field-list"), page.name


def test_the_reference_gives_each_parameter_a_line_and_each_name_its_source(site):
    for page in reference(site)[1:]:
        for item in soup(page).select(".field-list li"):
            text = item.get_text().replace("\u200b", " ")
            inside = re.search(r"[.)] [a-z_]+(, [a-z_]+)*: ", text)
            assert not inside, f"{page.name}: {text[:120]!r} describes two"
        if soup(page).select("dl.py.function, dl.py.class"):
            assert soup(page).select("dt .viewcode-link"), page.name


def test_the_reference_writes_signatures_as_the_source_does(site):
    for page in reference(site):
        for signature in soup(page).select("dt.sig"):
            text = signature.get_text()
            assert not re.search(r" at 0x|~", text), f"{page.name}: {text[:200]}"


def test_the_reference_keeps_what_sphinx_takes_apart(site):
    text = {
        name: soup(site / "api" / f"{name}.html").get_text().replace("\u200b", " ")
        for name in ("model", "text", "grammars")
    }
    assert "n_head (int) – H, attention heads a block, a divisor of n_embd." in text["model"]
    assert "train_documents, val_documents – the documents of an embedded corpus" in text["text"]
    assert r"“\r\n” and “\r” become “\n”" in text["text"]
    assert "Entropy per character in nats: a ratio of means" in text["grammars"]


def test_the_reference_is_several_pages_with_every_public_name(site):
    import gptlib

    found = set()
    for page in reference(site):
        named = soup(page).select("dl.py > dt[id]")
        assert len(named) < 120, f"{page.name} holds {len(named)} names"
        found |= {tag["id"].rpartition(".")[2] for tag in named}
    missing = {name for name in gptlib.__all__ if not name.startswith("_")} - found
    assert not missing, missing


def test_formulas_and_fonts_come_with_the_book(site):
    static = site / "_static"
    with_formulas = [p for p in pages(site) if soup(p).select_one(".math")]
    assert with_formulas, "no page has a formula"
    for page in with_formulas:
        scripts = [tag.get("src", "") for tag in soup(page).find_all("script")]
        assert any("mathjax/tex-chtml.js" in link for link in scripts), page.name
    assert (static / "mathjax" / "tex-chtml.js").is_file()
    assert list((static / "mathjax").rglob("*.woff"))
    assert sum(f.stat().st_size for f in (static / "mathjax").rglob("*") if f.is_file()) < 2e6
    sheet = (static / "fonts" / "fonts.css").read_text("utf8")
    for file in re.findall(r'url\("([^"]+)"\)', sheet):
        assert (static / "fonts" / file).is_file(), file
    assert len(list((static / "fonts").glob("LICENSE*"))) == 3


def test_no_line_can_begin_with_the_mark_behind_a_formula(site):
    found = 0
    for page in pages(site):
        for formula in soup(page).select("article span.math"):
            behind = formula.next_sibling
            if isinstance(behind, str) and behind[:1] in tuple(",.;:!?)"):
                assert "together" in formula.parent.get("class", ()), f"{page.name}: {formula}"
                found += 1
    assert found > 100


def test_every_page_of_the_contents_is_built(site, root):
    import yaml

    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    files = [c["file"] for part in contents["parts"] for c in part["chapters"]]
    for file in [contents["root"], *files]:
        assert (site / f"{file}.html").is_file(), file


@pytest.mark.parametrize("what", ["fill:", "publish:", "public address"])
def test_no_page_shows_its_own_scaffolding(site, what):
    for page in pages(site):
        assert all(what not in part.get_text() for part in soup(page).select("article")), page.name


def with_plots(site: Path) -> list[Path]:
    chapters = sorted((site / "chapters").glob("*.html"))
    return [page for page in chapters if soup(page).select('.cell_output svg[role="img"]')]


def chapters(site: Path) -> list[Path]:
    return sorted((site / "chapters").glob("*.html"))


def answer_of(box):
    """What stands folded behind a prediction, before the next heading that is no exercise's."""
    for tag in box.find_all_next(["h1", "h2", "h3", "details"]):
        if tag.name == "details" and "answer" in tag.get("class", ()):
            return tag
        if tag.name == "details" and tag.find_previous_sibling() is box:
            return tag  # by hand
        if tag.name != "details" and not tag.get_text().startswith("Exercise"):
            return None
    return None


def test_every_prediction_is_followed_by_a_closed_answer(site):
    found = 0
    for page in chapters(site):
        for box in soup(page).select(".box-predict"):
            answer, found = answer_of(box), found + 1
            assert answer is not None, f"{page.name}: {box.get_text()[:80]!r} has no answer"
            assert not answer.has_attr("open")
            assert not answer.select("h1, h2, h3, .box"), "an answer that swallows a section"
            last = [tag for tag in answer.find_all(recursive=False) if tag.name][-1]
            assert last.name in ("p", "ul", "ol", "div"), last
    assert found > 4


def test_a_chapter_folds_its_set_up_and_offers_its_notebook(site, root):
    for page in chapters(site):
        setup = soup(page).select_one(".cell.tag_setup > details")
        assert setup is not None and not setup.has_attr("open"), page.name
        assert "Set up" in setup.summary.get_text() and "REPOSITORY" in setup.get_text()
        named = soup(page).article.find_all(string=re.compile("REPOSITORY"))
        assert all(setup in text.parents for text in named), page.name
        link = soup(page).select_one("h1 + .page-tools a[download]")
        notebook, _ = target(page, link["href"])
        assert notebook.read_bytes() == (root / "chapters" / f"{page.stem}.ipynb").read_bytes()
        in_colab = soup(page).select(".page-tools a[href*='colab.research.google.com']")
        assert bool(in_colab) == bool(colab_url(repository_url(root), page.stem))


def test_a_prediction_is_opened_by_the_keyboard_and_all_by_a_button(site, browser):
    page = next(page for page in chapters(site) if soup(page).select("details.answer"))
    browser.show(page, 1280)
    count = len(soup(page).select("details.answer"))
    opened = "document.querySelectorAll('details.answer[open]').length"
    assert browser.run(opened) == 0
    browser.run("document.querySelector('details.answer > summary').focus()")
    browser.press("Enter", "\r")
    assert browser.run(opened) == 1
    for expected in (count, 0):
        browser.run("document.querySelector('button.all-answers').focus()")
        browser.press("Enter", "\r")
        assert browser.run(opened) == expected
        browser.run("new Promise(requestAnimationFrame)")


def test_a_printed_page_shows_every_answer_and_no_button(site, browser):
    page = next(page for page in chapters(site) if soup(page).select("details.answer"))
    browser.show(page, 1280)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    for selector, shown in [
        ("details.answer > :not(summary)", True),
        ("details.answer > summary", False),
        (".page-tools", False),
    ]:
        seen = browser.run(
            f"[...document.querySelectorAll('{selector}')].map(e => "
            "e.checkVisibility() && e.getBoundingClientRect().height > 0)"
        )
        assert seen and set(seen) == {shown}, selector


@pytest.fixture(scope="module")
def seen(site, browser) -> list[tuple[str, int, dict[str, list[str]]]]:
    """What a browser finds on each page, on a phone in light and on a desk in the dark."""
    questions = {"wide": TOO_WIDE, "cut": CUT_ENTRIES, "faint": FAINT_TEXT}
    found = []
    for width, dark in ((390, False), (1280, True)):
        for page in looks(site):
            browser.show(page, width, dark)
            answers = {name: browser.run(script) for name, script in questions.items()}
            found.append((page.name, width, answers))
    return found


def test_nothing_is_wider_than_its_place(seen):
    """On a phone, code, formulas and tables of results may scroll in their frames; nothing else."""
    wide = [
        f"{page} at {width}: {found}"
        for page, width, answers in seen
        for found in answers["wide"]
        if not (width == 390 and found.startswith("frame"))
    ]
    assert not wide, "\n".join(wide)


def test_no_entry_of_the_contents_at_the_sides_is_cut(seen):
    cut = [f"{page}: {x}" for page, width, found in seen for x in found["cut"] if width > 1000]
    assert not cut, "\n".join(cut)


def test_text_stands_out_from_its_paper(seen):
    faint = [f"{page} at {width}: {x}" for page, width, found in seen for x in found["faint"]]
    assert not faint, "\n".join(faint)


def hold_still(browser):
    """Ask for what a reader asks for who does not want to see things move."""
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    browser.ask("Emulation.setEmulatedMedia", media="", features=[still])


def test_axe_finds_no_page_that_breaks_a_rule_of_level_a_or_aa(site, browser):
    """All rules in light; in the dark, where nothing but colors differs, the colors again."""
    broken = []
    for page in looks(site):
        browser.show(page, 1280)
        hold_still(browser)  # or a color would be measured on its way to another
        browser.run(axe_core())
        found = [*browser.run(VIOLATIONS), *browser.run(FAINT)]
        browser.run("document.documentElement.dataset.theme = 'dark'")
        found += [f"in the dark: {faint}" for faint in browser.run(FAINT)]
        broken += [f"{page.name}: {what}" for what in found]
    assert not broken, "\n".join(broken)


def test_everything_is_reached_by_the_tab_key_in_order_and_seen_to_be(site, browser):
    page = min(with_plots(site), key=lambda page: page.stat().st_size)
    browser.show(page, 1280)
    hold_still(browser)
    browser.run("window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0")
    count, reached, unseen = browser.run(NUMBER_STOPS), [], []
    for _ in range(count):
        browser.press("Tab")
        number, marked, words = browser.run(STOP)
        reached.append(number)
        unseen += [] if marked else [words]
    assert reached == list(range(count))
    assert count > 40 and not unseen, "\n".join(unseen)


def test_the_contents_of_a_phone_open_and_close_by_keys(site, browser):
    browser.show(chapters(site)[0], 390)
    opened = "!!document.querySelector('dialog[open] nav.bd-links, dialog[open] .bd-links')"
    assert not browser.run(opened)
    browser.run("document.querySelector('.bd-header-article .primary-toggle').focus()")
    browser.press("Enter", "\r")
    browser.wait(opened)
    browser.press("Escape")
    browser.wait(f"!({opened})")


def test_nothing_moves_for_a_reader_who_asked_for_that(site, browser):
    browser.show(chapters(site)[0], 1280)
    hold_still(browser)
    assert browser.run(MOVING) == []


@pytest.mark.parametrize("dark", [False, True])
def test_plots_have_the_page_s_colors(site, browser, dark):
    browser.show(with_plots(site)[0], 1280, dark=dark)
    found = browser.run(COLORS_OF_A_PLOT)
    assert (max(found["page"]) < 60) == dark, "the page is not in the theme that was asked for"
    assert found["paper"] == found["page"]
    assert contrast(found["ink"], found["page"]) > 7
    assert all(contrast(line, found["page"]) > 3 for line in found["lines"])


def test_plots_fill_a_phone_and_their_words_can_be_read_there(site, browser):
    assert len(with_plots(site)) > 4
    for page in with_plots(site):
        browser.show(page, 390)
        for width, letters in browser.run(SIZES_OF_PLOTS):
            assert 370 < width <= 390, page.name
            assert letters >= 11, page.name
