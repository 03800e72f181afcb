"""What a chapter owes its reader, as far as a program can tell: the rules of CONTRIBUTING.md.

One job: name the places where a chapter breaks one of five rules. A term of the glossary is used
before it is explained; an output is left without a word; a prediction is not answered, or given
away; a paragraph has too many figures; a figure sends no eye anywhere. A place that breaks a rule
for a reason carries it at its end: `<!-- linter: RULE, because ... -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from book.notebooks import convert, notebook_of

#: More figures than this are a table.
MOST_FIGURES = 5
_ASIDE = {"setup", "exercise", "solution"}  # cells whose output is a check's
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_CODE = re.compile(r"``.+?``|`[^`\n]+`|\$\$.+?\$\$|\$[^$\n]+\$", re.S)
_TARGET = re.compile(r"\]\([^)]*\)|https?://\S+")
_NUMBER = re.compile(
    r"(?<![\w.,/^+-])[-−+]?(?:\d{1,3}(?:[,\u202f]\d{3})+|\d+)(?:\.\d+)?(?:e[-−]?\d+)?"
    r"(?: ± \d[\d.]*)?"
    r"(?=(?:[MkKB%×]|th|nd|rd|st|GB|MB)?(?![\w-]))"
)
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_LABEL = re.compile(
    r"\b(?:Exercise|Figure|Chapter|Question|Section|Step|Table|equation|question|volume|seed|"
    r"GPT|layer|head|block|part)s? [A-Z]?\d[\d.]*(?:(?:, | and | to )\d[\d.]*)*",
    re.I,
)
#: A caption or a sentence on a figure tells where the eye begins.
_LOOKS = re.compile(r"\b(look|read|compare|follow|watch|find|see|start|begin|cover|note)\b", re.I)


@dataclass(frozen=True)
class Cell:
    """A cell of a chapter: its text, its tags, and whether it printed or drew something."""

    kind: str  # "markdown" or "code"
    text: str
    tags: frozenset[str] = frozenset()
    output: str = ""

    @property
    def shows(self) -> bool:
        """Whether it is code of the text, and no exercise's nor a check, that has an output."""
        checks = self.tags & _ASIDE or self.output.lstrip("'").startswith(("✓", "○"))
        return self.kind == "code" and bool(self.output) and not checks


@dataclass(frozen=True)
class Block:
    """A part of a Markdown cell between blank lines, and what it is."""

    kind: str  # heading, caption, predict, box, table, math, html, item or paragraph
    text: str


@cache
def read(source: Path) -> list[Cell]:
    """Return a chapter's cells: the text from its text twin, what it showed from its notebook."""
    import nbformat

    stored = nbformat.read(notebook_of(source), as_version=4)
    assert isinstance(stored, nbformat.NotebookNode)  # a list of them in format 1 alone
    outputs = {cell.source: _shown(cell) for cell in stored.cells if cell.cell_type == "code"}
    return [
        Cell(
            cell.cell_type,
            cell.source,
            frozenset(cell.metadata.get("tags", ())),
            outputs.get(cell.source, "") if cell.cell_type == "code" else "",
        )
        for cell in convert(source).cells
    ]


def _shown(cell: Any) -> str:
    """Return what a cell printed; of what it drew, the words that stand for it."""
    parts = [
        output.get("text", "") or output.get("data", {}).get("text/plain", "a picture")
        for output in cell.outputs
    ]
    return "\n".join(parts).strip()


def blocks(text: str) -> Iterator[Block]:
    """Yield what a Markdown cell consists of."""
    in_caption = False
    for part in re.split(r"\n\s*\n", text.strip()):
        begin = _COMMENT.sub("", part).strip()
        if begin.startswith('<div class="caption"'):
            in_caption = True
        elif begin.startswith("</div>"):
            in_caption = False
        elif in_caption:
            yield Block("caption", part)
        elif re.match(r"#{1,6} ", begin):
            yield Block("heading", part)
        elif begin.startswith(">"):
            kind = "predict" if begin.startswith("> **Predict.**") else "box"
            yield Block(kind, re.sub(r"^> ?", "", part, flags=re.M))
        elif begin.startswith("|"):
            yield Block("table", part)
        elif begin.startswith("$$") and begin.endswith(("$$", "$$.")):
            yield Block("math", part)
        elif begin.startswith("<") or not begin:
            yield Block("html", part)
        elif re.match(r"([-*]|\d+\.) ", begin):
            for item in re.split(r"^(?=(?:[-*]|\d+\.) )", part, flags=re.M):
                if item:
                    yield Block("item", re.sub(r"^([-*]|\d+\.) ", "", item))
        else:
            yield Block("paragraph", part)


def excused(text: str, rule: str) -> bool:
    """Whether a paragraph carries the reason why a rule does not hold for it."""
    return bool(re.search(rf"<!-- linter: {rule}\b[^>]*, because .+?-->", text, re.S))


# ---- figures in a paragraph ------------------------------------------------------------------


