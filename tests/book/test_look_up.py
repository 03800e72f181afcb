"""The pages to look things up in agree with the chapters and with themselves."""

import re

import pytest

PAGES = ("index", "teaching", "long_runs", "costs", "glossary", "notation", "waiting")
REFERENCE = re.compile(r"^- (?P<authors>[^(\n]*?) \((?P<year>\d{4})\)\.(?P<rest>[^\n]*)", re.M)
ADDRESS = re.compile(r"\]\((?P<address>[^)]*)\)")


def names(authors: str) -> list[str]:
    """Surnames of a reference's authors, in order, as far as it names them."""
    authors = re.split(r",? and others|,? et al\.", authors)[0]
    return re.findall(r"(?:^|, |and )([^\s,.][^,.]+), (?:[A-Z]\.)", authors)


@pytest.fixture(scope="module")
def texts(root):
    chapters = sorted((root / "chapters" / "src").glob("*.md"))
    pages = [root / f"{page}.md" for page in (*PAGES, "bibliography")]
    return {path.name: path.read_text("utf8") for path in (*chapters, *pages)}


def test_a_work_has_the_same_authors_and_year_wherever_it_is_cited(texts):
    cited, wrong = {}, []
    for page, text in texts.items():
        for match in REFERENCE.finditer(text):
            address = ADDRESS.search(match["rest"])
            if not address:
                continue
            found = names(match["authors"]), match["year"]
            first_page, (known, year) = cited.setdefault(address["address"], (page, found))
            shorter = min(len(known), len(found[0]))
            if known[:shorter] != found[0][:shorter] or year != found[1]:
                wrong.append(f"{address['address']}: {first_page} {known}, {page} {found}")
    assert len(cited) > 30 and not wrong, "\n".join(wrong)


def test_the_glossary_is_in_alphabetical_order(texts):
    body = texts["glossary.md"].partition("```{glossary}")[2].partition("```")[0]
    terms = re.findall(r"^(\S.*)$", body, re.M)
    assert len(terms) > 60
    keys = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert keys == sorted(keys)


def test_a_letter_with_two_meanings_is_said_to_have_them(texts):
    exceptions, _, tables = texts["notation.md"].partition("## Sizes")
    excused = re.findall(r"^\| \$(\w)\$ \|", exceptions, re.M)
    first_cells = re.findall(r"^\| (\$[^|]*?) \|", tables, re.M)
    letters = [n for cell in first_cells for n in re.findall(r"(?<![\w\\{])\w(?![\w_}])", cell)]
    symbols = [re.sub(r"\W", "", cell) for cell in first_cells]
    twice = {s for s in symbols if len(s) == 1 and symbols.count(s) > 1}
    assert len(excused) == len(set(excused)) and {"H", "h", "L", "N", "T", "V"} <= set(excused)
    assert twice <= set(excused) and set(excused) <= set(letters)


def test_a_chapter_holds_no_code_for_a_record_that_is_missing(texts, root):
    recorded = {path.parent.name for path in (root / "data" / "runs").glob("*/record.json")}
    for page, text in texts.items():
        assert "not yet run" not in text, page
        assert "except gptlib.GptlibError:\n        return" not in text, page
        loaded = set(re.findall(r'load_record\("([\w-]+)"\)', text))
        assert loaded <= recorded, f"{page} loads {loaded - recorded}"


def test_the_reader_is_addressed_and_not_a_third_person(texts):
    """Sentences that begin with *whoever* read as translated; *if you* or a noun does the work."""
    assert not [page for page, text in texts.items() if re.search(r"\b[Ww]hoever\b", text)]
