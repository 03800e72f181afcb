"""Asking a server for texts: what each of its failures becomes, and what waits, costs and stays."""

import importlib
import json
import sys
import threading
import types
from collections import Counter
from email.utils import formatdate
from itertools import pairwise
from time import time

import pytest
from loopback import Sent, completion, error, page, serving, story

pytest.importorskip("openai")
pytest.importorskip("datasketch")

from gptlib.errors import ConfigError, DataError
from gptlib.writing.asking import IN_A_ROW, ask_all
from gptlib.writing.blocks import block, write_blocks
from gptlib.writing.cost import NOTHING, Budget, Prices, Tokens, at_most
from gptlib.writing.key import Key, find_key
from gptlib.writing.ledger import Ledger
from gptlib.writing.near import NearDuplicates, jaccard, runs
from gptlib.writing.pace import Pace, retry_after
from gptlib.writing.questions import Question, from_file, from_template
from gptlib.writing.server import AGAIN, FINAL, STOP, Reply, Server, checked_address

KEY = "sk-canary-0123456789"
BILLED = Tokens(10, 20)


@pytest.fixture(scope="module")
def there():
    with serving() as loopback:
        yield loopback


@pytest.fixture(scope="module")
def server(there) -> Server:
    return Server(there.url, Key(KEY), "m", system="Be brief.", max_tokens=50, temperature=0.7)


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> bool:
        self.slept.append(seconds)
        self.now += seconds
        return False

    def pace(self) -> Pace:
        return Pace(self.sleep, lambda: self.now)


class Fake:
    """A server without a network: `answer` gets the prompt and how often it was asked before."""

    model, system, max_tokens = "m", "", 50

    def __init__(self, answer) -> None:
        self.answer, self.asked, self.lock = answer, Counter(), threading.Lock()

    def ask(self, prompt: str) -> Reply:
        with self.lock:
            before = self.asked[prompt]
            self.asked[prompt] += 1
        return self.answer(prompt, before)


def questions(n: int) -> list[Question]:
    return [Question(i, f"prompt {i}", {"tone": "cold"}) for i in range(n)]


def ask(answer, out, n=3, budget=None, pace=None, left=None, **options):
    """Ask a fake server; the tally and the ledger."""
    server = answer if isinstance(answer, Fake) else Fake(answer)
    with Ledger(out, "made", questions(n)) as ledger:
        near = NearDuplicates()
        for record in ledger.records("kept"):
            near.add(record["number"], record["text"])
        todo = ledger.open(server.max_tokens) if left is None else left
        tally = ask_all(
            todo, server, ledger, near, budget or Budget(None), pace or Time().pace(), **options
        )
        return tally, ledger


def good(prompt: str, before: int = 0) -> Reply:
    return Reply(text=story(prompt), tokens=BILLED)


# What came back


def test_a_good_answer(there, server):
    there.answer = lambda prompt, before: completion(" A quay.\n")
    assert server.ask("A harbor?") == Reply(text="A quay.", tokens=BILLED)
    assert there.requests[-1] == {
        "model": "m", "max_tokens": 50, "temperature": 0.7,
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": "A harbor?"}],
    }  # fmt: skip
    assert there.keys[-1] == f"Bearer {KEY}"


