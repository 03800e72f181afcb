"""The pinned versions: `make lock` writes requirements.lock and environment.yml from `.venv`.

One job: one list of versions, in the two forms that pip and conda read. CUDA packages are left out,
so that the list serves machines with and without a GPU; which build of torch is taken is decided
where it is installed. What the chapters run on stands first and by itself: a newer version of
anything else changes none of their outputs, so no notebook has to run again for it.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LEFT_OUT = re.compile(r"(nvidia|triton|cuda|gptlib$|pip$)")

LOCK_HEAD = (
    "# What the book's outputs were made with. No CUDA packages: TORCH_INDEX picks a torch.\n"
)
REST_HEAD = "# What tests, builds and serves the book, or reads and writes for others.\n"
ENVIRONMENT_HEAD = """\
# The same versions for conda and Binder: the pip part is requirements.lock, then gptlib itself.
name: bigram-to-storyteller
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def installed() -> list[str]:
    """Return `name==version` for what is installed here, sorted, without local version parts."""
    pins = set()
    for package in metadata.distributions():
        name = package.metadata["Name"]
        if not _LEFT_OUT.match(name.lower()):
            pins.add(f"{name}=={package.version.partition('+')[0]}")
    return sorted(pins, key=str.lower)


def needed(names: Iterable[str]) -> set[str]:
    """Return the canonical names of packages and of all that they need, of what is installed."""
    found: set[str] = set()
    todo = [Requirement(name) for name in names]
    while todo:
        package = todo.pop()
        name = canonicalize_name(package.name)
        if name in found or (package.marker and not package.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        with suppress(metadata.PackageNotFoundError):  # of another platform, or left out
            todo += map(Requirement, metadata.requires(name) or [])
    return found


def of_chapters(lock: str) -> str:
    """Return the part of a lock on which the outputs of the chapters depend."""
    return lock.partition(REST_HEAD)[0]


def pins(lock: str) -> list[str]:
    """Return the lines of a lock that pin a package."""
    return [line for line in lock.splitlines() if line and not line.startswith("#")]


def environment(lock: str) -> str:
    """Return the conda file that belongs to a lock."""
    lines = [*pins(lock), "-e ."]
    return ENVIRONMENT_HEAD + "".join(f"      - {line}\n" for line in lines)


def main() -> int:
    """Write both files into the current folder."""
    own = tomllib.loads(Path("pyproject.toml").read_text("utf8"))["project"]["dependencies"]
    chapters = needed([*own, "ipykernel"])
    parts: dict[bool, list[str]] = {True: [], False: []}
    for pin in installed():
        parts[canonicalize_name(pin.partition("==")[0]) in chapters].append(pin)
    heads = (LOCK_HEAD, parts[True]), (REST_HEAD, parts[False])
    lock = "".join(head + "".join(f"{pin}\n" for pin in part) for head, part in heads)
    Path("requirements.lock").write_text(lock, "utf8")
    Path("environment.yml").write_text(environment(lock), "utf8")
    print(f"{len(pins(lock))} versions pinned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
