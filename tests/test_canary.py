"""No key, no token and no home folder is in what a session of fine-tuning says or leaves.

`canary_session.py` is that session: every command that trains, tunes, asks, answers or exports, and
each of them when it is refused or fails. Its keys and its home folder have names that stand nowhere
else. A path that was typed as seen from here stays so; one in the home folder is kept with a `~`,
so that a run can be handed on. ONNX takes half a minute: `test_export.py` looks into its file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from loopback import completion, error, serving, story

for package in ("openai", "datasketch", "gguf", "peft", "transformers", "bitsandbytes"):
    pytest.importorskip(package)

HOME = "canary-of-a-home"
SECRETS = {
    "OPENAI_API_KEY": "sk-canary-openai-0123456789", "HF_TOKEN": "hf_canaryHub0123456789abcdef",
    "WANDB_API_KEY": "canary0wandb0123456789abcdef0123456789ab",
}  # fmt: skip
COLAB = "sk-canary-colab-0123456789"
REFUSED = {"nobody confirms", "bad data", "no such run", "it is there", "another run",
           "not allowed", "no pair", "no such base"}  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """(home folder, all that was said, how each step ended, the keys that the server was sent)."""
    place = tmp_path_factory.mktemp("session")
    home = place / HOME
    (home / "work").mkdir(parents=True)
    (place / "secret").write_text(COLAB)
    env = os.environ | SECRETS | {
        "HOME": str(home), "USERPROFILE": str(home), "COLAB_SECRETS": str(place / "secret"),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip

    def answer(prompt, before):
        if there.requests[-1]["model"] == "locked":
            return error(401, f"Incorrect API key provided: {SECRETS['OPENAI_API_KEY']}")
        return completion(story(f"{prompt} {len(there.asked)}"))

    with serving() as there:
        there.answer = answer
        script = Path(__file__).with_name("canary_session.py")
        words = [sys.executable, script, home / "work", there.url]
        done = subprocess.run(words, env=env, capture_output=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return home, said, json.loads((home / "work/ended.json").read_text()), set(there.keys)


def test_the_session_was_what_it_is_to_be(session):
    """Else nothing would be found where nothing was done."""
    home, said, ended, keys = session
    for name, code in ended.items():
        expected = "RuntimeError" if name.endswith("fails") else 2 if name in REFUSED else 0
        assert code == expected, name
    assert REFUSED < ended.keys() and keys == {f"Bearer {SECRETS['OPENAI_API_KEY']}",
                                               f"Bearer {COLAB}"}  # fmt: skip
    assert said.count(b"RuntimeError: a fault of ours") == 5 and b"Key(hidden)" in said
    places = ["lora/config.json", "plain/adapter/adapter_config.json", "exported/gguf/model.gguf",
              "scenes/merged-base/config.json", "home/lora/config.json", "home.toml"]  # fmt: skip
    for place in places:
        assert (home / "work" / place).is_file(), place


def test_no_secret_is_said_or_left(session):
    home, said, *_ = session
    found = [path for path in home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert not found and b"canary" not in said.replace(b"canary_session", b"")


def test_a_path_in_the_home_folder_begins_with_a_tilde(session):
    home = session[0]
    about = json.loads((home / "work/home/lora/config.json").read_text())["note"]
    assert about["data"]["corpus"] == os.path.join("~", "work", "pairs.jsonl")
    assert about["initial"]["run"] == os.path.join("~", "work", "base")
    assert about["initial"]["from_run"] == os.path.join("..", "..", "base")
    assert about["old"]["corpus"] == os.path.join("~", "work", "fox.txt")
    assert 'corpus = "~' in (home / "work/home.toml").read_text()
