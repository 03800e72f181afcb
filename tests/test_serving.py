"""The desk and the gate behind `gptlib serve`: what a reader gets, what nobody gets. No browser."""

import ast
import asyncio
import base64
import socket
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from marked_run import marked_run

import gptlib
from gptlib import generate, load_run
from gptlib.cli import main, serve
from gptlib.errors import ConfigError, GptlibError
from gptlib.serving.asked import DEFAULTS, LINK_LENGTH, Asked, asked, from_query, to_query
from gptlib.serving.desk import Desk, Limits
from gptlib.serving.gate import BODY_BYTES, Gate
from gptlib.serving.names import token_name
from gptlib.serving.server import is_loopback, open_port
from gptlib.stories import START, TITLE, TITLE_END
from gptlib.tokenizers import CharTokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40)
NUMBER = st.floats(-1e9, 1e9)
WHOLE = st.integers(0, 2**53 - 1)
KINDS = {str: TEXT, float: NUMBER, int: WHOLE, type(None): st.none() | WHOLE}
ASKED = st.builds(Asked, **{name: KINDS[type(value)] for name, value in DEFAULTS.items()})


@pytest.fixture(scope="module")
def tales():
    return load_run("tales")


@pytest.fixture
def desk(tales) -> Desk:
    return Desk(tales[0], tales[1], begin="\n\n", stop="\n\n")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    return marked_run(tmp_path_factory.mktemp("marked"))


def last(texts):
    *_, text = texts
    return text


@given(what=ASKED)
def test_a_link_asks_for_the_same_again(what):
    query, note = to_query(what)
    assert from_query("?" + query) == (what, []) and not note


@given(query=st.text(max_size=60) | ASKED.map(lambda what: to_query(what)[0]).map(lambda q: q[1:]))
def test_any_link_opens_the_page(query):
    what, notes = from_query(query)
    assert isinstance(what, Asked) and all(note.endswith(".") for note in notes)


def test_what_a_link_has_wrong_is_named():
    what, notes = from_query("temperature=hot&top_k=2.5&min_p=nan&seed=-1&title=A&clicks=9")
    assert what == Asked(title="A")
    assert [note.split()[3] for note in notes] == ["temperature", "top_k", "min_p", "seed"]
    assert "more than a hundred parts" in from_query("&".join(["top_k=1"] * 101))[1][0]


def test_a_long_opening_is_left_out_of_the_link():
    query, note = to_query(Asked(opening="ä" * LINK_LENGTH, top_k=3))
    assert query == "top_k=3" and "leaves it out" in note
    query, note = to_query(Asked(title="ä" * LINK_LENGTH))
    assert query == "" and "too long for a link" in note


def test_what_a_page_or_a_script_sends_is_checked():
    assert asked({"top_k": 3.0, "seed": " 7 ", "stop": "a\r\n\nb"}).stops() == ["a", "b"]
    assert asked({"seed": "", "temperature": None, "opening": None}) == Asked()
    for wrong in ({"title": 3}, {"top_p": "x"}, {"top_k": 1.5}, {"seed": "x"}, {"seed": 2**53},
                  {"min_p": True}, {"temperature": float("nan")}):  # fmt: skip
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is "):
            asked(wrong)


def test_a_text_grows_and_is_what_generate_writes(desk, tales):
    model, tokenizer, _ = tales
    what = Asked(opening="How ", max_new_tokens=30, seed=3, top_k=20, repetition_penalty=1.1)
    texts = [text.text for text in desk.write("a", what)]
    whole = texts[-1]
    assert all(whole.startswith(text) for text in texts) and whole.startswith("How ")
    rows = generate(
        model, tokenizer.encode("\n\nHow "), 30, 0.8, 20, repetition_penalty=1.1, seed=3
    )
    assert tokenizer.decode(rows[0].tolist())[2:].startswith(whole)
    assert last(desk.write("b", what)).text == whole
    fresh = last(desk.write("b", Asked(max_new_tokens=9)))
    assert last(desk.write("c", Asked(max_new_tokens=9, seed=fresh.seed))).text == fresh.text
    assert desk.status() == {"writing": 0, "texts": 4, "tokens": desk.status()["tokens"]}


