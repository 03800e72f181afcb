"""Instructions for places: what is asked can be read back, and the three splits never meet."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import DataError
from gptlib.grammar import Grammar
from gptlib.places import (
    LOC,
    LOC_END,
    Asked,
    ask,
    held_out_pairs,
    instruction,
    instruction_pairs,
    judge_place,
    parse_place,
    read_instruction,
    split_of,
    words,
)

GRAMMAR = Grammar.load("places")
SPLITS = (None, "instructions", "combinations")


@st.composite
def wishes(draw):
    """Anything that can be asked of a kind and a mood."""
    kind = draw(st.sampled_from(words.kinds()))
    fits = st.lists(st.sampled_from(list(words.things(kind))), unique=True, max_size=3)
    return Asked(
        kind,
        draw(st.sampled_from(list(words.moods()))),
        draw(st.none() | st.sampled_from(list(words.hours()))),
        draw(st.none() | st.sampled_from(list(words.weathers()))),
        tuple(draw(fits)),
        draw(st.none() | st.sampled_from(list(words.sounds(kind)))),
    )


@pytest.fixture(scope="module")
def chats():
    """300 pairs of each split."""
    return {held_out: instruction_pairs(300, seed=4, held_out=held_out) for held_out in SPLITS}


def said(chat) -> tuple[str, str]:
    (user, assistant) = chat["messages"]
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    assert chat.keys() == {"messages"} and user.keys() == assistant.keys() == {"role", "content"}
    return user["content"], assistant["content"]


@settings(deadline=None, max_examples=300)
@given(asked=wishes(), seed=st.integers(0, 99))
def test_what_is_asked_is_read_back_from_every_wording(asked, seed):
    assert read_instruction(instruction(asked, random.Random(seed))) == asked


def test_all_wordings_are_drawn_and_a_full_wish_reads_well():
    asked = Asked("harbor", "cold", "night", "rain", ("bell", "crane"), "gulls")
    found = Counter(instruction(asked, random.Random(n)) for n in range(300))
    assert len(found) == len(words.source()["wishes"]["wordings"]) == 8
    assert (
        "Write a cold harbor at night in the rain with a bell, a crane, and the sound of gulls."
        in found
    )
    plain = {instruction(Asked("inn", "eerie"), random.Random(n)) for n in range(300)}
    assert len(plain) == 8
    assert {"Write an eerie inn.", "What does an eerie inn look like?"} <= plain
    assert not any(", ." in text or "  " in text or " ." in text for text in plain | found.keys())


def test_without_a_generator_the_wish_decides():
    asked = Asked("mill", "tidy", "dawn")
    assert instruction(asked) == instruction(Asked("mill", "tidy", "dawn"))
    wordings = {instruction(Asked(kind, "tidy")).split(" tidy ")[0] for kind in words.kinds()}
    assert len(wordings) > 3


def test_a_place_asks_for_all_that_it_has_and_ask_for_a_part():
    rng, seen = random.Random(2), Counter()
    for _ in range(200):
        place = parse_place(GRAMMAR.sample(rng).text)
        whole = read_instruction(instruction(place))
        assert whole.items() == place.items()
        part = ask(place, rng)
        assert (part.kind, part.mood) == (place.kind, place.mood)
        assert set(part.items()) <= set(place.items())
        seen[len(part.things)] += 1
        seen["time"] += part.time is not None
    assert all(20 < seen[n] for n in (0, 1, 2)) and 60 < seen["time"] < 140


def test_every_answer_is_what_was_asked_for_and_has_no_control_tokens(chats):
    for pairs in chats.values():
        for wish, answer in map(said, pairs):
            assert judge_place(answer, read_instruction(wish)).ok
            assert answer.startswith(LOC + "\n") and answer.endswith("\n" + LOC_END)
            assert "<|" not in answer


def test_held_out_combinations_never_occur_in_training(chats):
    held = held_out_pairs()
    for held_out, pairs in chats.items():
        for _, answer in map(said, pairs):
            place = parse_place(answer)
            assert ((place.kind, place.mood) in held) == (held_out == "combinations")


def test_held_out_instructions_never_occur_in_training_in_any_wording(chats):
    asked = {h: {frozenset(read_instruction(said(c)[0]).items()) for c in pairs}
             for h, pairs in chats.items()}  # fmt: skip
    assert not asked[None] & asked["instructions"]
    assert not asked[None] & asked["combinations"]
    assert not asked["instructions"] & asked["combinations"]
    again = instruction_pairs(300, seed=5)
    assert (
        not {frozenset(read_instruction(said(c)[0]).items()) for c in again} & asked["instructions"]
    )


def test_every_kind_and_mood_of_a_held_out_pair_is_in_training_with_others():
    held = held_out_pairs()
    assert len(held) == 18
    assert Counter(kind for kind, _ in held) == dict.fromkeys(words.kinds(), 1)
    per_mood = Counter(mood for _, mood in held)
    assert per_mood.keys() == words.moods().keys() and set(per_mood.values()) <= {1, 2}
    trained = {(k, m) for k in words.kinds() for m in words.moods()} - held
    assert {k for k, _ in trained} == set(words.kinds())
    assert {m for _, m in trained} == words.moods().keys()


@given(asked=wishes())
def test_the_order_of_things_does_not_change_the_split(asked):
    turned = Asked(
        asked.kind, asked.mood, asked.time, asked.weather, asked.things[::-1], asked.sound
    )
    assert split_of(turned) == split_of(asked)


def test_about_a_tenth_of_the_other_wishes_is_held_out():
    rng = random.Random(8)
    splits = Counter(split_of(ask(parse_place(GRAMMAR.sample(rng).text), rng)) for _ in range(1000))
    assert 60 < splits["combinations"] < 150 and 60 < splits["instructions"] < 140


def test_a_seed_is_a_sample():
    assert instruction_pairs(5, seed=1) == instruction_pairs(9, seed=1)[:5]
    assert instruction_pairs(5, seed=1) != instruction_pairs(5, seed=2)
    assert instruction_pairs(0) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: instruction_pairs(3, held_out="test"), "held_out is 'test'; expected None"),
        (lambda: instruction_pairs(-1), "n is -1; expected a whole number"),
        (lambda: instruction_pairs(2.0), "n is 2.0"),
        (lambda: instruction(Asked("mill")), "no kind or no mood"),
        (
            lambda: read_instruction("Sing a cold harbor."),
            "'Sing a cold harbor.' is no instruction",
        ),
        (
            lambda: read_instruction("Write a cold orchard with an anchor."),
            "an orchard does not have",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        wrong()
