"""A Sphinx extension: what the built book takes from packages and from recorded runs.

One job: pages that work without a network and pages whose numbers come from `data/runs`.
Fonts and MathJax are copied out of pinned Python packages at build time, never committed; a
comment such as `<!-- fill: costs -->` in a Markdown page is replaced by what the records say.
"""

import re
import shutil
from html import escape
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from docutils import nodes

from book import docstrings, fills, folding, gluing, inlining, page_tools, signatures

_FACES = [
    # family, package, file, weight, style
    ("Source Serif Book", "font_source_serif_pro", "SourceSerifPro-Regular.otf", 400, "normal"),
    ("Source Serif Book", "font_source_serif_pro", "SourceSerifPro-It.otf", 400, "italic"),
    ("Source Serif Book", "font_source_serif_pro", "SourceSerifPro-Semibold.otf", 600, "normal"),
    ("Source Sans Book", "font_source_sans_pro", "SourceSansPro-Regular.otf", 400, "normal"),
    ("Source Sans Book", "font_source_sans_pro", "SourceSansPro-It.otf", 400, "italic"),
    ("Source Sans Book", "font_source_sans_pro", "SourceSansPro-Semibold.otf", 600, "normal"),
]
_JOINED = re.compile(r"([A-Z]+-\d\w*)")  # what a hyphen does not part: GPT-2
_MONO = [
    ("DejaVuSansMono.ttf", 400, "normal"),
    ("DejaVuSansMono-Bold.ttf", 700, "normal"),
    ("DejaVuSansMono-Oblique.ttf", 400, "italic"),
]


def copy_fonts(target: Path) -> None:
    """Copy the fonts, their licenses and a style sheet that names them into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    rules = []
    for family, package, file, weight, style in _FACES:
        folder = resources.files(package) / "files"
        shutil.copyfile(str(folder / file), target / file)
        shutil.copyfile(str(folder / "LICENSE.txt"), target / f"LICENSE-{package}.txt")
        rules.append(_face(family, file, weight, style))
    mono = resources.files("matplotlib") / "mpl-data" / "fonts" / "ttf"
    shutil.copyfile(str(mono / "LICENSE_DEJAVU"), target / "LICENSE-dejavu.txt")
    for file, weight, style in _MONO:
        shutil.copyfile(str(mono / file), target / file)
        rules.append(_face("DejaVu Mono Book", file, weight, style))
    (target / "fonts.css").write_text("\n".join(rules) + "\n")


def _face(family: str, file: str, weight: int, style: str) -> str:
    return (
        f'@font-face {{ font-family: "{family}"; src: url("{file}"); '
        f"font-weight: {weight}; font-style: {style}; font-display: swap; }}"
    )


def copy_mathjax(target: Path) -> None:
    """Copy the one MathJax script that the book uses, and its fonts: 1.6 of the package's 24 MB."""
    package = metadata.distribution("sphinx-mathjax-offline")
    target.mkdir(parents=True, exist_ok=True)
    for entry in package.files or ():
        inside = entry.as_posix().partition("static/mathjax/")[2]
        if inside == "tex-chtml.js" or inside.startswith("output/chtml/fonts/woff-v2/"):
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.locate(), target / inside)


def _copy_third_party(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copy_fonts(static / "fonts")
        copy_mathjax(static / "mathjax")


def _fill(app: Any, docname: str, source: list[str]) -> None:
    source[0] = fills.fill(source[0], Path(app.srcdir))


def mark(app: Any, doctree: Any) -> None:
    """Give boxes and exercises the classes that the style sheet knows.

    A box is a blockquote that begins with a bold label (`> **Predict.** ...`), an exercise or a
    lab is a section whose title begins so: plain Markdown, so that Colab and GitHub read it.
    """
    for quote in list(doctree.findall(nodes.block_quote)):
        paragraph = quote.next_node(nodes.paragraph)
        begin = [node for node in paragraph or () if node.astext()][:1]
        if begin and isinstance(begin[0], nodes.strong):
            label = f"box-{nodes.make_id(begin[0].astext())}"
            quote.replace_self(nodes.container("", *quote.children, classes=["box", label]))
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title)
        kind = re.match(r"(Exercise|Lab)\b", title.astext() if title is not None else "")
        if kind:
            section["classes"].append(kind[1].lower())


