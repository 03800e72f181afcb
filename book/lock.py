"""The pinned versions: `make lock` writes requirements.lock and environment.yml from `.venv`.

One job: one list of versions, in the two forms that pip and conda read. CUDA packages are left out,
so that the list serves machines with and without a GPU; which build of torch is taken is decided
where it is installed.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

_LEFT_OUT = re.compile(r"(nvidia|triton|cuda|gptlib$|pip$)")

LOCK_HEAD = (
    "# What the book's outputs were made with. No CUDA packages: TORCH_INDEX picks a torch.\n"
)
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


def pins(lock: str) -> list[str]:
    """Return the lines of a lock that pin a package."""
    return [line for line in lock.splitlines() if line and not line.startswith("#")]


def environment(lock: str) -> str:
    """Return the conda file that belongs to a lock."""
    lines = [*pins(lock), "-e ."]
    return ENVIRONMENT_HEAD + "".join(f"      - {line}\n" for line in lines)


def main() -> int:
    """Write both files into the current folder."""
    lock = LOCK_HEAD + "\n".join(installed()) + "\n"
    Path("requirements.lock").write_text(lock, "utf8")
    Path("environment.yml").write_text(environment(lock), "utf8")
    print(f"{len(pins(lock))} versions pinned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