def figures(text: str) -> list[str]:
    """Return the numbers of a paragraph that a reader has to weigh.

    Years, the numbers of exercises, figures and chapters, code and formulas are none; a mean with
    its standard deviation is one.
    """
    for pattern in (_COMMENT, _CODE, _TARGET, _LABEL):
        text = pattern.sub(" ", text)
    return [n for n in _NUMBER.findall(text) if not _YEAR.fullmatch(n)]


def crowded(cells: list[Cell]) -> list[str]:
    """Return the paragraphs, captions and items with more figures than `MOST_FIGURES`."""
    found = []
    for cell in _prose(cells):
        for block in blocks(cell.text):
            if block.kind == "heading" and "References" in block.text:
                return found  # years, volumes and pages
            if block.kind not in ("paragraph", "item", "caption", "box", "predict"):
                continue
            for part in re.split(r"\n\n|^- ", block.text, flags=re.M):
                many = figures(part)
                if len(many) > MOST_FIGURES and not excused(part, "figures"):
                    found.append(f"{len(many)} figures ({' '.join(many)}): {part[:90]}")
    return found


def _prose(cells: list[Cell]) -> Iterator[Cell]:
    return (cell for cell in cells if cell.kind == "markdown")


# ---- predictions and outputs -----------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The answer to a prediction, as `book.folding` folds it: the numbers of its cells."""

    asked: int  # the cell with the box
    shown: tuple[int, ...]  # the cells whose outputs are folded
    said: int | None  # the cell that begins with the paragraph which ends the answer


def answers(cells: list[Cell]) -> list[Answer]:
    """Return where each prediction of a chapter is answered; by hand is as good as folded."""
    return [
        _answer(cells, n)
        for n, cell in enumerate(cells)
        if any(block.kind == "predict" for block in blocks(cell.text)) and cell.kind == "markdown"
    ]


def _answer(cells: list[Cell], asked: int) -> Answer:
    inside = list(blocks(cells[asked].text))
    last = max(n for n, block in enumerate(inside) if block.kind == "predict")
    rest = inside[last + 1 :]
    if rest and rest[0].text.startswith("<details"):
        return Answer(asked, (), asked)
    if any(_ends(block) for block in rest):
        return Answer(asked, (), None)
    shown: list[int] = []
    for n in range(asked + 1, len(cells)):
        if cells[n].shows:
            shown.append(n)
        for block in blocks(cells[n].text) if cells[n].kind == "markdown" else ():
            if _ends(block):
                return Answer(asked, tuple(shown), None)
            if shown and block.kind in ("paragraph", "item"):
                return Answer(asked, tuple(shown), n)
    return Answer(asked, tuple(shown), None)


def _ends(block: Block) -> bool:
    return block.kind == "heading" and not re.match(r"#+ Exercise", block.text)


def unanswered(cells: list[Cell]) -> list[str]:
    """Return the predictions that no output, and no word about it, answers within two cells."""
    found = []
    for answer in answers(cells):
        by_hand = answer.said == answer.asked
        shown = by_hand or (answer.shown and answer.shown[0] <= _second(cells, answer.asked))
        said = answer.said is not None
        if not (shown and said):
            found.append(f"not answered: {cells[answer.asked].text[-120:]!r}")
    return found


def _second(cells: list[Cell], n: int) -> int:
    """Return the number of the second cell after one, those of exercises not counted."""
    rest = [k for k in range(n + 1, len(cells)) if not cells[k].tags & _ASIDE]
    return rest[:2][-1] if rest else n


def given_away(cells: list[Cell]) -> list[str]:
    """Return the outputs that lie open directly below a folded answer and repeat it.

    They follow the answer's last paragraph with no word between, and show what the folded cell
    read or computed.
    """
    found = []
    for answer in answers(cells):
        if not answer.shown or answer.said is None:
            continue
        after = answer.said + 1
        said = [b for b in blocks(cells[answer.said].text) if b.kind in ("paragraph", "item")]
        if len(said) > 1 or after >= len(cells) or not cells[after].shows:
            continue
        names = set(re.findall(r"^(\w+) = ", cells[answer.shown[0]].text, re.M))
        names &= set(re.findall(r"\w+", re.sub(r'".*?"', "", cells[after].text)))
        if names and not excused(cells[after].text, "answer"):
            found.append(
                f"lies open below its answer ({', '.join(sorted(names))}): "
                f"{cells[after].text[:90]!r}"
            )
    return found


def undiscussed(cells: list[Cell]) -> list[str]:
    """Return the cells whose output no text after it speaks of.

    A paragraph or a list has to come before the next output and before the next heading. The
    caption of a figure is such a text for its figure, and an answer's last paragraph for all that
    is folded with it.
    """
    told = {n for answer in answers(cells) if answer.said is not None for n in answer.shown}
    found = []
    for n, cell in enumerate(cells):
        if cell.shows and n not in told and not _spoken_of(cells[n + 1 :]):
            found.append(f"no text speaks of what this shows: {cell.text[:90]!r}")
    return found


