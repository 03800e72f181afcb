"""The judge of stories: what holds together passes, and what does not is named."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.course.stories import lab
from gptlib.errors import GrammarError
from gptlib.evaluation import judge_prefix, judge_story
from gptlib.grammar import Grammar
from gptlib.stories import END, START, TITLE_END, Storybook, World
from gptlib.stories.kinds import storybook
from gptlib.stories.world import Claim

GRAMMAR = Grammar.load("stories")
STORY = lab.STORY.replace("<|start|>", "<|start|><|barter|>")


def texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [GRAMMAR.sample(rng).text for _ in range(n)]


def shuffled(text: str, rng: random.Random, keep_ends: bool) -> str:
    """The story with its sentences, as the judge takes them, in another order."""
    head, mark, rest = text.partition(TITLE_END + "\n")
    rest, parts, pos = rest.removesuffix(END), [], 0
    while pos < len(rest):
        end = max(match.end for match in storybook().read(rest, pos))
        parts.append(rest[pos:end])
        pos = end + 1
    middle = parts[1:-1] if keep_ends else parts
    mixed = middle[:]
    while mixed == middle:
        rng.shuffle(mixed)
    return head + mark + " ".join([parts[0], *mixed, parts[-1]] if keep_ends else mixed) + END


def test_every_story_of_the_grammar_passes():
    for text in texts(800, seed=3):
        assert judge_story(text).ok, (judge_story(text), text)


@pytest.mark.parametrize("keep_ends", [False, True])
def test_of_shuffled_stories_at_most_one_in_twenty_passes(keep_ends):
    rng = random.Random(5)
    passed = [judge_story(shuffled(text, rng, keep_ends)).ok for text in texts(300, seed=4)]
    assert sum(passed) / len(passed) <= 0.05


def test_a_story_that_no_derivation_made_can_pass():
    """Another try, an order of its own, a trait told later: the world allows it."""
    other = STORY.replace(
        "He had never said no to anyone. At the school lived Rosa, who had a pig. ",
        "At the school lived Rosa, who had a pig. Omar could not say no. "
        "So Omar walked to the forge. ",
    )
    with pytest.raises(GrammarError):
        GRAMMAR.score(other)
    assert judge_story(other).ok


@pytest.mark.parametrize(
    ("old", "new", "sentence", "reason"),
    [
        # somebody speaks who is elsewhere
        ("So Omar walked to the school. ", "",
         '"My lamp for your pig," said Omar.', "not in one place"),
        # what somebody else has is given
        ("and Rosa handed over", "and Vera handed over",
         "He carried the ladder to the school, and Vera", "Vera is at barn, not at school"),
        # nobody has it
        ("swapped the lamp", "swapped the bell",
         "So Omar went to the barn and swapped the bell", "does not have the bell"),
        # given twice
        ("On the way home",
         "He carried the ladder to the school, and Rosa handed over the pig. On the way home",
         "He carried the ladder to the school, and Rosa", "does not have the ladder"),
        # a trait that was not told
        ("He had never said no to anyone. ", "",
         "Omar, who could not say no, took the lamp", "obliging"),
        # a pronoun of nobody
        ("He had never", "She had never", "She had never said no to anyone.", "pronoun"),
        # a word of another table
        ("to the school.", "to the lamp.", "So Omar walked to the lamp.", "no sentence of a kind"),
        # home is somewhere else
        ("back at the mill", "back at the inn", "In the evening Omar was back at the inn", "lives"),
        # another plot's moral
        ("a no saves the shoes", "nothing sells like a closed lid",
         "Moral: nothing sells", "calm"),
        # another genre was asked for
        ("<|barter|>", "<|wager|>", "Moral: a no saves the shoes.", "was asked for"),
        # the title promises something else
        ("the Pig<", "the Goat<", "Omar lived at the mill", "about pig"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(old, new, sentence, reason):
    assert judge_story(STORY).ok
    assert old in STORY
    verdict = judge_story(STORY.replace(old, new, 1))
    assert not verdict.ok
    assert verdict.sentence.startswith(sentence), verdict
    assert reason in verdict.reason, verdict


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with"),
        ("Once upon a time.", "begins with"),
        (STORY.replace("barter", "opera"), "no genre"),
        (STORY.removesuffix(END), "is missing"),
        (STORY.partition("Moral")[0].strip() + END, "without a moral"),
        (STORY[:300], "no sentence of a kind"),
        (STORY.replace(END, " Omar went to the inn." + END), "the story is over"),
        (STORY.replace("<|title|>", "", 1), ""),
        (STORY.replace("The Lamp and the Pig", "Ada's Pig"), "never comes to speak of Ada"),
        (START + END, ""),
    ],
)
def test_malformed_and_truncated_stories_are_refused(text, reason):
    verdict = judge_story(text)
    assert not verdict.ok
    assert reason in verdict.reason, verdict


def test_the_genre_may_be_left_out_and_space_around_a_story_too():
    assert judge_story("\n" + STORY.replace("<|barter|>", "") + "\n\n").ok


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 500), data=st.data())
def test_any_text_gets_a_verdict_and_a_sentence_that_is_in_it(seed, data):
    text = GRAMMAR.sample(random.Random(seed)).text
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 30))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + cut :]
    verdict = judge_story(text)
    assert verdict.ok == (verdict.reason == "")
    assert verdict.sentence in text


def test_swapping_one_name_of_a_story_is_almost_always_seen():
    rng, seen, tried = random.Random(6), 0, 0
    names = sorted(storybook().members("person"))
    for text in texts(200, seed=7):
        places = [m for m in re.finditer(r"\b(?:" + "|".join(names) + r")\b", text)]
        place = rng.choice(places)
        other = rng.choice([name for name in names if name not in text])
        tried += 1
        seen += not judge_story(text[: place.start()] + other + text[place.end() :]).ok
    assert seen / tried > 0.97


def test_a_world_keeps_one_place_and_one_holder():
    claims = [Claim(("a", "at", "mill"), True), Claim(("a", "has", "bell"), True)]
    world = World().after(tuple(claims), {"a": "Ada"})
    assert world.holds(("Ada", "has", "bell"))
    moved = world.after((Claim(("a", "at", "inn"), True), Claim(("b", "has", "bell"), True)),
                        {"a": "Ada", "b": "Otto"})  # fmt: skip
    assert moved.facts == {("Ada", "at", "inn"), ("Otto", "has", "bell")}
    assert moved.follow((Claim(("a", "has", "bell"), True),), {"a": "Ada"}) == (
        0,
        "Ada does not have the bell; Otto has it",
    )
    assert not moved.after((Claim(("_", "has", "bell"), False),), {}).holds(("_", "has", "_"))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"takes": "a: person", "text": "{a.name}.", "needs": "a sleeps"}, "three words"),
        ({"takes": "a: person", "text": "{b.name}."}, "does not take"),
        ({"takes": "a: person", "text": "{a.hat}."}, "has a column hat"),
        ({"takes": "a: person", "text": "{a.name}.", "then": "a has Ada"}, "which a table has too"),
    ],
)
def test_a_sentence_that_is_not_well_formed_is_refused(spec, why):
    source = {
        "genres": {"x": 1},
        "tables": {"person": {"columns": "name they", "rows": ["Ada | she"]}},
        "sentences": {"wrong": spec},
    }
    with pytest.raises(GrammarError, match=why):
        Storybook(source)


def ends(text: str) -> list[int]:
    """Where the text's sentences end, as a reader sees them."""
    return [m.end() for m in re.finditer(r"[.?!]\"?(?=[ \n<])", text)]


