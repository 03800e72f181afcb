"""`gptlib data write` from outside: what it asks before it spends, keeps, and never shows."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from pathlib import Path

import pytest
from loopback import Loopback, Sent, completion, error, page, serving, story

pytest.importorskip("openai")
pytest.importorskip("datasketch")

from gptlib.cli import build_parser, main, write
from gptlib.writing.pace import Pace

KEY = "sk-canary-0123456789abcdef"
NAME = "WRITE_TEST_KEY"
TEMPLATE = ["--template", "A {tone} {theme}.", "--field", "theme=harbor,mill,cave",
            "--field", "tone=cold,warm"]  # fmt: skip


@pytest.fixture
def there():
    with serving() as loopback:
        yield loopback


@pytest.fixture
def slept(monkeypatch):
    """Waits take no time, and are remembered."""
    seconds, now = [], [0.0]

    def sleep(s: float) -> bool:
        seconds.append(s)
        now[0] += s
        return False

    monkeypatch.setattr(write, "Pace", lambda sleep_, clock: Pace(sleep, lambda: now[0]))
    return seconds


@pytest.fixture
def flags(there, tmp_path, monkeypatch, slept):
    """A command that asks the server for the answers to six prompts."""
    monkeypatch.setenv(NAME, KEY)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"prompt {i}\n" for i in range(6)))
    return [
        "data", "write", "--prompts", str(prompts), "--model", "m", "--base-url", there.url,
        "--key", NAME, "--out", str(tmp_path / "out.jsonl"), "--yes",
    ]  # fmt: skip


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


def test_a_summary(there, flags, tmp_path, capsys, slept):
    replies = {
        "prompt 0": [error(429, headers={"retry-after": "20"}), completion(story("a"))],
        "prompt 1": [page(), completion(story("b"))],
        "prompt 2": [completion(None, refusal="No.")],
        "prompt 3": [completion("A", ended="length")],
        "prompt 4": [Sent(b"", drop=True), completion(story("c"))],
        "prompt 5": [completion(story("a") + " Indeed.")],
    }
    there.answer = lambda prompt, before: replies[prompt][before]
    more = ["--prices", "1", "2", "--workers", "1"]
    assert main([*flags, *more]) == 0
    out, err = capsys.readouterr()
    place = tmp_path / "out"
    assert out.splitlines() == [
        f"{place}.jsonl: 3 texts of 6 questions, 0 without an answer yet",
        f"{place}.dropped.jsonl: 1 near-duplicates",
        f"{place}.failed.jsonl: cut off 1, refused 1",
        "tried again: dropped connection 1, no JSON 1, rate limit 1",
        "in all: 140 tokens sent, 1,144 written, $0.0024",
    ]
    assert err.splitlines()[0] == (
        f"m at {there.url}: 6 questions, about 108 tokens to send and at most 3,072 to be "
        "written: at most $0.01"
    )
    assert "gptlib data write: rate limit: waiting 20 s, as the server asks" in err.splitlines()
    assert 20 in slept and len(lines(tmp_path / "out.failed.jsonl")) == 2
    asked = len(there.asked)
    assert main([*flags, *more, "--json"]) == 0  # nothing is left: nothing is asked or confirmed
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "questions": 6, "texts": 3, "near_duplicates": 1, "left": 0,
        "failed": {"refused": 1, "cut off": 1}, "tried_again": {}, "tokens_in": 140,
        "tokens_out": 1144, "cost": 0.002428, "ended": "", "not_in_blocks": 0,
    }  # fmt: skip
    assert err == "" and len(there.asked) == asked


def test_control_tokens(there, flags, tmp_path, capsys):
    blocks = tmp_path / "places.txt"
    command = [*flags[:2], *flags[4:], *TEMPLATE, "--blocks", str(blocks)]
    there.answer = lambda prompt, before: completion(story(f"{prompt} {before}"))
    assert main([*command, "--n", "6"]) == 0 and main([*command, "--n", "12"]) == 0
    records = lines(tmp_path / "out.jsonl")
    assert sorted(record["number"] for record in records) == list(range(12))
    assert Counter(r["theme"] for r in records) == dict(harbor=4, mill=4, cave=4)
    first = min(records, key=lambda r: r["number"])
    assert first["prompt"] == f"A {first['tone']} {first['theme']}."
    assert blocks.read_text().startswith(
        f"<LOC><|{first['theme']}|><|{first['tone']}|>\n{first['text']}\n</LOC>\n\n"
    )
    assert blocks.read_text().count("<LOC>") == 12
    assert f"{blocks}: 12 blocks" in capsys.readouterr().out


def test_four_at_a_time(there, flags):
    """Each answer waits until four questions have come; nobody ever sees a fifth."""
    four, now, most, lock = threading.Barrier(4), 0, 0, threading.Lock()

    def answer(prompt, before):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        four.wait(60)
        with lock:
            now -= 1
        return completion(story(prompt))

    there.answer = answer
    assert main([*flags, "--workers", "4", "--n", "4"]) == 0 and most == 4


def kill_at(there, flags, at: int) -> None:
    """Let another process ask, and kill it when it asks the question of this number."""
    process: list[subprocess.Popen] = []
    started, before = threading.Event(), len(there.asked)

    def answer(prompt: str, _: int) -> Sent:
        if len(there.asked) - before >= at:
            started.wait(60)
            process[0].send_signal(signal.SIGKILL)
        return completion(story(prompt))

    there.answer = answer
    command = [sys.executable, "-m", "gptlib", *flags, "--workers", "3"]
    root = Path(__file__).parents[1]
    process.append(subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL))
    started.set()
    assert process[0].wait() == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_at_any_moment(there, flags, tmp_path):
    """The server kills who asks, while some questions are under way and some are written down."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"prompt {i}\n" for i in range(20)))
    for at in (5, 9):
        kill_at(there, flags, at)
    there.answer = lambda prompt, before: completion(story(prompt))
    assert main(flags) == 0
    records = lines(tmp_path / "out.jsonl")
    assert sorted(record["number"] for record in records) == list(range(20))
    assert all(record["text"] == story(record["prompt"]) for record in records)
    assert 20 <= len(there.asked) <= 20 + 2 * 3  # at most those under way were lost, each time


