"""The pages of the built book as one document for paper.

One job: `join`, which takes the pages in the order of the table of contents and makes of them a
title page, contents, chapters, and at the back what a reader should not see beside its question:
solutions and the answers to the quizzes. What a page folds and paper cannot is left out: the code
of drawings, and set-up cells. Answers to predictions stand open where they belong.

Every link within the book is followed by an empty `span.at`, whose `data-to` says which place's
page number belongs there. `book.pdf` knows the numbers once it has printed.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

#: Parts of a page that work on a screen only.
_SCREEN = ".headerlink, .page-tools, .viewcode-link, .doors, .cards, .tag_setup, script"
#: What a link looks like that needs no page number: one in code, in an index, or to itself.
_CROWDED = "dl.py, .sig, pre, h1, h2, h3, h4"
_FURTHER = "Solutions and answers"
#: Sections that every chapter has; the contents need not list them each time.
_USUAL = {"Quiz", "References", "What comes next", "What the numbers were"}
_HEAD = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{sheets}
<style>
{running}
</style>
<script>window.MathJax = {{"options": {{"enableAssistiveMml": false,
"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area"}}}}</script>
<script defer src="{static}/mathjax/tex-chtml.js"></script>
</head>
<body>
<div class="bd-main"><div class="bd-content"><div class="bd-article-container">
<article class="bd-article">
"""
_FOOT = "</article>\n</div></div></div>\n</body>\n</html>\n"
_SHEETS = (
    "styles/theme.css", "styles/pydata-sphinx-theme.css", "pygments.css",
    "styles/sphinx-book-theme.css", "mystnb*.css", "sphinx-design.min.css",
    "fonts/fonts.css", "custom.css", "print.css",
)  # fmt: skip