HALF = completion("A quay.").body[:90]
ANSWERS = {
    "refusal": (completion(None, refusal="I will not."), "refused", "I will not.", BILLED),
    "filter": (completion("A", ended="content_filter"), "refused", "by the server's", BILLED),
    "cut off": (completion("A quay th", ended="length"), "cut off", "at 50 tokens", BILLED),
    "cut off before a word": (completion(None, ended="length"), "cut off", "at 50 tokens", BILLED),
    "page": (page(), "no JSON", "a web page", None),
    "cut page": (Sent(b"Gateway", kind="text/plain"), "no JSON", "text that is no JSON", None),
    "half JSON": (Sent(HALF), "no JSON", "JSON that is cut off", None),
    "no body": (Sent(b""), "no JSON", "JSON that is cut off", None),
    "no UTF-8": (Sent(b'{"choices": "\xff"}'), "no JSON", "JSON that is cut off", None),
    "deep": (Sent(b"[" * 100_000), "no answer", "RecursionError", None),
    "no choices": (completion("", choices=[]), "no answer", "no choices", BILLED),
    "null choices": (completion("", choices=None), "no answer", "no choices", BILLED),
    "odd choices": (completion("", choices="x"), "no answer", "no choices", BILLED),
    "a list": (Sent(b"[1]"), "no answer", "no choices", None),
    "null": (Sent(b"null"), "no answer", "no choices", None),
    "empty": (completion(" \n"), "no answer", "empty", BILLED),
    "tool call": (completion(None), "no answer", "empty", BILLED),
    "parts": (completion([{"type": "text", "text": "A"}]), "no answer", "empty", BILLED),
    "half a character": (completion("\ud83d"), "no answer", "half a character", BILLED),
    "no usage": (completion("A.", usage=None), "", "", None),
    "odd usage": (completion("A.", usage={"prompt_tokens": "9"}), "", "", None),
    "key in the text": (completion(f"It is {KEY}."), "key shown", "has the key", BILLED),
    "limit": (error(429, "slow"), "rate limit", "429 slow", NOTHING),
    "credit": (error(429, code="insufficient_quota"), "no credit", "429", NOTHING),
    "payment": (error(402), "no credit", "402", NOTHING),
    "key": (error(401), "not allowed", "401", NOTHING),
    "model": (error(404, "no such model"), "not found", "404 no such model", NOTHING),
    "too long": (error(400, "context is 2048"), "bad request", "400 context is", NOTHING),
    "policy": (error(400, code="content_filter"), "refused", "400", NOTHING),
    "conflict": (error(409), "server error", "409", NOTHING),
    "crash": (error(500, "oh"), "server error", "500 oh", NOTHING),
    "bad gateway": (page("Bad", 502), "server error", "502", NOTHING),
    "odd error": (Sent(b'{"error": ["x"]}', 503), "server error", "503", NOTHING),
    "dropped": (Sent(b"", drop=True), "dropped connection", "disconnected", None),
    "cut body": (Sent(HALF, cut=True), "dropped connection", "complete message", None),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_comes_back_is_a_reply(there, server, name):
    sent, reason, detail, tokens = ANSWERS[name]
    there.answer = lambda prompt, before: sent
    reply = server.ask("?")
    assert (reply.reason, reply.tokens) == (reason, tokens)
    assert detail in reply.detail and bool(detail) == bool(reply.detail)
    assert reason == "" or sum(reason in known for known in (AGAIN, FINAL, STOP)) == 1
    assert len(reply.detail) <= 210 and KEY not in repr(reply)


def test_an_answer_that_was_cut_off_keeps_its_text(there, server):
    there.answer = lambda prompt, before: completion("A quay th", ended="length")
    assert server.ask("?").text == "A quay th"


def test_nobody_answers(there):
    waits = threading.Event()

    def hang(prompt, before):
        waits.wait(60)
        return completion("late")

    there.answer = hang
    reply = Server(there.url, Key(None), "m", timeout=0.05).ask("?")
    waits.set()
    assert (reply.reason, reply.detail) == ("time-out", "no byte within 0.05 s")
    assert reply.tokens is None  # it may have been written, and billed
    there.answer = lambda prompt, before: completion("A.")
    assert Server(there.url, Key(None), "m").ask("?").text == "A."


def test_nobody_is_there():
    with serving() as gone:
        pass
    reply = Server(gone.url, Key(None), "m").ask("?")
    assert (reply.reason, reply.tokens) == ("dropped connection", NOTHING)


def test_openai_itself_gets_the_name_it_wants():
    server = Server("https://api.openai.com/v1/", Key(KEY), "m", max_tokens=9)
    assert server._settings == {"model": "m", "max_completion_tokens": 9}


# The key


@pytest.mark.parametrize(
    ("url", "says"),
    [("ftp://x", "no address"), ("localhost:8000", "no address"), ("http://", "no address"),
     ("http://x:port/", "no address"), ("http://[::1/v1", "no address"),
     ("https://me:pass@x/v1", "has a password"), ("https://x/v1?key=abc", "has a password"),
     (f"https://x/{KEY}", "has the key in it"), ("http://example.com/v1", "unencrypted")],
)  # fmt: skip
def test_addresses_that_a_key_is_not_sent_to(url, says):
    with pytest.raises(ConfigError, match=says) as refused:
        checked_address(url, Key(KEY))
    assert not any(secret in str(refused.value) for secret in (KEY, "pass@", "abc"))


def test_addresses_that_a_key_is_sent_to():
    for url in ("https://example.com/v1", "http://localhost:1/v1", "http://[::1]/v1"):
        assert checked_address(url + "/", Key(KEY)) == url
    assert checked_address("http://example.com/v1", Key(None))


def test_a_key_comes_from_the_environment_or_from_colab(monkeypatch):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert find_key("MY_KEY").reveal() == KEY and KEY not in repr(find_key("MY_KEY"))
    assert not find_key("none") and find_key("none").hide("none") == "none"
    monkeypatch.delenv("MY_KEY")
    secrets = {"MY_KEY": KEY}
    colab = types.ModuleType("google.colab.userdata")
    monkeypatch.setattr(colab, "get", lambda name: secrets[name], raising=False)
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "google.colab.userdata", colab)
    assert find_key("MY_KEY").reveal() == KEY
    for typed in ("OTHER", KEY):  # the key itself in the name's place
        with pytest.raises(ConfigError, match="there is no key") as refused:
            find_key(typed)
        assert typed not in str(refused.value)


