"""The built book: every link leads somewhere, every picture speaks, and no page asks a network."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

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
        found = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text())
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


def test_pictures_keep_their_own_paper_in_the_dark(site):
    for page in pages(site):
        for image in soup(page).select(".cell_output img"):
            assert "dark-light" in image.get("class", ()), f"{page.name}: {image.get('alt')}"


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
    sheet = (static / "fonts" / "fonts.css").read_text()
    for file in re.findall(r'url\("([^"]+)"\)', sheet):
        assert (static / "fonts" / file).is_file(), file
    assert len(list((static / "fonts").glob("LICENSE*"))) == 3


def test_every_page_of_the_contents_is_built(site, root):
    import yaml

    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    files = [c["file"] for part in contents["parts"] for c in part["chapters"]]
    for file in [contents["root"], *files]:
        assert (site / f"{file}.html").is_file(), file


@pytest.mark.parametrize("what", ["fill:", "publish:"])
def test_no_page_shows_its_own_scaffolding(site, what):
    for page in pages(site):
        assert all(what not in part.get_text() for part in soup(page).select("article")), page.name
