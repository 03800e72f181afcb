"""Pairs from a judge, the rivals that learn from them, and the whole comparison in small."""

import math
import random
from dataclasses import asdict, replace

import pytest
import torch

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.course.beats import preference, preference_pairs
from gptlib.course.beats.preference_compared import BASE, summarize
from gptlib.course.beats.preference_material import Sizes, titles_of
from gptlib.course.beats.preference_measures import describe, followed, moral_of
from gptlib.course.beats.preference_pairs import (
    Sampled,
    encode_pairs,
    pairs_of,
    sample_titles,
    story_titles,
)
from gptlib.course.beats.preference_rivals import Answers, best_of, likeliest_of, prefer, tune
from gptlib.course.recorded import load_record
from gptlib.course.records import read_record
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.writing import begin_with
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import Verdict, judge_story
from gptlib.finetuning.preferences import PreferencePair, make_preferences, pair_logprobs
from gptlib.runs import Run
from gptlib.stories import TITLE_END, special_tokens
from gptlib.tokenizers import BPETokenizer

STORIES = held_out(40, seed=20)
TOKENIZER = BPETokenizer.train(STORIES, 1024, special_tokens())
TINY = Sizes(
    titles=10, samples=3, steps=4, pairs=2, lr=1e-2, looks=2, judged=4, best=2, again=2, each=2,
    betas=(0.1, 0.5), seeds=2,
)  # fmt: skip


def make(block_size: int = 352) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(block_size, TOKENIZER.vocab_size, n_layer=1, n_head=2, n_embd=16)).eval()


def told(title: str, *verdicts: bool) -> Sampled:
    return Sampled(title, tuple(f"{title} {n}" for n in range(len(verdicts))), verdicts)


# --- pairs ----------------------------------------------------------------------------------------


def test_a_pair_is_of_one_title_and_no_story_is_in_two():
    some = [told("a", True, False, True, False, True), told("b", True, True), told("c", False)]
    assert pairs_of(some) == [("a", "a 0", "a 1"), ("a", "a 2", "a 3")]
    twice = Sampled("d", ("same", "same", "bad"), (True, True, False))
    assert twice.passed == ["same"] and pairs_of([twice]) == [("d", "same", "bad")]


def test_prompt_and_answer_together_are_the_story():
    title = "Ada and the Lamp"
    stories = [begin_with(title=title) + text.partition("</|title|>")[2] for text in STORIES[:2]]
    (pair,) = encode_pairs(TOKENIZER, [(title, *stories)], 352)
    for answer, story in zip((pair.chosen, pair.rejected), stories, strict=True):
        assert [*pair.prompt, *answer] == TOKENIZER.encode(story)
        assert TOKENIZER.decode([*pair.prompt, *answer]) == story
    (cut,) = encode_pairs(TOKENIZER, [(title, *stories)], 50)
    assert [*cut.prompt, *cut.chosen] == TOKENIZER.encode(stories[0])[:50]


def test_titles_are_different_ones_and_stay_apart():
    titles = titles_of(replace(TINY, titles=30, judged=30, again=10), seed=0)
    every = [*titles.sampled, *titles.judged, *titles.again]
    assert len(set(every)) == 70
    assert titles.sampled != titles_of(replace(TINY, titles=30), seed=1).sampled
    assert not set(every[:5]) & set(story_titles(40, seed=100, without=every[:5]))
    with pytest.raises(DataError, match="titles to ask for, not 1"):
        story_titles(1, seed=100, without=story_titles(150, seed=100))


def test_samples_are_judged_by_the_simulator():
    (asked, other) = sample_titles(make(), TOKENIZER, ["Ada and the Lamp", "One Goose"], 3, seed=1)
    assert (asked.title, other.title) == ("Ada and the Lamp", "One Goose")
    assert len(set(asked.stories + other.stories)) == 6, "each has dice of its own"
    for some in (asked, other):
        assert all(story.startswith(begin_with(title=some.title)) for story in some.stories)
        assert list(some.holds) == [judge_story(story).ok for story in some.stories]


# --- rivals ---------------------------------------------------------------------------------------


def test_the_best_of_n_is_the_first_that_the_judge_accepts():
    some = [told("a", False, True, True), told("b", False, False, True), told("c", True, False)]
    assert best_of(some, 1) == [("a 0", False), ("b 0", False), ("c 0", True)]
    assert best_of(some, 2) == [("a 1", True), ("b 0", False), ("c 0", True)]
    assert [holds for _, holds in best_of(some, 3)] == [True, True, True]


