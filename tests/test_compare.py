"""`gptlib compare`: pairs without names, votes that are kept at once, what they add up to."""

import json
import threading
from collections import Counter

import pytest

from gptlib.cli import compare, main
from gptlib.errors import ConfigError, DataError
from gptlib.serving.ballot import CHOICES, Ballot, Tally, read_texts


def write(path, texts) -> None:
    path.write_text("".join(json.dumps({"prompt": p, "text": t}) + "\n" for p, t in texts), "utf8")


@pytest.fixture
def files(tmp_path):
    """The files of two models that wrote twelve texts, and a place for votes."""
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write(a, [(f"prompt {n}", f"<b>Alma's {n}") for n in range(12)])
    write(b, [(f"prompt {n}", f"Otto's {n}") for n in reversed(range(12))])
    return a, b, tmp_path / "votes.jsonl"


def choice_for(shown, name: str) -> str:
    return "left" if name in shown.left else "right"


def test_texts_are_paired_by_prompt_and_placed_by_a_coin(files):
    ballot, left = Ballot(*files), Counter()
    while shown := ballot.next():
        assert shown.prompt.split()[1] == shown.left.split()[1] == shown.right.split()[1]
        left[shown.left.split("'")[0]] += 1
        ballot.vote(shown.key, "tie")
    assert sum(left.values()) == 12 and min(left.values()) >= 2 and len(left) == 2


def test_the_place_is_the_same_when_the_page_is_opened_again_and_another_with_another_seed(files):
    def places(seed):
        votes = files[2].with_name(f"{seed}.jsonl")
        ballot, found = Ballot(*files[:2], votes, seed), []
        while shown := ballot.next():
            assert Ballot(*files[:2], votes, seed).next() == shown
            found.append(shown.left)
            ballot.vote(shown.key, "left")
        return found

    assert places(0) != places(1)


def test_votes_are_counted_for_the_text_and_not_for_the_place(files):
    ballot = Ballot(*files)
    for n in range(11):
        shown = ballot.next()
        choice = "tie" if n == 10 else choice_for(shown, "Alma" if n < 9 else "Otto")
        assert ballot.vote(shown.key, choice)
    tally = ballot.tally()
    assert (tally.a, tally.b, tally.ties, tally.open, tally.decided) == (9, 1, 1, 1, 10)
    assert tally.p_value == pytest.approx(22 / 1024)
    assert ballot.status() == {"votes": 11, "of": 12}
    lines = " ".join(tally.lines("base", "tuned"))
    assert "base won 9, tuned won 1, 1 tie." in lines and "p = 0.021" in lines
    assert "90%, 95% interval 60% to 98%" in lines and "1 pair without a vote." in lines


def test_a_vote_is_on_the_disk_at_once_and_goes_on_from_there(files):
    first = Ballot(*files)
    for n, choice in enumerate(CHOICES, 1):
        first.vote(first.next().key, choice)
        assert len(files[2].read_text("utf8").splitlines()) == n
        assert Ballot(*files).tally() == first.tally()
    with files[2].open("a") as torn:
        torn.write('{"item": "half of')
    again = Ballot(*files)
    assert again.next() == first.next() and again.tally() == first.tally()
    again.vote(again.next().key, "left")
    assert len(files[2].read_text("utf8").splitlines()) == 4