def test_a_text_says_why_it_ended(desk, tales, monkeypatch):
    assert "length" in last(desk.write("a", Asked(max_new_tokens=2, seed=1))).ended
    text = last(desk.write("a", Asked(seed=1, stop="zzz\ne")))
    assert text.ended == "It came to its end" and "e" not in text.text
    short = Desk(*tales[:2], limits=Limits(seconds=0))
    assert "0 seconds, the most" in last(short.write("a", Asked())).ended
    desk.close()
    text = last(desk.write("a", Asked()))
    assert text.ended == "It was stopped" and not text.new


def test_stop_ends_it_at_the_next_token(desk, monkeypatch):
    monkeypatch.setattr("gptlib.serving.desk.PACE", 0)
    texts = desk.write("a", Asked(max_new_tokens=1000, seed=1))
    for _ in range(5):
        next(texts)
    assert desk.status()["writing"] == 1
    so_far = len(desk.halt("a").new)
    assert len(last(texts).new) == so_far and desk.status()["writing"] == 0
    assert last(desk.write("a", Asked())).new == [], "Stop also holds for what still waits"
    desk.come("a")
    assert len(last(desk.write("a", Asked(max_new_tokens=3))).new) == 3


def test_a_text_that_nobody_takes_is_not_written(desk, monkeypatch):
    monkeypatch.setattr("gptlib.serving.desk.PACE", 0)
    texts = desk.write("a", Asked(max_new_tokens=1000))
    next(texts)
    tokens = desk.status()["tokens"]
    assert desk.status() == {"writing": 1, "texts": 0, "tokens": tokens}
    texts.close()
    assert desk.status() == {"writing": 0, "texts": 1, "tokens": tokens}


def test_a_reader_has_one_text_at_a_time(desk, monkeypatch):
    monkeypatch.setattr("gptlib.serving.desk.PACE", 0)
    first = desk.write("a", Asked(max_new_tokens=1000))
    next(first)
    assert len(last(desk.write("a", Asked(max_new_tokens=5, seed=2))).new) == 5
    assert last(first).ended == "Another text was begun"


