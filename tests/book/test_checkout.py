"""A checkout on Windows, where git by default ends lines otherwise, has the committed bytes."""

import os
import shutil
import subprocess

import pytest
from repository import ROOT, repository_files

from gptlib.runs import load_run
from gptlib.sampling import generate


def git(*arguments: str, cwd) -> None:
    """Run git without the settings of whoever runs the tests."""
    who = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    plain = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *arguments], cwd=cwd, env=plain, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The repository as it stands here, committed, and cloned as git for Windows would."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here to clone with")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so nothing says which files belong to it")
    place = tmp_path_factory.mktemp("checkout")
    for path in repository_files():
        target = place / "here" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    git("init", "--quiet", "here", cwd=place)
    git("-c", "core.autocrlf=false", "add", "--all", "--force", cwd=place / "here")
    git("commit", "--quiet", "--no-verify", "--message", "here", cwd=place / "here")
    git("-c", "core.autocrlf=true", "clone", "--quiet", "here", "there", cwd=place)
    return place / "there"


def test_every_file_has_its_committed_bytes(checkout):
    other = [
        str(path.relative_to(ROOT))
        for path in repository_files()
        if (checkout / path.relative_to(ROOT)).read_bytes() != path.read_bytes()
    ]
    assert not other, f"{len(other)} files have other bytes: {', '.join(other[:5])}"


def test_the_shipped_model_is_whole_and_writes(checkout):
    """`load_run` compares the hashes of the manifest, the weights and the tokenizer."""
    model, tokenizer, _ = load_run(checkout / "data" / "models" / "tales")
    ids = generate(model, tokenizer.encode("\n\n"), 20, seed=0)[0].tolist()
    assert len(tokenizer.decode(ids)) == 22