def test_the_likeliest_is_by_the_mean_of_its_tokens():
    """By the sum a short story would win, whatever it says."""
    model, dice = make(), torch.Generator().manual_seed(0)

    def logprobs(story: str) -> torch.Tensor:
        row = torch.tensor([TOKENIZER.encode(story)])
        return model(row)[0][0, :-1].log_softmax(-1).gather(1, row[0, 1:, None])

    texts = [TOKENIZER.decode(torch.randint(300, 900, (12,), generator=dice).tolist())
             for _ in range(10)]  # fmt: skip
    long, short = STORIES[0], min(texts, key=lambda text: logprobs(text).mean().item())
    assert logprobs(long).mean() > logprobs(short).mean()
    assert logprobs(long).sum() < logprobs(short).sum()
    asked = [Sampled("t", (short, long), (True, False))]
    assert likeliest_of(model, TOKENIZER, asked, 2) == [(long, False)]
    assert likeliest_of(model, TOKENIZER, asked, 1) == [(short, True)]


def test_to_imitate_means_loss_on_the_story_alone():
    answers = Answers([([1, 2, 3], [4, 5]), ([6], [7, 8, 9, 10])], batch_size=2)
    x, y = answers.batch(0)
    rows = {tuple(row.tolist()): target.tolist() for row, target in zip(x, y, strict=True)}
    assert rows == {(1, 2, 3, 4): [-1, -1, 4, 5], (6, 7, 8, 9): [7, 8, 9, 10]}
    assert answers.weight((x, y)) == 6
    model = make()
    losses = model(x, y, reduction="none")[1].sum().item() / 6
    assert answers.loss(model) == pytest.approx(losses, rel=1e-5)


def ids_of(*stories: str) -> list[list[int]]:
    return [TOKENIZER.encode(story) for story in stories]


def test_both_ways_of_training_learn_what_they_are_given(tmp_path):
    a, b, c, d = (ids[:40] for ids in ids_of(*STORIES[:4]))
    pairs = [PreferencePair(a[:4], a[4:], b[4:]), PreferencePair(c[:4], c[4:], d[4:])]
    model = make()
    data = make_preferences(pairs, model)
    config = TrainConfig(
        steps=8, batch_size=2, lr=1e-2, warmup=1, eval_every=4, save_every=4, save_minutes=0,
        keep_last=8,
    )  # fmt: skip
    before = [weight.clone() for weight in model.parameters()]
    preferred = prefer(model, data, data, 0.5, config, tmp_path / "dpo")
    answers = Answers([(pair.prompt, pair.chosen) for pair in pairs], 2)
    tuned = tune(model, answers, answers, config, tmp_path / "sft")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    gained = pair_logprobs(preferred, data) - data.reference
    assert (gained[:, 0] > gained[:, 1] + 1).all()
    assert (pair_logprobs(tuned, data)[:, 0] > data.reference[:, 0] + 1).all()
    lines = followed(tmp_path / "dpo", make(), data)
    assert [line["step"] for line in lines] == [0, 4, 8]
    assert lines[-1]["told_apart"] == 1.0
    last = gained.mean(dim=0).tolist()
    assert [lines[-1]["chosen"], lines[-1]["rejected"]] == pytest.approx(last, abs=1e-3)
    # what is finished is not trained again
    again = prefer(model, data, data, 0.5, config, tmp_path / "dpo")
    pairs_of_weights = zip(again.parameters(), preferred.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs_of_weights)


# --- measures -------------------------------------------------------------------------------------


def test_what_is_said_of_stories():
    same = STORIES[0]
    lines = describe([(same, True), (same, True), (STORIES[1], False)], [[same, same]])
    assert lines["holds"]["right"] == 2 and lines["holds"]["n"] == 3
    assert moral_of(same) and moral_of("<|title|>x</|title|>\nNo moral.") == ""
    assert lines["commonest"] >= 2 / 3 and lines["morals"] <= 2
    assert lines["within_self_bleu"] == pytest.approx(100)
    apart = describe([(same, True)], [[same, STORIES[1]]])
    assert apart["within_self_bleu"] < 60
    assert apart["within_distinct_2"] > lines["within_distinct_2"]


def test_seeds_are_put_together():
    def of_seed(base: list[bool], rival: list[bool]) -> dict:
        def line(verdicts: list[bool], **more: object) -> dict:
            picked = [(STORIES[n], holds) for n, holds in enumerate(verdicts)]
            return {**describe(picked), "verdicts": verdicts, **more}

        return {"rivals": {BASE: line(base, loss=1.0), "r": line(rival, loss=2.0, followed=[1])}}

    base, rival = summarize([
        of_seed([True, False, False], [True, True, False]),
        of_seed([False, False, True], [True, True, True]),
    ])  # fmt: skip
    assert (base["name"], rival["name"]) == (BASE, "r")
    assert rival["holds"]["right"] == 5 and rival["holds"]["n"] == 6
    assert rival["share"]["values"] == pytest.approx([2 / 3, 1])
    assert rival["against_base"]["only_a"] == 3 and rival["against_base"]["only_b"] == 0
    assert rival["loss"]["mean"] == 2.0 and rival["followed"] == [[1], [1]]
    assert base["against_base"]["difference"] == 0


