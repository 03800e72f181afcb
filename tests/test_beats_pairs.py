"""Pairs of beats and prose: their file, their split by chapter, and what leaks between sides."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.beats import (
    Chunk,
    Pair,
    find_leaks,
    known_names,
    read_answers,
    read_pairs,
    split_by_chapter,
    write_pairs,
    write_prompts,
)
from gptlib.beats.asked import prompts
from gptlib.errors import ConfigError, DataError

PAIRS = [
    Pair(("Ada rings.", "Nobody comes."), f"Prose {n} of {chapter}.\n\n“Yes.”", chapter, n)
    for chapter in "ABCDEFGHIJ"
    for n in (1, 2, 3)
]


def test_pairs_come_back_as_they_were(tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs = [*PAIRS, Pair(("One.",), "Told.", "story 1", 1, "The Saw")]
    write_pairs(path, pairs)
    assert read_pairs(path) == pairs
    first, *_, last = map(json.loads, path.read_text("utf8").splitlines())
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant"]
    assert first["messages"][1]["content"] == "- Ada rings.\n- Nobody comes."
    assert last["messages"][1]["content"] == "Title: The Saw\n- One."


def line(*messages, **about) -> dict:
    roles = ("user", "assistant") if len(messages) == 2 else ("system", "user", "assistant")
    said = zip(roles, messages, strict=True)
    return {"messages": [{"role": r, "content": c} for r, c in said], **about}


def test_beats_may_be_numbered_and_the_system_silent(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(line("Write:\n1. Ada rings.\n2) He comes.", "Prose.")) + "\n\n")
    assert read_pairs(path) == [Pair(("Ada rings.", "He comes."), "Prose.")]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "is list, not an object"),
        ({"text": "a"}, "has no messages"),
        ({"messages": [{"role": "user"}]}, "has no messages"),
        ({"messages": []}, "the roles of nobody"),
        ({"messages": line("- a", "b")["messages"][::-1]}, "the roles assistant, user"),
        (line("no list", "b"), "has no beats"),
        (line("- a", " \n"), "no prose"),
        (line("- a", "b", chapter=3), "chapter is a name"),
        (line("- a", "b", chunk=True), "chunk a whole number"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, wrong, reason):
    path = tmp_path / "pairs.jsonl"
    text = wrong if isinstance(wrong, str) else json.dumps(wrong)
    path.write_text(json.dumps(line("- a", "b")) + "\n" + text + "\n")
    with pytest.raises(DataError, match=rf"^line 2 of pairs\.jsonl.*{reason}"):
        read_pairs(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="no pairs in it"):
        read_pairs(path)


CHUNKS = [Chunk("A", 1, "It rained."), Chunk("A", 2, "It {scene} on."), Chunk("B", 1, "Snow.")]


def test_a_text_is_turned_round(tmp_path):
    asked, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    write_prompts(asked, CHUNKS)
    lines = [json.loads(text) for text in asked.read_text("utf8").splitlines()]
    assert all(chunk.text in item["prompt"] for chunk, item in zip(CHUNKS, lines, strict=True))
    written = [
        {**lines[2], "text": "Here they are:\n- Snow falls.\n", "number": 2},
        {**lines[1], "text": "- Rain goes on.\n* All day."},
    ]
    by_hand = {"chapter": "A", "chunk": 1, "beats": ["Rain  falls. ", " "]}
    answers.write_text("".join(json.dumps(item) + "\n" for item in [*written, by_hand]))
    assert read_answers(answers, CHUNKS) == [
        Pair(("Rain falls.",), "It rained.", "A", 1),
        Pair(("Rain goes on.", "All day."), "It {scene} on.", "A", 2),
        Pair(("Snow falls.",), "Snow.", "B", 1),
    ]
    answers.write_text(json.dumps(by_hand) + "\n")
    assert len(read_answers(answers, CHUNKS)) == 1, "what was refused is left out"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"text": "- a"}, "of which chapter"),
        ({"chapter": "C", "chunk": 1, "text": "- a"}, "about C, chunk 1, and there is none"),
        ({"chapter": "A", "chunk": 2, "text": "a"}, "has no beats"),
        ({"chapter": "A", "chunk": 2, "beats": [1]}, "has no beats"),
        ({"chapter": "A", "chunk": 2, "text": "- a", "prompt": "x"}, "about another text"),
        ({"chapter": "A", "chunk": 1, "text": "- a"}, "the second about one chunk"),
    ],
)
def test_a_wrong_answer_is_named(tmp_path, wrong, reason):
    path = tmp_path / "answers.jsonl"
    right = {"chapter": "A", "chunk": 1, "text": "- a"}
    path.write_text(json.dumps(right) + "\n" + json.dumps(wrong) + "\n")
    with pytest.raises(DataError, match=rf"^line 2 of answers\.jsonl.*{reason}"):
        read_answers(path, CHUNKS)
    path.write_text("")
    with pytest.raises(DataError, match="no answers"):
        read_answers(path, CHUNKS)
    with pytest.raises(ConfigError, match=r"no \{scene\}"):
        prompts(CHUNKS, "Beats, please")


@given(
    sizes=st.lists(st.integers(1, 5), min_size=3, max_size=25), seed=st.integers(0, 10),
    lengths=st.randoms(use_true_random=False),
)  # fmt: skip
def test_chapters_stay_whole_and_no_side_is_empty(sizes, seed, lengths):
    pairs = [
        Pair(("b",), "word " * lengths.randint(1, 500), f"chapter {n}", k)
        for n, size in enumerate(sizes)
        for k in range(size)
    ]
    sides = split_by_chapter(pairs, seed)
    assert list(sides) == ["train", "val", "test"] and all(sides.values())
    assert sorted(p.where for side in sides.values() for p in side) == sorted(
        p.where for p in pairs
    )
    homes = [{pair.chapter for pair in side} for side in sides.values()]
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert split_by_chapter(pairs, seed) == sides


def test_ten_equal_chapters_are_eight_one_and_one():
    shares = [{k: len(v) for k, v in split_by_chapter(PAIRS, seed).items()} for seed in range(9)]
    assert all(share == {"train": 24, "val": 3, "test": 3} for share in shares)
    tested = {split_by_chapter(PAIRS, seed)["test"][0].chapter for seed in range(9)}
    assert len(tested) > 3, "the seed decides"
    with pytest.raises(DataError, match=r"come from 2 chapters \(A, B\)"):
        split_by_chapter(PAIRS[:6])
    with pytest.raises(ConfigError, match="seed is -1"):
        split_by_chapter(PAIRS, -1)


def prose(rng: random.Random, n: int) -> str:
    return " ".join(f"w{rng.randrange(10**6)}" for _ in range(n))


@given(seed=st.integers(0, 2**32), length=st.integers(13, 60))
def test_a_planted_leak_is_found_and_named(seed, length):
    rng = random.Random(seed)
    planted = prose(rng, length)
    clean = [Pair(("b",), prose(rng, 200), f"clean {n}", n) for n in range(4)]
    source = Pair(("b",), f"{prose(rng, 30)} {planted}, {prose(rng, 30)}", "Three", 7)
    copied = planted.upper().replace(" ", " — ", 3).replace(" W", "\n W", 1)
    target = Pair(("b",), f"{prose(rng, 5)}! {copied}. {prose(rng, 9)}", "Nine", 2)
    (leak,) = find_leaks([*clean[:2], source], [clean[2], target, clean[3]])
    assert (leak.train, leak.test, leak.length, leak.part) == (source, target, length, "prose")
    assert leak.words == " ".join(copied.split())
    assert str(leak).startswith(f"Nine, chunk 2 shares {length} words of its prose with Three, ")
    assert not find_leaks([source], [target], run=length + 1)


def test_the_longest_of_several_runs_counts_and_beats_are_searched():
    train = Pair(("a b c d", "e f"), "one two three. x. four five six seven", "A")
    test = Pair(("z",), "four five six seven y one two three", "B")
    assert [leak.words for leak in find_leaks([train], [test], 3)] == ["four five six seven"]
    beats = Pair(("a b c", "d e f"), "nothing", "C")
    (leak,) = find_leaks([train], [beats], 3)
    assert (leak.part, leak.words) == ("beats", "a b c d e f")
    assert find_leaks([train], [], 3) == find_leaks([], [test], 3) == []
    with pytest.raises(ConfigError, match="run of 0 words"):
        find_leaks([train], [test], 0)


def test_leaks_come_longest_first():
    words = [f"w{n}" for n in range(30)]
    train = Pair(("b",), " ".join(words), "A")
    tests = [Pair(("b",), " ".join(words[:n]), "B", n) for n in (14, 20, 13, 12)]
    assert [leak.length for leak in find_leaks([train], tests)] == [20, 14, 13]


def test_a_neighboring_chunk_knows_the_names():
    """Which no shared run of words says."""
    train = Pair(("b",), "Then Ada saw Otto. They met Ada's aunt.", "A", 1)
    near = Pair(("b",), "Soon Ada left, and Otto stayed. Nobody knew why Ada was late.", "A", 2)
    far = Pair(("b",), "Once Mei came. The hen, Mei said, was Otto.", "B", 1)
    assert known_names([train], [near]) == 1
    assert known_names([train], [far]) == 0.5, "The begins a sentence, and Mei is new"
    with pytest.raises(DataError, match="no names"):
        known_names([train], [Pair(("b",), "Nobody came.", "C")])
