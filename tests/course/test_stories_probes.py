"""A story replayed; probes, whose right answer is a story's and whose wrong one is refused."""

from itertools import pairwise

import pytest

from gptlib.course.stories.probes import (
    KINDS,
    collect_probes,
    held_out,
    nearer_is_right,
    story_probes,
)
from gptlib.course.stories.replay import refusal, replay
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import judge_story
from gptlib.grammar import Probe
from gptlib.stories import World

STORIES = held_out(12, seed=8)
PROBES = list(story_probes(STORIES, seed=8))


@pytest.mark.parametrize("story", STORIES[:6])
def test_a_replay_has_every_sentence_and_every_change_in_order(story):
    events = replay(story)
    assert [story[e.start : e.end] for e in events] == [e.sentence for e in events]
    gaps = [story[a.end : b.start] for a, b in pairwise(events)]
    assert set(gaps) <= {" ", "\n"}
    assert events[0].before == World() and events[-1].kind.startswith("moral")
    for one, other in pairwise(events):
        assert one.after == other.before
        begun, ended = other.changes
        assert (other.before.facts | begun) - ended == other.after.facts


def test_a_sentence_is_not_refused_where_it_stands_and_is_refused_before_its_cause():
    events = replay(STORIES[0])
    assert not any(refusal(event, event.sentence) for event in events)
    assert refusal(events[1], events[-1].sentence)


def test_what_does_not_hold_together_is_not_replayed():
    with pytest.raises(DataError, match="does not hold together"):
        replay(STORIES[0].replace("Moral", "Oral"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_is_the_story_s_and_the_simulator_refuses_the_wrong_one(kind):
    asked = [probe for probe in PROBES if probe.kind == kind]
    assert asked, "no probe of this kind"
    for probe in asked:
        story = next(s for s in STORIES if s.startswith(probe.prefix + probe.right))
        rest = story[len(probe.prefix + probe.right) :]
        assert judge_story(story).ok
        assert not judge_story(probe.prefix + probe.wrong + rest).ok


def test_both_answers_have_been_named_before_but_for_a_stranger():
    for probe in PROBES:
        named = probe.wrong.strip() in probe.prefix
        if probe.kind in ("owner", "gone"):
            assert named and probe.right.strip() in probe.prefix
        elif probe.kind == "name":
            assert not named and probe.right.strip() in probe.prefix


def test_what_is_gone_was_had_before():
    """The wrong answer names an owner and a thing that did go together earlier in the story."""
    for probe in (p for p in PROBES if p.kind == "gone"):
        story = next(s for s in STORIES if s.startswith(probe.prefix + probe.right))
        had = {fact for e in replay(story) if e.end < len(probe.prefix) for fact in e.after.facts}
        words = probe.wrong.strip(), probe.right.strip()
        assert any(fact[1] == "has" and words[0] in fact for fact in had)


def test_the_same_seed_asks_the_same_and_of_a_story_each_kind_once():
    assert list(story_probes(STORIES, seed=8)) == PROBES
    assert len({(p.kind, p.prefix[:60]) for p in PROBES}) == len(PROBES)


def test_a_collection_has_as_many_of_each_kind_as_were_asked_for():
    found = collect_probes(2, kinds=("turn", "moral"))
    assert {kind: len(probes) for kind, probes in found.items()} == {"turn": 2, "moral": 2}
    with pytest.raises(ConfigError, match="'plot'"):
        collect_probes(2, kinds=("plot",))


def test_the_latest_mention_counts():
    near, far = (
        Probe("owner", "Ada met Ivo", " Ivo", " Ada", 4),
        Probe("owner", "x Ada Ivo", " Ada", " Ivo", 8),
    )
    assert nearer_is_right([near, near, far]) == pytest.approx(2 / 3)