def _mark_examples(app: Any, what: str, name: str, obj: Any, options: Any, lines: list) -> None:
    """Say in a module's docstring, as reStructuredText wants it, that indented text is code."""
    if what == "module":
        for n in range(len(lines) - 1, 0, -1):
            starts = lines[n].startswith("    ") and not lines[n - 1].strip()
            before = next((line for line in reversed(lines[:n]) if line.strip()), "")
            if starts and not before.startswith("    "):
                lines[n:n] = ["::", ""]


def _mend_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list) -> None:
    """Put together again what napoleon and Sphinx take apart at commas, colons and backslashes.

    Of `a, b: text` Sphinx would take only b for a name and the rest for its type; of a property's
    sentence with a colon napoleon takes the part before it for a type; and a backslash before a
    letter is dropped, so that the end of a line would be called "n".
    """
    for n, line in enumerate(lines):
        field = re.match(r":(?:param|ivar) ([^:]+):", line)
        if field and ", " in field[1]:  # a space without width, where a line may break
            lines[n] = line.replace(field[1], field[1].replace(", ", ",\u200b"), 1)
        elif line.startswith(":type: ") and what in ("attribute", "data", "property"):
            lines[n] = ""
            lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
        if "`" not in line:
            lines[n] = re.sub(r"\\(?=[nrt])", r"\\\\", lines[n])


def _drop_thebe(app: Any, *_: Any) -> None:
    """Leave out the extension that would fetch Thebe from a CDN: the book's cells run in Colab."""
    for listeners in app.events.listeners.values():
        listeners[:] = [x for x in listeners if not x.handler.__module__.startswith("sphinx_thebe")]
    app.registry.css_files[:] = [x for x in app.registry.css_files if "thebe" not in x[0]]


def _describe(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Say what a page is called, and what a link to it shows elsewhere.

    The picture of such a link needs the book's public address. The front page bears the book's
    title and needs it no second time; Sphinx's template states the viewport, docutils need not.
    """
    if page == app.config.root_doc:
        context["docstitle"] = ""
    tags = {"og:title": context.get("title", ""), "og:site_name": app.config.html_title}
    tags["og:type"] = "website"
    if app.config.html_baseurl and (Path(app.srcdir) / "assets" / "social-card.png").exists():
        tags["og:image"] = f"{app.config.html_baseurl}_static/social-card.png"
    lines = [f'<meta property="{key}" content="{escape(text)}">' for key, text in tags.items()]
    own = re.sub(r"<meta name=.viewport.[^>]*>", "", context.get("metatags", ""))
    context["metatags"] = own + "\n" + "\n".join(lines)


def keep_together(app: Any, env: Any) -> list[str]:
    """In the contents at the sides, which are narrow, let no line end within GPT-2."""
    for toc in env.tocs.values():
        for text in list(toc.findall(nodes.Text)):
            if isinstance(text.parent, nodes.inline) or not _JOINED.search(text):
                continue
            parts: list[nodes.Node] = []
            for n, part in enumerate(_JOINED.split(text)):
                whole = nodes.inline("", part, classes=["together"]) if n % 2 else nodes.Text(part)
                parts += [whole] if part else []
            text.parent.replace(text, parts)
    return []


def _read_again(app: Any, env: Any, *_: set[str]) -> list[str]:
    """Pages with fills are read at every build: records change without the page changing."""
    paths = {name: Path(env.doc2path(name)) for name in env.found_docs}
    return [
        n for n, p in paths.items() if p.suffix == ".md" and "<!-- fill: " in p.read_text("utf8")
    ]


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx (`sphinx.extra_extensions` in `_config.yml`)."""
    app.connect("env-get-outdated", _read_again)
    app.connect("source-read", _fill)
    app.connect("config-inited", _drop_thebe)
    app.connect("doctree-read", mark)
    app.connect("env-updated", keep_together)
    inlining.connect(app)
    folding.connect(app)
    gluing.connect(app)
    page_tools.connect(app)
    docstrings.connect(app)
    signatures.connect(app)
    app.connect("autodoc-process-docstring", _mark_examples, priority=1)
    app.connect("autodoc-process-docstring", _mend_fields, priority=900)
    app.connect("html-page-context", _describe)
    app.connect("build-finished", _copy_third_party)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