# --- the whole ------------------------------------------------------------------------------------


def write(model, tokenizer, beginnings, sampling, seed):
    """Not the model: a story of the grammar for each, which takes no time."""
    dice = random.Random(seed)
    return [begun + dice.choice(STORIES).partition(TITLE_END)[2] for begun in beginnings]


def every_second(text: str) -> Verdict:
    """A judge with a taste that nothing explains."""
    return Verdict(sum(map(ord, text)) % 2 == 0)


@pytest.fixture
def run_folder(tmp_path) -> Run:
    """A model that has learned nothing."""
    ids = torch.tensor([token for ids in ids_of(*STORIES[:4]) for token in ids])
    config = TrainConfig(steps=1, batch_size=1, warmup=0, eval_every=1, eval_windows=1, lr=1e-5)
    return Trainer(make(), ids, ids, config, tmp_path / "run", TOKENIZER).fit()


def test_the_whole_comparison_in_small(tmp_path, run_folder, monkeypatch):
    monkeypatch.setattr(preference_pairs, "write_stories", write)
    monkeypatch.setattr(preference_pairs, "judge_story", every_second)
    said = []
    runs = tmp_path / "runs"
    record = preference.story_preference(run_folder.run_dir, TINY, runs, said.append)
    trained = ["tuned on passed", "tuned on chosen", "DPO, β = 0.1", "DPO, β = 0.5"]
    rivals = {line["name"]: line for line in record.result["rivals"]}
    assert list(rivals) == [BASE, "likeliest of 2", "best of 2", *trained]
    assert len(said) == 2 * 7 and len(record.samples) == 2 * 7
    for name, line in rivals.items():
        assert line["holds"]["n"] == 8 and len(line["share"]["values"]) == 2
        assert 0 <= line["within_self_bleu"]["mean"] <= 100
        assert ("followed" in line) == (name in trained)
    assert rivals["best of 2"]["holds"]["right"] >= rivals[BASE]["holds"]["right"]
    for name in trained:
        (first, second) = rivals[name]["followed"]
        assert [line["step"] for line in first] == [0, 2, 4] and first != second
        assert rivals[name]["loss"]["mean"] != rivals[BASE]["loss"]["mean"]
    assert record.result["material"]["pairs"]["values"][0] >= 2
    # The same folder gives the same record, and nothing is trained again.
    once = replace(TINY, seeds=1)
    before = sorted(path.stat().st_mtime_ns for path in runs.rglob("model.safetensors"))
    again = preference.story_preference(run_folder.run_dir, once, runs, said.append)
    assert before == sorted(path.stat().st_mtime_ns for path in runs.rglob("model.safetensors"))
    assert [s["text"] for s in again.samples] == [s["text"] for s in record.samples[:7]]


def test_no_pairs_are_refused_with_what_was_found(tmp_path, run_folder, monkeypatch):
    monkeypatch.setattr(preference_pairs, "write_stories", write)
    monkeypatch.setattr(preference_pairs, "judge_story", lambda text: Verdict(True))
    with pytest.raises(DataError, match="30 of 30 stories hold together, which makes 0 pairs"):
        preference.story_preference(run_folder.run_dir, TINY, tmp_path, lambda line: None)


def test_the_command(tmp_path, monkeypatch, capsys):
    asked = {}

    def fake(run, sizes, folder):
        asked.update(run=run, sizes=sizes, folder=folder)
        return preference.make_record("story-preference", {}, {"rivals": []})

    monkeypatch.setattr(preference, "story_preference", fake)
    out = tmp_path / "record"
    preference.main(["--steps", "3", "--betas", "0.2,0.4", "--lr", "1e-3", "--out", str(out)])
    assert asked["sizes"] == replace(Sizes(), steps=3, betas=(0.2, 0.4), lr=1e-3)
    assert asked["run"] == "stories" and asked["folder"] is None
    assert read_record(out).result == {"rivals": []}
    assert "story-preference" in capsys.readouterr().out
    for wrong in ("0", "-1,2", "small", "", "nan"):
        with pytest.raises(ConfigError, match="--betas is"):
            preference.main([f"--betas={wrong}"])
    assert math.isclose(Sizes(lr=1e-4).config(0, 16).min_lr, 1e-5)


def test_the_defaults_are_those_of_the_record():
    config = load_record("story-preference").config
    for name, value in asdict(Sizes()).items():
        assert config[name] == (list(value) if isinstance(value, tuple) else value), name