def everything(folder: Path) -> str:
    return "".join(p.read_text("utf8", "replace") for p in folder.rglob("*") if p.is_file())


def test_a_key_is_nowhere(there, flags, tmp_path, capsys, caplog, monkeypatch):
    """Whatever a server sends back of it, and however much is logged."""
    monkeypatch.setenv("OPENAI_LOG", "debug")
    for name in ("", "openai", "httpx", "httpx2", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    echo = {name: KEY for name in ("x-request-id", "retry-after", "www-authenticate", "x-key")}
    echoes = [
        error(500, f"key {KEY} broke us", echo, code=KEY, param=KEY),
        error(400, "x" * 195 + KEY, echo),
        Sent(f"Bearer {KEY}".encode(), 502, "text/html", echo),
        page(f"Authorization: Bearer {KEY}"),
        Sent(json.dumps({"error": KEY}).encode(), headers=echo),
        Sent(f'{{"key": "{KEY}", "choi'.encode()),
        completion(f"The key is {KEY}."),
        completion(f"The key is {KEY}", ended="length"),
        completion(None, refusal=f"I see {KEY}."),
        completion("A.", ended=KEY, model=KEY, usage={"prompt_tokens": KEY}),
        error(429, KEY, echo),
        error(401, f"Incorrect API key provided: {KEY}", echo),
    ]
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {i}\n" for i in range(len(echoes))))
    there.answer = lambda prompt, before: echoes[int(prompt.split()[1])]
    assert main([*flags, "--tries", "2", "--workers", "1"]) == 2
    told = "".join(capsys.readouterr()) + caplog.text + everything(tmp_path)
    assert "not allowed: 401 Incorrect API key provided: [key]" in told
    assert there.keys[-1] == f"Bearer {KEY}"
    assert "canary" not in told


def test_a_key_is_in_no_traceback(there, flags, monkeypatch):
    """Not even in one that shows what the variables held."""

    def broken(*args, **options):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(write.Ledger, "add", broken)
    args = build_parser().parse_args(flags)
    with pytest.raises(RuntimeError) as fault:
        write.run(args)
    found = traceback.TracebackException.from_exception(fault.value, capture_locals=True)
    text = "".join(found.format())
    assert "Key(hidden)" in text and KEY not in text


def test_a_key_is_not_stored_where_it_was_typed(flags, tmp_path, capsys):
    for typed in (["--key", KEY], ["--system", f"key {KEY}"], ["--model", KEY],
                  ["--base-url", f"https://x/{KEY}"]):  # fmt: skip
        assert main([*flags, *typed]) == 2
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "A", "note": KEY}))
    assert main([*flags, "--prompts", str(tmp_path / "p.jsonl")]) == 2
    told = capsys.readouterr()
    assert KEY not in told.out + told.err and told.err.count("\n") == 5
    assert not (tmp_path / "out.jsonl").exists()


class Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_spent_before_it_is_confirmed(there, flags, monkeypatch, capsys):
    flags.remove("--yes")
    for stdin, says in ((io.StringIO("y\n"), "--yes goes on"), (Typed("\n"), "nothing was asked"),
                        (Typed(""), "nothing was asked"), (None, "--yes goes on")):  # fmt: skip
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main([*flags, "--max-cost", "1", "--prices", "1", "1"]) == 2
        assert says in capsys.readouterr().err
    assert there.asked == []
    monkeypatch.setattr(sys, "stdin", Typed("y\n"))
    assert main(flags) == 0 and len(there.asked) == 6
    assert "no --prices, so the cost is not known" in capsys.readouterr().err


def test_a_budget_ends_it(there, flags, tmp_path, capsys):
    limit = ["--prices", "1000", "1000", "--max-cost", "0.19", "--workers", "1"]
    assert main([*flags, *limit, "--max-tokens", "100"]) == 0
    out, err = capsys.readouterr()
    assert "what is left of --max-cost; the same command goes on from here" in err
    # 3 cents an answer, 14 cents aside for the next: 0.14, 0.17, and 0.20 would be too much.
    assert "4 without an answer yet" in out and "$0.0600" in out and len(there.asked) == 2
    assert main([*flags, *limit]) == 0 and len(there.asked) == 2  # also where more may be written
    assert main([*flags, "--max-tokens", "100"]) == 0 and len(lines(tmp_path / "out.jsonl")) == 6


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interruption_loses_no_answer(there, flags, tmp_path, capsys):
    def answer(prompt: str, before: int) -> Sent:
        if prompt == "prompt 1":
            os.kill(os.getpid(), signal.SIGTERM)
        return completion(story(prompt))

    there.answer = answer
    assert main([*flags, "--workers", "1"]) == 130
    assert [record["number"] for record in lines(tmp_path / "out.jsonl")] == [0, 1]
    assert "2 texts of 6 questions, 4 without an answer yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--field", "tone=cold"], "--field goes with --template"), (["--near", "0"], "--near is 0.0"),
     (["--out", "x.txt"], "ends in .jsonl"), (["--key", "NO_SUCH"], "there is no key"),
     (["--base-url", "http://example.com"], "unencrypted"), (["--n", "7"], "has 6 prompts"),
     (["--max-cost", "1"], "goes with --prices")],
)  # fmt: skip
def test_bad_values_are_one_line(there: Loopback, flags, capsys, more, says):
    assert main([*flags, *more]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and there.asked == []


def test_bad_templates_are_one_line(there, flags, capsys):
    command = [*flags[:2], *flags[4:], *TEMPLATE]
    assert main(command) == 2
    assert "goes with --n" in capsys.readouterr().err
    assert main([*command, "--n", "2", "--field", "tone=dry"]) == 2
    assert "given twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--field", "tone"])
    assert "is no field; write theme=harbor,mill" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["openai", "datasketch"])
def test_a_missing_package_is_named(flags, capsys, monkeypatch, missing):
    whole = write.find_spec
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == missing else whole(name))
    assert main(flags) == 2
    err = capsys.readouterr().err
    assert f"needs {missing}" in err and "pip install openai datasketch" in err
