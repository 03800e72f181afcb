"""Write the repository's address wherever a reader needs it: `make publish-url URL=...`.

One job: the address stands in one place, `project.urls` of `pyproject.toml`, and everything else
that names it is written from there: set-up cells, the Colab buttons of the built book, links in
the README and on the first page, the citation file. Running it again changes nothing; running it
with another address moves the book.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from book.notebooks import notebook_of, renew_setup_cell, setup_cell, sources, stale
from gptlib.errors import ConfigError

_ADDRESS = re.compile(r"(https|http|ssh|file)://[^\s\"'<>{}]+")
_REGION = re.compile(
    r"(?P<open>^[^\n]*publish: (?P<name>\w+)[^\n]*\n)(?P<old>.*?)(?P<close>^[^\n]*publish: end)",
    re.MULTILINE | re.DOTALL,
)
_AT_HOME = (
    "Every chapter is a notebook. Download it from its page; or, in a copy of the book's "
    "repository, let `make book` set everything up and open them all with "
    "`.venv/bin/jupyter lab chapters`.\n"
)


def repository_url(root: Path) -> str:
    """Return the repository's address, or "" while it has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def colab_url(url: str, notebook: str) -> str:
    """Return the address that opens a notebook in Colab, or "" where the host is not GitHub."""
    path = url.removeprefix("https://github.com/")
    if path == url:
        return ""
    return f"https://colab.research.google.com/github/{path}/blob/main/{notebook}"


def _pages_url(url: str) -> str:
    owner, _, name = url.removeprefix("https://github.com/").partition("/")
    return f"https://{owner.lower()}.github.io/{name}/" if colab_url(url, "x") else ""


def _project(url: str) -> str:
    return f'[project.urls]\nRepository = "{url}"\n' if url else ""


def _launch(url: str) -> str:
    if not url.startswith("https://"):
        return ""
    lines = f"repository:\n  url: {url}\n  branch: main\n"
    if colab_url(url, "x"):
        lines += "\nlaunch_buttons:\n  colab_url: https://colab.research.google.com\n"
    return lines


def _html(url: str) -> str:
    shown = str(url.startswith("https://")).lower()
    lines = f"  use_repository_button: {shown}\n  use_issues_button: {shown}\n"
    return lines + (f"  baseurl: {_pages_url(url)}\n" if _pages_url(url) else "")


def _colab(url: str) -> str:
    first = colab_url(url, "chapters/00_digits.ipynb")
    if first:
        return f"[Open chapter 0 in Colab]({first}): a notebook fetches all that it needs.\n"
    return f"The repository is at <{url}>.\n" if url else _AT_HOME


def _citation(url: str) -> str:
    return f'repository-code: "{url}"\n' if url else ""


#: What stands between a line with `publish: NAME` and the next with `publish: end`.
REGIONS: dict[str, Callable[[str], str]] = {
    "project": _project,
    "launch": _launch,
    "html": _html,
    "colab": _colab,
    "citation": _citation,
}
FILES = ("pyproject.toml", "_config.yml", "README.md", "index.md", "CITATION.cff")


def rewrite(text: str, url: str) -> str:
    """Return a file's text with every `publish:` region written for an address."""

    def region(match: re.Match[str]) -> str:
        return match["open"] + REGIONS[match["name"]](url) + match["close"]

    return _REGION.sub(region, text)


def publish(url: str, root: Path) -> list[Path]:
    """Write an address everywhere and return the files that changed.

    Args:
        url: where `git clone` finds the repository, e.g. `https://github.com/NAME/REPOSITORY`,
            or "" to take the address out again.
        root: the repository's root.

    Raises:
        ConfigError: the address is not one that git and a browser understand.
    """
    url = url.rstrip("/").removesuffix(".git")
    if url and not _ADDRESS.fullmatch(url):
        raise ConfigError(
            f"found the address {url!r}, expected one such as https://github.com/NAME/REPOSITORY"
        )
    old = repository_url(root)
    changed = []
    for name in FILES:
        path = root / name
        before = path.read_text("utf8")
        after = rewrite(before, url)
        if after != before:
            path.write_text(after, "utf8")
            changed.append(path)
    for source in sources(root):
        before = source.read_text("utf8")
        after = before.replace(setup_cell(old), setup_cell(url))
        if after != before:
            fresh = not stale(source, root)
            source.write_text(after, "utf8")
            renew_setup_cell(source, root, fresh)
            changed += [source, notebook_of(source)]
    return changed


def main(argv: list[str] | None = None) -> int:
    """Run `publish` on the repository in the current folder."""
    parser = argparse.ArgumentParser(prog="book.publish", description=__doc__)
    parser.add_argument("url", help='e.g. https://github.com/NAME/REPOSITORY; "" for none')
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository's root")
    options = parser.parse_args(argv)
    try:
        changed = publish(options.url, options.root)
    except ConfigError as error:
        print(f"publish-url: {error}", file=sys.stderr)
        return 2
    for path in changed:
        print(path.relative_to(options.root))
    print(f"{len(changed)} files written" if changed else "nothing to change")
    return 0


if __name__ == "__main__":
    sys.exit(main())