def _spoken_of(following: list[Cell]) -> bool:
    for cell in following:
        if cell.kind == "code" and cell.output:
            return False
        for block in blocks(cell.text) if cell.kind == "markdown" else ():
            if block.kind in ("paragraph", "item", "caption", "box"):
                return True
            if block.kind in ("heading", "predict"):
                return False
    return False


# ---- figures ---------------------------------------------------------------------------------


def unseen(cells: list[Cell]) -> list[str]:
    """Return the captions of figures that do not say where to look, where no prose does either."""
    prose = [block for cell in _prose(cells) for block in blocks(cell.text)]
    found = []
    for block in prose:
        label = re.match(r"\*\*(Figure [A-Z]?\d+\.\d+)\.\*\*", block.text)
        if block.kind == "caption" and label:
            named = [b.text for b in prose if b is not block and label[1] in b.text]
            if not any(_LOOKS.search(text) for text in (block.text, *named)):
                found.append(f"no word where to look: {block.text[:90]}")
    return found


#: What stands before a term where it is one; without it the word is a verb.
_BEFORE = {"beat": r"(?:an?|the|one|each|its|of|four|two|from) \*?"}


# ---- terms -----------------------------------------------------------------------------------


#: What the glossary calls a chapter without a number, and a part of its file's name.
_INTERLUDES = {"interlude": "digits", "speedrun": "speedrun"}


def reading_order(root: Path) -> list[str]:
    """Return the names of the chapters as a reader meets them: the digits, then the contents."""
    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    files = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    names = [file.rpartition("/")[2] for file in files if file.startswith("chapters/")]
    return sorted(names, key=lambda name: "digits" not in name)


def terms(glossary: str, order: list[str]) -> dict[str, str]:
    """Return the chapter that each term of the glossary names as the one that introduces it.

    A term that names none is one of the words that all chapters explain as they go.
    """
    found = {}
    for term, text in re.findall(r"^(\S.*)\n    (.+)$", glossary, re.M):
        named = re.search(r"\b(?:Chapters? (\d+)|[Tt]he (interlude|speedrun))\b[^.]*\.$", text)
        if named:
            key = f"{named[1]:0>2}_" if named[1] else _INTERLUDES[named[2]]
            found[term] = next(name for name in order if key in name)
    return found


def premature(cells: list[Cell], unknown: set[str]) -> dict[str, str]:
    """Return the terms that a chapter uses before they are explained, each with its sentence.

    What stands before the set-up cell says what a reader will build, and may name it; headings
    raise questions, and references are titles. A sentence that sets the term in italics, links to
    its explanation or names the chapter of it explains it enough. Every term that the chapter
    uses or introduces is then known in the next.

    Args:
        cells: the chapter's.
        unknown: terms of the glossary that no earlier chapter explained.
    """
    found = {}
    sentences = list(_sentences(cells))
    for term in sorted(unknown):
        name = _pattern(term)
        uses = (each for each in sentences if name.search(_plain(each[0])))
        sentence, block = next(uses, ("", ""))
        if sentence and not _explains(sentence, name) and not excused(block, term):
            found[term] = sentence.strip()[:200]
    return found


def used(cells: list[Cell], unknown: set[str]) -> set[str]:
    """Return the terms that a chapter uses, and so explains if it keeps the rule."""
    text = " ".join(_plain(sentence) for sentence, _ in _sentences(cells))
    return {term for term in unknown if _pattern(term).search(text)}


def _sentences(cells: list[Cell]) -> Iterator[tuple[str, str]]:
    """Yield the sentences of a chapter's prose behind its set-up, each with its block."""
    setup = next((n for n, cell in enumerate(cells) if "setup" in cell.tags), -1)
    for cell in _prose(cells[setup + 1 :]):
        for block in blocks(cell.text):
            if block.kind == "heading" and "References" in block.text:
                return
            if block.kind not in ("heading", "html", "math"):
                plain = _COMMENT.sub("", block.text)
                for sentence in re.split(r"(?<=[.?!])(?<!al\.)\s+", plain):
                    yield sentence, block.text


def _plain(sentence: str) -> str:
    return _TARGET.sub("]", _CODE.sub(" ", sentence))


def _pattern(term: str) -> re.Pattern[str]:
    """Match a term, its plural too, as a word of its own; capitals count where it has any."""
    words = term.partition(",")[0]
    whole = rf"(?<![\w-]){_BEFORE.get(words, '')}{re.escape(words)}(?:e?s)?(?![\w-])"
    return re.compile(whole, 0 if words != words.lower() else re.I)


def _explains(sentence: str, name: re.Pattern[str]) -> bool:
    """Whether a sentence sets a term in italics, or an explanation beside it, or sends there."""
    italic = re.findall(r"(?:\w+,? \(?)?\*+[^*]+\*+(?:, \(?\w+)?", sentence)
    return (
        any(name.search(part) for part in italic)
        or "](" in sentence
        or bool(re.search(r"\b(chapter \d|interlude|speedrun)", sentence, re.I))
    )