@pytest.mark.parametrize("bad", ["short", "with a blank", 'quote"quote', "schlüssel-schlüssel"])
def test_what_cannot_be_a_key(monkeypatch, bad):
    monkeypatch.setenv("MY_KEY", bad)
    with pytest.raises(ConfigError, match="cannot be a key") as refused:
        find_key("MY_KEY")
    assert bad not in str(refused.value)


# Waiting


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"retry-after": "7"}, 7), ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
     ({"retry-after": "-3"}, None), ({"retry-after": "0"}, None), ({"retry-after": "soon"}, None),
     ({"retry-after": "inf"}, None),
     ({"retry-after": "nan"}, None),
     ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, None)],
)  # fmt: skip
def test_how_long_a_server_asks_to_wait(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_to_wait_for():
    seconds = retry_after({"retry-after": formatdate(time() + 5000, usegmt=True)})
    assert seconds is not None and 4000 < seconds <= 5000


def test_all_wait_when_one_is_told_to(tmp_path):
    """And it is said once, however many are told the same."""
    clock, told, lines = Time(), [], []

    def limited(prompt, before):
        told.append(clock.now)
        return good(prompt) if clock.now >= 30 else Reply("rate limit", wait=30 - clock.now)

    tally, _ = ask(limited, tmp_path / "o.jsonl", pace=clock.pace(), report=lines.append)
    assert tally.kept == 3 and tally.again == {"rate limit": len(told) - 3}
    assert clock.slept[0] == 30 and sum(now >= 30 for now in told) == 3
    assert lines == ["rate limit: waiting 30 s, as the server asks"]


def test_a_wait_is_news_once():
    pace = Time().pace()
    assert pace.hold(30) and not pace.hold(30) and not pace.hold(30.5) and pace.hold(40)
    assert pace.left() == 40 and not pace.hold(7)
    pace.wait()
    assert pace.left() == 0 and pace.hold(7)


def test_waits_grow_where_the_server_says_nothing(tmp_path):
    clock = Time()
    tally, _ = ask(
        lambda prompt, before: Reply("server error", detail="500"), tmp_path / "o.jsonl", n=1,
        pace=clock.pace(), tries=8,
    )  # fmt: skip
    assert tally.failed == {"server error": 1} and tally.again == {"server error": 7}
    assert all(2**i / 2 <= s <= 2**i for i, s in enumerate(clock.slept[:5], 1))
    assert max(clock.slept) <= 60 and len(clock.slept) == 7


def test_a_wait_of_hours_ends_the_call(tmp_path):
    clock = Time()
    tally, ledger = ask(
        lambda prompt, before: Reply("rate limit", wait=7200), tmp_path / "o.jsonl",
        pace=clock.pace(), workers=1,
    )  # fmt: skip
    assert "wait for 120 minutes" in tally.ended and clock.slept == []
    assert len(ledger.open(50)) == 3


# Many questions


def test_each_failure_is_written_down_and_only_some_are_final(tmp_path):
    replies = {
        "prompt 0": [Reply("refused", detail="no", tokens=BILLED)],
        "prompt 1": [Reply("cut off", "A qu", "at 50 tokens", BILLED)],
        "prompt 2": [Reply("time-out", tokens=None)] * 2 + [good("prompt 2")],
        "prompt 3": [Reply("no JSON", tokens=None)] * 3,
        "prompt 4": [good("prompt 4")],
    }
    fake = Fake(lambda prompt, before: replies[prompt][before])
    out = tmp_path / "o.jsonl"
    tally, ledger = ask(fake, out, n=5, tries=3, budget=(budget := Budget(None)))
    assert (tally.kept, tally.dropped, tally.ended) == (2, 0, "")
    assert tally.failed == {"refused": 1, "cut off": 1, "no JSON": 1}
    assert tally.again == {"time-out": 2, "no JSON": 2}
    failed = {record["number"]: record for record in ledger.records("failed")}
    assert ledger.failures() == tally.failed
    assert failed[1]["text"] == "A qu" and failed[0]["detail"] == "no"
    most = at_most("prompt 2", 50)
    assert budget.spent == ledger.spent() and budget.spent.written == 4 * 20 + 5 * most.written
    assert [q.number for q in ledger.open(50)] == [3]
    assert [q.number for q in ledger.open(51)] == [1, 3]  # an answer may be longer now
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0].keys() == {
        "text", "model", "tone", "prompt", "number", "made_by", "tokens_in", "tokens_out"
    }  # fmt: skip


