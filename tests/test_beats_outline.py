"""Outlines of stories: recovered from the text, found in it exactly, and not in another."""

import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.beats import beats_of, covered, marked, pair_of, story_pairs, told
from gptlib.beats.outline import PARTS, parts
from gptlib.course.stories import lab
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import judge_story
from gptlib.grammar import Grammar
from gptlib.grammar.rules import read_source
from gptlib.resources import data_path
from gptlib.stories.kinds import storybook

GRAMMAR = Grammar.load("stories")


@cache
def stories(n: int = 60, seed: int = 7) -> list[str]:
    rng = random.Random(seed)
    return [GRAMMAR.sample(rng).text for _ in range(n)]


def test_the_outline_of_the_lab_s_story():
    assert beats_of(lab.STORY) == [
        "Omar, at the mill, has a lamp and wants a pig.",
        "Omar cannot say no.",
        "Rosa wants a ladder instead of the lamp.",
        "Omar swaps the lamp for the ladder of Vera.",
        "Vera would rather have the pig than the lamp.",
        "Omar is back at the mill with the lamp.",
    ]


def test_every_story_has_an_outline_of_a_few_short_beats():
    for story in stories():
        beats = beats_of(story)
        assert 4 <= len(beats) <= 11 and len(set(beats)) == len(beats), story
        assert all(len(beat.split()) <= 18 and beat[0].isupper() and beat[-1] == "."
                   for beat in beats)  # fmt: skip
        kinds = Counter(beat.part for beat in told(story))
        assert {"wants", "trait", "turn", "end"} <= kinds.keys() <= set(PARTS), story
        assert beats == beats_of(story)


def test_a_story_covers_its_own_beats_with_its_marks_or_without():
    for story in stories():
        beats, (_, body) = beats_of(story), parts(story)
        assert all(covered(beats, story)) and all(covered(beats, body))
        assert [beat.text for beat in told(body)] == beats


def test_of_another_story_it_covers_only_what_both_tell():
    known = {story: set(beats_of(story)) for story in stories()}
    rng = random.Random(3)
    for story in stories()[:25]:
        other = rng.choice(stories())
        assert covered(sorted(known[story]), other) == [
            beat in known[other] for beat in sorted(known[story])
        ]


@settings(max_examples=25, deadline=None)
@given(number=st.integers(0, 59), choice=st.integers(0, 10**6))
def test_without_its_sentence_a_beat_is_not_told_and_the_others_are(number, choice):
    """Also where the rest no longer makes sense without it."""
    title, body = parts(stories()[number])
    beats = told(stories()[number])
    beat = beats[choice % len(beats)]
    end = max(match.end for match in storybook().read(body, beat.start))
    rest = (body[: beat.start] + body[end:].lstrip()).strip()
    found = covered([b.text for b in beats], rest)
    lost = [b.text for b, is_told in zip(beats, found, strict=True) if not is_told]
    assert beat.text in lost
    # What is about somebody whom only that sentence named can be told no more; little is.
    assert len(lost) <= 3, (title, beat, lost)


def test_what_a_stranger_adds_hides_nothing():
    for story in stories()[:20]:
        _, body = parts(story)
        lines = ["It was a Tuesday, and nobody knew why.", *body.split("\n"), "The End!"]
        text = "\n\nAn old song was heard.\n".join(lines)
        assert all(covered(beats_of(story), text)), (story, text)


def test_the_right_sentence_about_the_wrong_animal_tells_nothing():
    story = next(s for s in stories() if "sheep" in s)
    beats = beats_of(story)
    found = covered(beats, story.replace("sheep", "goat").replace("Sheep", "Goat"))
    assert [beat for beat, yes in zip(beats, found, strict=True) if yes] == [
        beat for beat in beats if "sheep" not in beat
    ]


@pytest.mark.parametrize("prose", ["", "Once there was a girl.", "\n\n", "?", "<|start|>", "Mei"])
def test_any_text_can_be_asked(prose):
    assert covered(["Mei cannot say no."], prose) == [False]
    assert covered([], prose) == [] and told(prose) == []


@settings(max_examples=60, deadline=None)
@given(prose=st.text(st.sampled_from('AdaOtto .?!\n"“”went to the mill<|>'), max_size=200))
def test_no_text_is_refused(prose):
    assert isinstance(told(prose), list)


def test_a_story_that_does_not_hold_together_has_no_outline():
    with pytest.raises(DataError, match="does not hold together, at 'Once.'"):
        beats_of("<|start|><|title|>Ada's Saw</|title|>\nOnce.<|end|>")


def test_every_template_is_of_a_kind_and_names_what_it_takes():
    source = read_source(data_path("beats/stories.toml"))
    takes = {kind.name: kind.takes for kind in storybook().kinds}
    assert list(source) == list(PARTS)
    used = [kind for part in PARTS for kind in source[part]]
    assert len(used) == len(set(used)) and set(used) <= takes.keys()
    texts = [text for part in PARTS for text in source[part].values()]
    assert len(texts) == len(set(texts)), "two kinds of sentence would tell one beat"


def test_a_pair_is_a_story_again():
    for story in stories()[:20]:
        pair = pair_of(story)
        assert judge_story(marked(pair)).ok and list(pair.beats) == beats_of(story)
        assert "<|" not in pair.prose + pair.title
    assert not judge_story(marked(pair, "Once.")).ok


def test_drawn_pairs_are_all_different_and_the_first_stay():
    pairs = story_pairs(12, seed=1)
    assert pairs[:5] == story_pairs(5, seed=1) != story_pairs(5, seed=2)
    assert len({pair.prose for pair in pairs}) == len({pair.chapter for pair in pairs}) == 12
    with pytest.raises(ConfigError, match="0 pairs"):
        story_pairs(0)