def test_texts_written_together_are_those_written_alone(desk):
    def write(seed, found):
        found[seed] = last(desk.write(str(seed), Asked(max_new_tokens=40, seed=seed))).text

    alone, together = {}, {}
    for seed in range(4):
        write(seed, alone)
    threads = [threading.Thread(target=write, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_long_opening_is_cut_to_what_the_model_reads(desk, marked, tales):
    most = tales[0].config.block_size
    text = last(desk.write("a", Asked(opening="the " * 300, max_new_tokens=0)))
    assert len(text.prompt) == most and text.text == "the " * 300
    assert f"has 1,200 tokens; the model reads the last {most - 2} of them" in text.note
    model, tokenizer = marked
    desk = Desk(model, tokenizer)
    text = last(desk.write("a", Asked(title="A bell", opening="Ada. " * 90, max_new_tokens=0)))
    assert len(text.prompt) == 64 and text.prompt[0] == tokenizer.special_tokens[START]
    with pytest.raises(ConfigError, match="the title has .* reads 64 at most; give a shorter one"):
        next(desk.write("a", Asked(title="q w x z " * 50)))


def test_what_nobody_gets(desk, tales):
    for what, says in [
        (Asked(opening="x" * 100_001), "opening has 100,001 characters; give at most 100,000"),
        (Asked(title="x" * 501), "title has 501 characters"),
        (Asked(max_new_tokens=1001), "max_new_tokens is 1,001; this page writes at most 1,000"),
        (Asked(temperature=-1), "temperature is -1"),
        (Asked(top_k=9999), "top_k is 9999"),
        (Asked(opening="ß"), "the character 'ß' at position 0"),
        (Asked(title="A"), "knows no titles"),
    ]:
        with pytest.raises(GptlibError, match=says):
            next(desk.write("a", what))
    assert desk.status() == {"writing": 0, "texts": 0, "tokens": 0}


def test_a_story_is_asked_for_with_its_marks(marked):
    model, tokenizer = marked
    desk = Desk(model, tokenizer)
    what = Asked(title=" A\nbell ", genre="wager", opening=f"Ada {TITLE} sat", max_new_tokens=0)
    text = last(desk.write("a", what))
    head = f"{START}<|wager|>{TITLE}A bell{TITLE_END}\n"
    spelled = tokenizer.encode_ordinary(f"Ada {TITLE} sat")
    assert text.prompt == tokenizer.encode(head) + spelled
    assert text.text == f"A bell\nAda {TITLE} sat"
    assert last(desk.write("a", Asked(max_new_tokens=0))).prompt == tokenizer.encode(START)
    assert "begin with a title" in last(desk.write("a", Asked(opening="A", max_new_tokens=0))).note
    with pytest.raises(ConfigError, match="is a mark and no word of a title"):
        next(desk.write("a", Asked(title=f"A {TITLE_END}")))


def test_what_comes_next_is_what_the_settings_draw_from(desk, tales):
    model, tokenizer, _ = tales
    what = Asked(opening="How ", max_new_tokens=20, seed=1)
    text = last(desk.write("a", what))
    likely = desk.likely(text, what)
    with torch.no_grad():
        probs = (model(torch.tensor([text.prompt + text.new]))[0][0, -1] / 0.8).softmax(-1)
    top = probs.topk(10)
    assert list(likely) == [token_name(tokenizer, i) for i in top.indices.tolist()]
    assert list(likely.values()) == pytest.approx(top.values.tolist(), abs=1e-5)
    first = next(iter(likely))
    assert desk.likely(text, Asked(top_k=1)) == {first: 1}
    assert desk.likely(text, Asked(temperature=0)) == {first: 1}
    assert len(desk.likely(text, Asked(temperature=2))) == 10
    with pytest.raises(ConfigError, match="top_k is 500"):
        desk.likely(text, Asked(top_k=500))


def test_tokens_have_names_that_differ(marked):
    tokenizer = marked[1]
    names = [token_name(tokenizer, token) for token in range(tokenizer.vocab_size)]
    assert len(set(names)) == len(names) and all(name.isprintable() and name for name in names)
    letters = CharTokenizer(" ␣\n<")
    assert [token_name(letters, i) for i in range(4)] == ["⏎", "␣", "<", "token 3"]


def ask(gate, path="/", host="127.0.0.1:80", body=b"", **headers) -> tuple[int, dict]:
    """The status and the headers of a gate's answer."""
    pairs = [(b"host", host.encode())]
    pairs += [(k.replace("_", "-").encode(), str(v).encode()) for k, v in headers.items()]
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    asyncio.run(gate({"type": "http", "path": path, "headers": pairs}, receive, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


async def room(scope, receive, send):
    """What is behind the gate of these tests: it reads a body and is content."""
    message = await receive()
    status = 400 if message["type"] == "http.disconnect" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_only_the_page_and_its_parts_are_there():
    gate = Gate(room)
    for path in ("/", "/config", "/status", "/assets/index-Dph_1.js", "/static/img/logo.svg",
                 "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/a1b2",
                 "/gradio_api/run/predict", "/gradio_api/cancel",
                 "/gradio_api/call/write"):  # fmt: skip
        assert ask(gate, path)[0] == 200, path
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/upload", "/gradio_api/proxy=http://a",
                 "/monitoring", "/gradio_api/component_server", "/gradio_api/stream/a/b/c/d",
                 "/gradio_api/vibe-edit", "/gradio_api/dev/reload", "/gradio_api/runs", "/docs",
                 "/static/../routes.py", "/assets/..%2f", "//",
                 "/gradio_api/deep_link"):  # fmt: skip
        assert ask(gate, path)[0] == 404, path


def test_a_browser_may_fetch_nothing_from_elsewhere():
    policy = ask(Gate(room))[1]["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy


def test_a_foreign_page_stays_outside():
    here = Gate(room, hosts=frozenset({"127.0.0.1", "localhost"}))
    assert ask(here)[0] == ask(here, host="LOCALHOST")[0] == 200
    assert ask(here, host="evil.example")[0] == ask(here, host="evil.example:80")[0] == 421
    assert ask(here, origin="http://127.0.0.1:80")[0] == 200
    assert ask(here, origin="http://evil.example")[0] == ask(here, origin="null")[0] == 403


def test_a_body_that_is_too_long_is_refused_whatever_it_says_of_itself():
    assert ask(Gate(room), content_length=BODY_BYTES + 1)[0] == 413
    assert ask(Gate(room), content_length="many")[0] == 413
    assert ask(Gate(room), body=b"x" * (BODY_BYTES + 1))[0] == 400
    assert ask(Gate(room), body=b"x" * BODY_BYTES)[0] == 200


def test_a_password_guards_everything(monkeypatch):
    async def no_wait(seconds):
        waited.append(seconds)

    waited: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", no_wait)
    gate = Gate(room, password="hen ß")

    def word(text):
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert ask(gate, authorization=word("anybody:hen ß"))[0] == 200 and not waited
    status, headers = ask(gate, "/assets/a.js")
    assert status == 401 and headers["www-authenticate"].startswith("Basic") and not waited
    for wrong in (word("a:hen"), word("hen ß"), word("a:"), "Basic x", "Bearer hen ß"):
        assert ask(gate, authorization=wrong.encode("utf-8").decode("latin-1"))[0] == 401
    assert waited == [1] * 5, "who guesses has to wait"


def test_loopback_is_what_only_this_machine_reaches():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "")))


def test_a_port_that_is_taken_is_named():
    with open_port("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .*a free port with --port"):
            open_port("127.0.0.1", port)
    with pytest.raises(ConfigError, match="port 99999"):
        open_port("127.0.0.1", 99999)


@pytest.fixture
def served(monkeypatch):
    """A function that runs `gptlib serve` up to the moment when it would begin to serve."""
    calls = []
    monkeypatch.setattr(serve, "serve", lambda *given: calls.append(given))

    def run(*flags) -> list:
        assert main(["serve", "tales", "--port", "0", *flags]) == 0
        return calls

    return run


def test_only_this_machine_is_served_unless_asked(served, capsys):
    (desk, name, listening, _, password, workers, waiting) = served()[0]
    assert (name, password, workers, waiting) == ("tales", None, 1, 20)
    assert desk.begin and desk.limits == Limits() and isinstance(listening, socket.socket)
    assert "warning" not in capsys.readouterr().err
    served("--host", "0.0.0.0")
    assert "warning: everybody who can reach 0.0.0.0" in capsys.readouterr().err
    served("--host", "0.0.0.0", "--password", "x")
    assert "warning" not in capsys.readouterr().err


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert main(["serve", "tales"]) == 2
    assert "pip install gradio" in capsys.readouterr().err
    assert main(["serve", "tales", "--password", ""]) == 2


def test_no_other_part_needs_gradio():
    """Three files import it, and these are imported where a page is served."""
    needs = set()
    folder = Path(gptlib.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.parse(path.read_text("utf8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                names.append(getattr(node, "module", None) or "")
                if {n.partition(".")[0] for n in names} & {"gradio", "uvicorn", "fastapi"}:
                    needs.add(path.relative_to(folder).as_posix())
                if {"gptlib.serving.page", "gptlib.serving.booth"} & set(names):
                    assert path.name in ("page.py", "booth.py")
    assert needs == {"serving/page.py", "serving/calls.py", "serving/booth.py"}