def parts(root: Path) -> list[tuple[str, list[str]]]:
    """Return the captions of the table of contents, and the names of the pages under each."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf8"))

    def names(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            yield entry["file"]
            yield from names(entry.get("sections", []))

    return [(part["caption"], list(names(part["chapters"]))) for part in toc["parts"]]


def place(name: str, fragment: str = "") -> str:
    """Return the id that a place of a page has in the joined document."""
    return re.sub(r"\W", "-", name) + (f"--{fragment}" if fragment else "")


def _title(heading: Tag) -> str:
    """The text of a heading, without the stars and minutes of an exercise."""
    return re.sub(r"\s*\([★, \w]+\)$", "", " ".join(heading.get_text().split()))


class _Page:
    """One page of the built book, on its way into the document.

    Attributes:
        name: as in the table of contents. body: its outermost section, changed in place.
    """

    def __init__(self, html: Path, name: str) -> None:
        self.name = name
        self.soup = BeautifulSoup((html / f"{name}.html").read_text("utf8"), "html.parser")
        body = self.soup.select_one("article.bd-article > section")
        if body is None:
            raise ValueError(f"{name}.html has no text where the book's theme puts it")
        self.body: Tag = body
        for part in body.select(_SCREEN):
            part.decompose()

    def tag(self, kind: str, text: str = "", **attributes: str) -> Tag:
        """Make a new element; `class_` is its class, and `data_to` is written `data-to`."""
        attrs = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        made = self.soup.new_tag(kind, attrs=attrs)
        made.string = text
        return made

    def title(self) -> str:
        heading = self.body.find("h1")
        return _title(heading) if isinstance(heading, Tag) else self.name

    def sections(self) -> list[tuple[str, str]]:
        """Return the place and the title of each section below the page's title."""
        found = []
        for section in self.body.find_all("section", recursive=False):
            heading = section.find("h2")
            if isinstance(heading, Tag) and _title(heading) not in _USUAL:
                found.append((place(self.name, str(section["id"])), _title(heading)))
        return found

    def unfold(self) -> None:
        """Open what stays in its place, and drop the code that the page folds."""
        for fold in self.body.select("details.admonition.hide"):
            if fold.find_parent(class_="tag_solution") is None:
                fold.decompose()
        for cell in self.body.select("div.cell"):
            if not cell.find(class_=["cell_input", "cell_output"]) and not cell.get_text().strip():
                cell.decompose()
        for fold in self.body.select("details"):
            fold["open"] = ""

    def bind_captions(self) -> None:
        """Put each picture into one element with its caption, so that no page parts them."""
        for caption in self.body.select("div.caption"):
            cell = caption.find_previous_sibling()
            if not isinstance(cell, Tag) or "cell" not in (cell.get("class") or ()):
                continue
            drawn = [out for out in cell.select("div.cell_output") if out.find("svg")]
            if drawn:
                plate = self.tag("div", class_="plate")
                caption.insert_before(plate)
                shell = self.tag("div", class_="cell")
                shell.append(drawn[-1].extract())
                plate.extend([shell, caption.extract()])
                if not cell.get_text().strip():
                    cell.decompose()

    def take_solutions(self) -> list[Tag]:
        """Take the solutions out, leave a link to each, and return them under their titles."""
        taken = []
        for number, cell in enumerate(self.body.select("div.cell.tag_solution"), 1):
            section = cell.find_parent("section")
            heading = section.find(re.compile("h[2-4]")) if isinstance(section, Tag) else None
            if not isinstance(section, Tag) or not isinstance(heading, Tag):
                continue
            here = f"#{section['id']}"
            box = self.tag("div", class_="solved", id=f"solution-{number}")
            line = self.tag("p", class_="solved-title")
            lab = "Lab, " if section.find_parent("section", class_="lab") else ""
            line.append(self.tag("a", lab + _title(heading), href=here))
            box.append(line)
            pointer = self.tag("p", class_="to-solution")
            pointer.append(self.tag("a", "Solution", href=f"#solution-{number}"))
            cell.insert_before(pointer)
            for fold in cell.extract().select("details > *"):
                if fold.name != "summary" and isinstance(fold.parent, Tag):
                    box.append(fold.extract())
            for comment in box.select("pre span.c1"):
                if "@title" in comment.get_text():
                    _drop_line(comment)
            taken.append(box)
        return taken

    def take_answers(self) -> list[Tag]:
        """Take the answers out of the quiz, leave the questions, and return the answers."""
        taken = []
        quiz = self.body.find("section", id=re.compile("^quiz"))
        for number, fold in enumerate(quiz.select("details") if isinstance(quiz, Tag) else [], 1):
            summary = fold.find("summary")
            if isinstance(summary, Tag):
                answer = self.tag("div", class_="answered")
                answer.append(self.tag("b", f"{number}."))
                summary.name = "p"
                summary["class"] = "question"
                fold.insert_before(summary.extract())
                answer.extend([copy.copy(child) for child in fold.contents])
                fold.decompose()
                taken.append(answer)
        return taken

    def rename(self, part: Tag, known: set[str]) -> None:
        """Make ids unique in the whole document, and let links lead to pages that are in it."""
        inside = {str(tag["id"]) for tag in part.find_all(id=True)}
        for tag in [part, *part.find_all(True)]:
            if tag.get("id"):
                tag["id"] = place(self.name, str(tag["id"]))
            for key, value in list(tag.attrs.items()):
                if isinstance(value, str) and "url(#" in value:
                    tag[key] = value.replace("url(#", f"url(#{place(self.name)}--")
                elif key == "xlink:href" and str(value).startswith("#"):
                    tag[key] = f"#{place(self.name, str(value)[1:])}"
        for image in part.find_all("img", src=True):
            parents = "../html/" + str(Path(self.name).parent)
            image["src"] = f"{parents}/{image['src']}"
        for link in part.find_all("a", href=True):
            self._lead(link, known, inside)

    def _lead(self, link: Tag, known: set[str], inside: set[str]) -> None:
        parts_of = urlsplit(str(link["href"]))
        if parts_of.scheme:
            return
        path = (Path("/") / self.name).parent / unquote(parts_of.path)
        other = self.name if not parts_of.path else str(_resolved(path))[1:].removesuffix(".html")
        if other not in known:
            link.unwrap()
            return
        target = place(other, unquote(parts_of.fragment))
        link["href"] = f"#{target}"
        link["class"] = "reference internal"
        if link.find_parent(["svg"]) is None and not _crowded(link):
            link.insert_after(self.tag("span", class_="at", data_to=target))


def _resolved(path: Path) -> Path:
    done: list[str] = []
    for part in path.parts:
        if part == "..":
            done.pop()
        elif part != ".":
            done.append(part)
    return Path(*done)