@pytest.mark.parametrize("reason", sorted(STOP))
def test_what_no_other_question_would_mend_ends_all(tmp_path, reason):
    fake = Fake(lambda prompt, before: Reply(reason, detail="401"))
    tally, ledger = ask(fake, tmp_path / "o.jsonl", n=9, workers=1)
    assert tally.ended == f"{reason}: 401; {STOP[reason]}"
    assert fake.asked.total() == 1 and len(ledger.open(50)) == 9


def test_many_in_a_row_without_a_text_end_all(tmp_path):
    tally, _ = ask(
        lambda prompt, before: Reply("cut off", detail="at 50 tokens"), tmp_path / "o.jsonl",
        n=IN_A_ROW + 9, workers=1,
    )  # fmt: skip
    assert tally.failed == {"cut off": IN_A_ROW} and f"{IN_A_ROW} questions in a row" in tally.ended


def test_it_can_be_told_to_stop(tmp_path):
    stopped = threading.Event()

    def answer(prompt, before):
        if prompt == "prompt 1":
            stopped.set()
        return good(prompt)

    fake, out = Fake(answer), tmp_path / "o.jsonl"
    tally, ledger = ask(fake, out, n=9, workers=1, stopped=stopped)
    assert tally.ended == "it was interrupted" and tally.kept == 2 == fake.asked.total()
    tally, ledger = ask(fake, out, n=9)
    assert len(ledger.records("kept")) == 9 and set(fake.asked.values()) == {1}


def test_a_fault_of_ours_is_not_taken_for_one_of_the_server(tmp_path):
    with pytest.raises(ZeroDivisionError):
        ask(lambda prompt, before: 1 / 0, tmp_path / "o.jsonl")


# What it costs


def test_no_question_is_asked_that_might_cost_too_much(tmp_path):
    prices, out = Prices(1.0, 100.0), tmp_path / "o.jsonl"
    most = prices.cost(at_most("prompt 0", 50))
    answered = prices.cost(BILLED)
    limit = 4 * answered + most  # a fifth one after four, if none is under way beside it
    budget = Budget(prices, limit)
    tally, ledger = ask(good, out, n=9, budget=budget, workers=3)
    assert tally.kept == 5 and "--max-cost" in tally.ended and budget.cost <= limit
    again = Budget(prices, limit, ledger.spent())
    assert ask(good, out, n=9, budget=again)[0].kept == 0  # what was spent before counts
    assert ask(good, out, n=9, budget=Budget(prices, 1, ledger.spent()))[0].kept == 4