def test_a_second_press_changes_nothing(files):
    ballot = Ballot(*files)
    key = ballot.next().key
    votes = []
    threads = [
        threading.Thread(target=lambda c=c: votes.append(ballot.vote(key, c))) for c in CHOICES * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(votes) == [False] * 8 + [True]
    assert ballot.status()["votes"] == 1 == len(files[2].read_text("utf8").splitlines())
    with pytest.raises(ConfigError, match="'up' on pair"):
        ballot.vote(key, "up")
    with pytest.raises(ConfigError, match="pair 'x'"):
        ballot.vote("x", "left")


def test_messages_are_read_and_several_texts_of_one_prompt(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    said = [("system", "s"), ("user", "- beat"), ("assistant", "prose")]
    line = {"messages": [{"role": role, "content": content} for role, content in said]}
    a.write_text(json.dumps(line) + "\n\n" + json.dumps(line) + "\n")
    assert read_texts(a) == [("- beat", "prose")] * 2
    write(b, [("- beat", "prose"), ("- beat", "other")])
    ballot = Ballot(a, b, tmp_path / "votes.jsonl")
    assert ballot.total == 1 and ballot.tally().same == 1
    write(b, [("- beat", "other"), ("- beat", "other")])
    assert Ballot(a, b, tmp_path / "votes.jsonl").total == 2, "alike, and two all the same"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 2 of .*a.jsonl is not JSON"),
        ('{"prompt": "p"}', "line 2 of .*a.jsonl is no text"),
        ('{"messages": [{"role": "user", "content": "p"}]}', "line 2 of .*a.jsonl is no text"),
        ('{"prompt": "prompt 0", "text": "again"}', "a.jsonl has 2 and .*b.jsonl 1 texts"),
        ('{"prompt": "new", "text": "x"}', "a.jsonl has 1 and .*b.jsonl 0 texts for .*'new'"),
    ],
)
def test_a_wrong_file_of_texts_is_named(files, text, reason, capsys):
    lines = files[0].read_text("utf8").splitlines()
    files[0].write_text("\n".join([lines[0], text, *lines[1:]]))
    assert main(["compare", *map(str, files[:2]), "--votes", str(files[2])]) == 2
    with pytest.raises(DataError, match=reason):
        Ballot(*files)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"item": "x", "vote": "left"}, "line 2 .* is no vote on texts of these two files"),
        ([], "line 2 .* is no vote"),
        ("again", "line 2 .* second vote on one pair"),
        ({"winner": "c"}, "line 2 .* who won"),
    ],
)
def test_a_wrong_vote_is_named(files, line, reason):
    ballot = Ballot(*files)
    ballot.vote(ballot.next().key, "left")
    text = files[2].read_text("utf8")
    if line == "again":
        files[2].write_text(text * 2)
    else:
        about = {"item": ballot.next().key} | line if isinstance(line, dict) else line
        files[2].write_text(text + json.dumps(about) + "\n")
    with pytest.raises(DataError, match=reason):
        Ballot(*files)


def test_without_votes_there_is_nothing_to_test():
    nothing = Tally(a=0, b=0, ties=2, open=0, left=0, same=0)
    assert nothing.p_value == 1 and nothing.ci95 == (0, 1)
    assert nothing.lines("a", "b") == ["a won 0, b won 0, 2 ties."]


def test_equal_files_leave_nothing_to_choose(files):
    with pytest.raises(DataError, match="12 texts of both files are equal"):
        Ballot(files[0], files[0], files[2])


@pytest.fixture
def served(monkeypatch):
    """A function that runs the command up to the moment when it would serve."""
    calls = []

    def voting(build, listening, ready, status, close):
        calls.append((listening.getsockname(), status()))
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "serve_page", voting)
    return calls


def test_only_this_machine_votes_and_the_end_is_told(files, served, capsys):
    argv = ["compare", *map(str, files[:2]), "--votes", str(files[2]), "--port", "0"]
    assert main(argv) == 130
    ((address, status),) = served
    assert address[0] == "127.0.0.1" and status == {"votes": 0, "of": 12}
    assert "a.jsonl won 0, b.jsonl won 0, 0 ties.\n12 pairs" in capsys.readouterr().out
    ballot = Ballot(*files)
    while shown := ballot.next():
        ballot.vote(shown.key, choice_for(shown, "Otto"))
    assert main(argv) == 0 and len(served) == 1, "nothing is left to ask"
    assert "b.jsonl won 12" in capsys.readouterr().out


def test_without_gradio_it_says_what_to_install(files, monkeypatch, capsys):
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
    assert main(["compare", *map(str, files[:2]), "--votes", str(files[2])]) == 2
    assert "pip install gradio" in capsys.readouterr().err


def test_the_page_shows_texts_and_never_names_before_the_end(files):
    pytest.importorskip("gradio")
    from gptlib.serving.booth import Booth

    ballot = Ballot(*files)
    booth = Booth(ballot, ("<base>", "tuned"))
    shown = booth.show()
    assert "base" not in "".join(shown) and shown[-1].startswith("<p>Pair 1 of 12.")
    again = booth.vote(shown[0], "left")
    assert again[0] != shown[0]
    assert "had a vote already" in booth.vote(shown[0], "right")[-1]
    assert "give one of left, right, tie" in booth.vote(again[0], "&lt;")[-1]
    while (shown := booth.show())[0]:
        booth.vote(shown[0], "tie")
    assert shown[:4] == [""] * 4 and "&lt;base&gt; won" in shown[-1] and "Ctrl-C" in shown[-1]
    assert booth.vote("", "left") == shown, "a key pressed at the end"
