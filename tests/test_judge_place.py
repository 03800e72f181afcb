"""The parser of places sees only the text, and the judge says what was asked for and is missing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import DataError, GrammarError
from gptlib.grammar import Grammar
from gptlib.places import LOC_END, Asked, Place, judge_place, parse_place, read_place
from gptlib.places.words import kinds, things

GRAMMAR = Grammar.load("places")
PLACE = """<LOC><|harbor|><|cold|>
The harbor of Skarne was dug for forty boats and holds nine. It is past midnight. Everyone here \
wears gloves, even to eat. Rain falls on the boats. A bell hangs from a post on the pier. It has \
a crack as long as a finger. A crane leans over the water, not far from the bell. Gulls argue over \
a fish head. Whoever touches the bell does it once.
</LOC>"""
SAYS = Place("harbor", "cold", "night", "rain", ("bell", "crane"), "gulls", "Skarne")


def texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [GRAMMAR.sample(rng).text for _ in range(n)]


def test_it_says_what_it_says():
    assert parse_place(PLACE) == SAYS
    assert parse_place("\n" + PLACE.replace("<|harbor|><|cold|>", "") + "\n\n") == SAYS


def test_every_place_of_the_grammar_is_read_as_it_was_drawn():
    rng = random.Random(3)
    for _ in range(500):
        document = GRAMMAR.sample(rng)
        place = parse_place(document.text)
        assert place.kind == document.genre
        assert len(place.things) == 2 and set(place.things) <= things(place.kind).keys()
        verdict = judge_place(document.text, place)
        assert verdict.ok and verdict.present == tuple(place.items())


@pytest.mark.parametrize(
    ("old", "new", "sentence", "reason"),
    [
        # a thing of another kind of place
        ("A bell hangs from a post on the pier. It has a crack as long as a finger.",
         "There is a beehive, which is painted blue, so that the bees will find it.",
         "There is a beehive, which", "it is said of an orchard, and this is a harbor"),
        # a thing that nobody told of
        ("A crane leans over the water, not far from the bell. ", "",
         "Whoever touches the crane does it once.", "does not have the crane"),
        # a mood that ends as another
        ("Whoever touches the bell does it once.", "Nobody leans on the bell.",
         "Nobody leans on the bell.", "place feels solemn"),
        # a second hour
        ("Rain falls", "It is noon, by most of the clocks. Rain falls",
         "It is noon, by most of the clocks.", "it was already so that hour is night"),
        # another town
        ("It is past midnight.", "In Halm the last lamp has gone out.",
         "In Halm the last lamp has gone out.", "place near Halm"),
        # the same thing twice
        ("Gulls argue", "A bell hangs from a post on the pier; it has a crack as long as a finger. "
         "Gulls argue", "A bell hangs from a post on the pier; it has",
         "it was already so that place has bell"),
        # what is said of one thing is said of another
        ("It has a crack as long", "It turns one way only as long",
         "A bell hangs from a post on the pier.", "no sentence of a kind"),
        # one thing has the words of another
        ("A bell hangs", "A winch hangs", "A winch hangs", "its words are not of one thing"),
        # no sentence at all
        ("Gulls argue over a fish head.", "Gulls argue over the weather.",
         "Gulls argue over the weather.", "no sentence of a kind"),
        # somebody where nobody is
        ("Everyone here wears gloves, even to eat.",
         "Dogs will not go farther than the harbor gate. An old pilot has predicted a storm every "
         "day for nine years and was right twice.", "An old pilot", "place feels eerie"),
        # another mood was asked for
        ("<|cold|>", "<|tidy|>", "<|tidy|>", "the place is not so"),
        # a place twice
        ("It is past midnight.", "Below Skarne lies a harbor that two kings have promised to "
         "enlarge.", "Below Skarne lies", "it was already so that place is harbor"),
    ],
)  # fmt: skip
def test_the_first_sentence_that_does_not_fit_is_named(old, new, sentence, reason):
    assert old in PLACE
    text = PLACE.replace(old, new, 1)
    if "crane does" in sentence:
        text = text.replace("touches the bell", "touches the crane")
    reading = read_place(text)
    assert not reading.ok
    assert reading.sentence.startswith(sentence), reading
    assert reason in reading.reason, reading
    with pytest.raises(GrammarError, match="no place of the corpus"):
        parse_place(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with <LOC>"),
        ("Once upon a time.", "begins with <LOC>"),
        (PLACE.replace("<LOC>", ""), "begins with <LOC>"),
        (PLACE.removesuffix(LOC_END), "</LOC> is missing"),
        (PLACE.replace("It is past midnight. ", ""), "nothing is said of its time"),
        (PLACE[:300], "no sentence of a kind"),
        ("<LOC></LOC>", "nothing is said of its kind"),
    ],
)
def test_malformed_and_truncated_places_are_refused(text, reason):
    assert reason in read_place(text).reason, read_place(text)


def test_the_order_of_sentences_is_free_where_they_do_not_need_each_other():
    other = PLACE.replace("Gulls argue over a fish head. ", "").replace(
        "It is past", "Gulls argue over a fish head. It is past"
    )
    with pytest.raises(GrammarError):
        GRAMMAR.score(other)
    assert parse_place(other) == SAYS


def test_the_judge_says_what_is_present_missing_and_contradicted():
    asked = Asked("mill", "cold", "dawn", "rain", ("ladder", "clock"), "stream")
    verdict = judge_place(PLACE, asked)
    assert verdict.present == (("mood", "cold"), ("weather", "rain"))
    assert verdict.missing == (("thing", "ladder"), ("thing", "clock"))
    assert verdict.contradicted == (("kind", "mill"), ("time", "dawn"), ("sound", "stream"))
    assert not verdict.matches and verdict.reason == ""
    dry = PLACE.replace("Rain falls on the boats. ", "")
    assert judge_place(dry, Asked(weather="rain")).missing == (("weather", "rain"),)
    assert judge_place(dry, Asked(weather="rain")).contradicted == ()


def test_who_says_both_contradicts_and_who_fits_nothing_can_still_match():
    both = PLACE.replace("Whoever touches the bell does it once.", "Nobody leans on the bell.")
    assert judge_place(both, Asked(mood="cold")).contradicted == (("mood", "cold"),)
    rambling = judge_place(PLACE.replace("Gulls", "Boats"), Asked("harbor", "cold", "night"))
    assert rambling.matches and not rambling.ok
    assert rambling.sentence == "Boats argue over a fish head."


def test_a_text_without_an_opening_is_read_by_what_it_has():
    headless = PLACE.replace(
        "The harbor of Skarne was dug for forty boats and holds nine. It is past", "It is past"
    )
    verdict = judge_place(headless, SAYS)
    assert verdict.missing == (("kind", "harbor"),)
    assert ("thing", "crane") in verdict.present
    assert judge_place("Nothing like it.", SAYS).present == ()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 500), data=st.data())
def test_any_text_gets_a_reading_and_a_sentence_that_is_in_it(seed, data):
    text = GRAMMAR.sample(random.Random(seed)).text
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 30))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + cut :]
    reading = read_place(text)
    assert reading.ok == (reading.reason == "")
    assert reading.sentence in text
    if reading.ok:
        assert parse_place(text).items()


def test_swapping_one_thing_for_another_of_the_same_place_is_always_seen():
    rng = random.Random(6)
    for text in texts(150, seed=7):
        place = parse_place(text)
        old = rng.choice(place.things)
        new = rng.choice(sorted(things(place.kind).keys() - set(place.things)))
        swapped = text.replace(things(place.kind)[old], things(place.kind)[new])
        capital = [things(place.kind)[thing].capitalize() for thing in (old, new)]
        swapped = swapped.replace(*capital)
        assert not read_place(swapped).ok, swapped


def test_what_no_place_can_have_is_refused_when_it_is_asked_for():
    for wrong, message in [
        (lambda: Asked("orchard", things=("anchor",)), "no thing in an orchard called 'anchor'"),
        (lambda: Asked("harbour"), r"no kind of place called 'harbour' \(did you mean harbor\?\)"),
        (lambda: Asked(mood="sad"), "no mood called 'sad'"),
        (lambda: Asked(time="midday"), "no time called 'midday'"),
        (lambda: Asked(weather="sun"), "no weather called 'sun'"),
        (lambda: Asked("mill", sound="gulls"), "no sound in a mill called 'gulls'"),
    ]:
        with pytest.raises(DataError, match=message):
            wrong()
    assert Asked(things=("anchor", "beehive")).items() == [
        ("thing", "anchor"),
        ("thing", "beehive"),
    ]


def test_every_kind_can_be_told_from_its_opening_alone():
    for text in texts(100, seed=9):
        opening = text.splitlines()[1].partition(". ")[0] + "."
        assert read_place(f"<LOC>{opening}").values("kind") == [parse_place(text).kind]
    assert len({parse_place(text).kind for text in texts(100, seed=9)}) == len(kinds())