def test_what_is_under_way_is_set_aside():
    most = Tokens(0, 100)
    budget = Budget(Prices(1e4, 1e4), 1.5)  # a dollar each, and there is one and a half
    assert budget.take(most) and not budget.take(most)
    budget.settle(most, Tokens(20, 20))
    assert budget.cost == 0.4 and budget.take(most) and not budget.take(most)


def test_what_a_server_does_not_tell_counts_as_the_most(tmp_path):
    budget = Budget(Prices(1, 1), 1)
    silent = Reply(text="A quay.", tokens=None)
    ask(lambda prompt, before: silent, tmp_path / "o.jsonl", n=1, budget=budget)
    assert budget.spent == at_most("prompt 0", 50)


@pytest.mark.parametrize(
    ("prices", "limit", "says"),
    [(None, 1.0, "goes with --prices"), (Prices(-1, 0), None, "0 or more"),
     (Prices(1, float("nan")), None, "0 or more"), (Prices(1, 1), -1.0, "0 or more")],
)  # fmt: skip
def test_prices_that_are_none(prices, limit, says):
    with pytest.raises(ConfigError, match=says):
        Budget(prices, limit)


# Which texts stay


def test_near_duplicates(tmp_path):
    words = story("prompt 0").split()
    like = " ".join([*words[:12], "Nothing", *words[13:]]).upper() + "!"
    alike = jaccard(runs(story("prompt 0")), runs(like))
    assert 0.5 < alike < 1
    texts = {"prompt 0": story("prompt 0"), "prompt 1": like, "prompt 2": story("prompt 2")}
    tally, ledger = ask(
        lambda prompt, before: Reply(text=texts[prompt]), tmp_path / "o.jsonl", workers=1
    )
    (dropped,) = ledger.records("dropped")
    assert (tally.kept, tally.dropped) == (2, 1) and dropped["text"] == like
    assert (dropped["resembles"], dropped["similarity"]) == (0, round(alike, 3))
    tally, ledger = ask(good, tmp_path / "o.jsonl")  # it has its end
    assert tally.kept == tally.dropped == 0


def test_a_threshold():
    near = NearDuplicates(1)
    near.add(4, "A bell, at the quay.")
    assert near.nearest("a bell at the quay") == (4, 1.0)
    assert near.nearest("a bell at the mill") is None
    assert runs("One") == {"one"} and runs("!") == {""} and jaccard({"a", "b"}, {"b", "c"}) == 1 / 3
    for bad in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="--near"):
            NearDuplicates(bad)


# What is asked


def test_fields_are_drawn_evenly_and_go_on():
    fields = {"theme": ["harbor", "mill", "cave"], "tone": ["cold", "warm"]}
    asked = from_template("A {tone} {theme}, {tone}!", fields, 60, seed=1)
    assert asked[:20] == from_template("A {tone} {theme}, {tone}!", fields, 20, seed=1)
    assert asked != from_template("A {tone} {theme}, {tone}!", fields, 60, seed=2)
    for name, values in fields.items():
        counts = Counter(question.fields[name] for question in asked)
        assert counts == dict.fromkeys(values, 60 // len(values))
    assert len({tuple(question.fields.values()) for question in asked}) == 6
    assert any(a.fields == b.fields for a, b in pairwise(asked))  # dice, and no rota
    for q in asked:
        assert q.prompt == f"A {q.fields['tone']} {q.fields['theme']}, {q.fields['tone']}!"


@pytest.mark.parametrize(
    ("template", "fields", "says"),
    [("A {tone}", {}, "no such field"), ("A", {"tone": ["x"]}, "no place"),
     ("A {tone}", {"tone": ["x", "x"]}, "each once"), ("A {tone}", {"tone": [""]}, "none empty"),
     ("A {text}", {"text": ["x"]}, "rename it"), (" ", {}, "is empty"),
     ("A {ton}", {"tone": ["x"]}, "did you mean tone")],
)  # fmt: skip
def test_templates_that_are_none(template, fields, says):
    with pytest.raises(ConfigError, match=says):
        from_template(template, fields, 2)


def test_prompts_of_a_file(tmp_path):
    place = tmp_path / "p.jsonl"
    place.write_text('"a\\nb"\r\n{"prompt": "c", "id": 7, "tone": "cold"}\n', encoding="utf-8")
    assert from_file(place) == [
        Question(0, "a\nb", {}), Question(1, "c", {"id": 7, "tone": "cold"})
    ]  # fmt: skip
    assert len(from_file(place, 1)) == 1
    (tmp_path / "p.txt").write_text("a\nb\n")
    assert from_file(tmp_path / "p.txt") == [Question(0, "a", {}), Question(1, "b", {})]


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"text": "a"}', "line 1 .* is no prompt"), ('""', "line 1"), ("[", "line 1"),
     ('"\\ud83d"', "half a character"), ('{"prompt": "a", "number": 1}', "rename it"),
     ("", "has 0 prompts")],
)  # fmt: skip
def test_lines_that_are_no_prompt(tmp_path, line, says):
    (tmp_path / "p.jsonl").write_text(line)
    with pytest.raises((ConfigError, DataError), match=says):
        from_file(tmp_path / "p.jsonl")
    (tmp_path / "p.txt").write_text("a\n\nb\n")
    with pytest.raises(DataError, match="line 2 of"):
        from_file(tmp_path / "p.txt")