def test_every_beginning_of_a_good_story_holds():
    for text in texts(25, seed=8):
        for end in ends(text):
            assert judge_prefix(text[:end]).ok, (judge_prefix(text[:end]), text[:end])
        assert judge_prefix(text).ok


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), data=st.data())
def test_it_may_be_cut_within_a_word(seed, data):
    text = GRAMMAR.sample(random.Random(seed)).text
    at = data.draw(st.integers(text.index(TITLE_END), len(text) - len(END)))
    assert judge_prefix(text[:at]).ok


@pytest.mark.parametrize("head", ["<|start|>", "<|start|><|wager|>", "<|start|><|title|>"])
def test_the_marks_before_a_title_hold(head):
    assert judge_prefix(head).ok


def test_a_contradiction_is_named_where_it_comes():
    """Up to the wrong sentence all is well; from its end on it is named, whatever follows."""
    spoiled = STORY.replace("So Omar walked to the school. ", "")
    sentence = '"My lamp for your pig," said Omar.'
    begins, over = spoiled.index(sentence), spoiled.index(sentence) + len(sentence)
    assert judge_prefix(spoiled[:begins]).ok and judge_prefix(spoiled[: over - 1]).ok
    for end in (end for end in ends(spoiled) if end >= over):
        verdict = judge_prefix(spoiled[:end])
        assert not verdict.ok and verdict == judge_prefix(spoiled[:over])
        assert verdict.sentence == sentence and "not in one place" in verdict.reason


def test_where_a_beginning_fails_the_whole_story_fails():
    rng, names = random.Random(9), sorted(storybook().members("person"))
    for text in texts(20, seed=10):
        found = rng.choice([m for m in re.finditer("|".join(names), text)])
        spoiled = text[: found.start()] + rng.choice(names) + text[found.end() :]
        verdicts = [judge_prefix(spoiled[:end]).ok for end in ends(spoiled)]
        assert verdicts == sorted(verdicts, reverse=True)  # what failed once stays so
        assert verdicts[-1] == judge_story(spoiled).ok


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Once", "begins with"),
        ("<|start|><|opera|><|title|>", "no genre"),
        ("<|start|>Zork", "no sentence of a kind"),
        (STORY[:300] + " goose", "no sentence of a kind"),
        (STORY.replace("<|barter|>", "<|wager|>").removesuffix(END), "was asked for"),
        (STORY.replace("The Lamp and the Pig", "Ada's Pig").removesuffix(END), "speak of Ada"),
        (STORY.replace(END, " Omar went to the inn."), "the story is over"),
        (STORY.partition("Moral")[0].strip() + END, "without a moral"),
    ],
)
def test_what_no_ending_can_mend_is_refused(text, reason):
    verdict = judge_prefix(text)
    assert not verdict.ok
    assert reason in verdict.reason, verdict