def _crowded(link: Tag) -> bool:
    return any(parent.css.match(_CROWDED) for parent in link.parents if isinstance(parent, Tag))


def _drop_line(comment: Tag) -> None:
    """Drop a comment that has its line for itself, with the end of the line."""
    after = comment.next_sibling
    if isinstance(after, str) and after.startswith("\n"):
        after.replace_with(after[1:])
    comment.decompose()


def _sheets(html: Path) -> tuple[str, str]:
    static = html / "_static"
    found = [path for pattern in _SHEETS for path in sorted(static.glob(pattern))]
    at = "../html/_static"
    lines = [
        f'<link rel="stylesheet" href="{at}/{path.relative_to(static).as_posix()}">'
        for path in found
    ]
    return "\n".join(lines), at


def _running(name: str, title: str) -> str:
    """The line over a chapter's pages. The rule's name is a word, without a hyphen at its end."""
    text = title.replace("\\", "").replace('"', "'")
    page = "page_" + re.sub(r"\W", "_", name)
    return (
        f'@page {page} {{ @top-left {{ content: "{text}"; }} }}\n#{place(name)} {{ page: {page}; }}'
    )


def join(html: Path, root: Path) -> str:
    """Return the document, for a file in a folder beside `html`.

    Args:
        html: the built book. root: the repository, whose `_toc.yml` gives the order.
    """
    order = parts(root)
    names = [name for _, listed in order for name in listed]
    known = {*names}
    front = _Page(html, "index")
    tag = front.tag
    contents = tag("nav", class_="book-contents")
    contents.append(tag("h1", "Contents"))
    body, back, running = [], [], []
    for caption, listed in order:
        contents.append(tag("p", caption, class_="contents-part"))
        for name in listed:
            page = _Page(html, name)
            title = page.title()
            running.append(_running(name, title))
            _enter(front, contents, place(name), title, "contents-chapter")
            if name.startswith("chapters/"):
                for target, text in page.sections():
                    _enter(front, contents, target, text, "contents-section")
            page.unfold()
            page.bind_captions()
            solved, answered = page.take_solutions(), page.take_answers()
            chapter = tag("div", class_="chapter", id=place(name))
            page.rename(page.body, known)
            chapter.append(page.body)
            body.append(chapter)
            if solved or answered:
                back.append(_back_of(page, title, solved, answered, known))
    last = tag("div", class_="chapter", id="solutions")
    last.append(tag("h1", _FURTHER))
    last.extend(back)
    running.append(_running("solutions", _FURTHER))
    contents.append(tag("p", "At the back", class_="contents-part"))
    _enter(front, contents, "solutions", _FURTHER, "contents-chapter")
    sheets, static = _sheets(html)
    head = _HEAD.format(
        title=front.title(), sheets=sheets, static=static, running="\n".join(running)
    )
    return head + "\n".join(map(str, [_title_page(front), contents, *body, last])) + _FOOT


def _enter(front: _Page, contents: Tag, target: str, text: str, kind: str) -> None:
    line = front.tag("p", class_=kind)
    line.append(front.tag("a", text, href=f"#{target}"))
    line.append(front.tag("span", class_="at", data_to=target))
    contents.append(line)


def _back_of(page: _Page, title: str, solved: list[Tag], answered: list[Tag], known: set) -> Tag:
    """One chapter's part of the back."""
    part = page.tag("section", class_="back")
    part.append(page.tag("h2", title))
    part.extend(solved)
    if answered:
        part.append(page.tag("h3", "Quiz"))
        part.extend(answered)
    page.rename(part, known)
    return part


def _title_page(front: _Page) -> Tag:
    """The front page as far as it is a title: what stands before its first section."""
    made = front.tag("div", class_="title-page")
    for child in front.body.find_all(True, recursive=False):
        if child.name == "section":
            break
        made.append(child.extract())
    front.rename(made, set())
    made.append(
        front.tag(
            "p",
            "This is the book on paper. Answers to predictions follow their questions; solutions "
            "and the answers to the quizzes stand at the back. The code of drawings and the cells "
            "that fetch the library are in the notebooks. Text and figures CC BY 4.0, code MIT.",
            class_="colophon",
        )
    )
    return made