# The files


def test_files_cut_anywhere_go_on(tmp_path):
    """As a kill leaves them: whole lines and perhaps half of one."""

    def answer(prompt, before):
        if prompt == "prompt 1":
            return Reply("refused", tokens=BILLED)
        return good("prompt 0" if prompt == "prompt 3" else prompt)

    whole = tmp_path / "whole.jsonl"
    ask(answer, whole, n=6, workers=1)
    parts = {kind: whole.with_suffix(f".{kind}.jsonl") for kind in ("dropped", "failed")}
    cut = tmp_path / "cut.jsonl"
    for keep in (0, 1, 97, 300, 301, len(whole.read_bytes()) - 1):
        for source, path in ((whole, cut), *((p, cut.with_suffix(f".{k}.jsonl"))
                             for k, p in parts.items())):  # fmt: skip
            path.write_bytes(source.read_bytes()[:keep])
        fake = Fake(answer)
        _, ledger = ask(fake, cut, n=6)
        ends = Counter(r["number"] for kind in ("kept", "dropped") for r in ledger.records(kind))
        assert set(ends) | {1} == set(range(6)) and set(ends.values()) == {1}
        for path in ledger.paths.values():
            assert all(json.loads(line) for line in path.read_bytes().split(b"\n")[:-1])
            assert path.read_bytes().endswith(b"\n")
        assert set(fake.asked.values()) <= {1}


def test_a_file_of_another_command_is_refused(tmp_path):
    out = tmp_path / "o.jsonl"
    ask(good, out)
    for made_by, asked in (
        ("other", questions(3)),
        ("made", [Question(0, "x", {}), *questions(3)[1:]]),
    ):
        with (
            pytest.raises(DataError, match="line 1 of .*o.jsonl is not"),
            Ledger(out, made_by, asked),
        ):
            pass
    with Ledger(out, "made", questions(3)), pytest.raises(DataError, match="another process"):
        with Ledger(out, "made", questions(3)):
            pass
    with pytest.raises(DataError, match="ends in .jsonl"):
        Ledger(tmp_path / "o.txt", "made", [])
    (tmp_path / "o.failed.jsonl").write_text("7\n")
    with pytest.raises(DataError, match="line 1 of .*failed"), Ledger(out, "made", questions(3)):
        pass


def test_blocks(tmp_path):
    record = {"text": "A quay.", "theme": "harbor", "tone": "cold", "id": 7, "prompt": "p",
              "model": "m", "made_by": "x"}  # fmt: skip
    cold = "<LOC><|harbor|><|cold|>\nA quay.\n</LOC>"
    assert block(record) == block(record | {"text": "<LOC>\nA quay.\n</LOC>"}) == cold
    assert block({"text": "A mill.", "number": 0}) == "<LOC>\nA mill.\n</LOC>"
    spoiled = {"text": "A </LOC> B", "number": 2}
    plain = {"text": "A mill.", "number": 0}
    place = tmp_path / "new" / "blocks.txt"
    assert write_blocks(place, [spoiled, record | {"number": 1}, plain]) == 1
    assert place.read_text() == "<LOC>\nA mill.\n</LOC>\n\n" + cold + "\n\n"


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="pip install openai"):
        Server("http://localhost/v1", Key(None), "m")
