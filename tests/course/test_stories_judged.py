"""Stories that a model wrote: begun as asked, ended where they end, judged one by one."""

import importlib
import inspect
import json

import pytest
import torch

from gptlib import checkpoint
from gptlib.corpora import load_corpus
from gptlib.course.recorded import RECIPES
from gptlib.course.records import read_record, save_record
from gptlib.course.stories import evaluated, front, learning
from gptlib.course.stories.evaluated import ASKED, beginnings, evaluate_stories
from gptlib.course.stories.heads import story_heads
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.trained import train_stories
from gptlib.course.stories.verdicts import MEASURES, Rate, judge_all, judged, missing_part
from gptlib.course.stories.writing import begin_with, padded_rows, story_loss, write_stories
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import wilson
from gptlib.model import GPT, GPTConfig
from gptlib.presets import PRESETS, Preset
from gptlib.runs import load_run
from gptlib.sampling import Sampling
from gptlib.stories import END, START, special_tokens
from gptlib.tokenizers import BPETokenizer, learn_tokenizer

STORIES = held_out(40, seed=9)
STORY = STORIES[0]
TOKENIZER = BPETokenizer.train(held_out(150, seed=5), 1000, special_tokens())
TITLE = STORY[STORY.index("<|title|>") : STORY.index("</|title|>") + len("</|title|>")]
BODY = STORY[STORY.index("</|title|>") + len("</|title|>\n") :].removesuffix(END)


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(352, TOKENIZER.vocab_size, n_layer=1, n_head=2, n_embd=16)).eval()


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run folder of an untrained model, with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    TOKENIZER.save(folder / "tokenizer")
    about = {"model": model.config.to_dict(), "train": {"seed": 0}, "tokenizer": TOKENIZER.sha256}
    for step in (50, 100):
        checkpoint.save_weights(folder, step, checkpoint.plain_weights(model), about)
    checkpoint.point(folder, "best", 100)
    return folder


@pytest.mark.parametrize("story", STORIES[:10])
def test_a_story_of_the_grammar_has_form_parses_and_holds(story):
    found = judged(story)
    assert (found.missing, found.parses, found.holds, found.well_formed) == ("", True, True, True)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (STORY.removeprefix(START), "does not begin"),
        ("Once. " + STORY, "does not begin"),
        (STORY.replace("<|title|>", "", 1), "no <|title|>"),
        (STORY.replace("</|title|>", "", 1), "not closed"),
        (STORY.replace(TITLE, "<|title|> </|title|>"), "no line of words"),
        (STORY.replace("<|title|>", "<|title|><|title|>", 1), "no line of words"),
        (STORY.removesuffix(END), "does not end"),
        (STORY + "\n", "does not end"),
        (STORY.replace(". ", ". <|barter|>", 1), "a mark stands in the text"),
        (STORY.replace(END, END + END), "a mark stands in the text"),
        (STORY.replace("\n", " ", 1), "lines of its own"),
        (STORY.replace("\n", "\n\n", 1), "lines of its own"),
        (STORY.replace("\nMoral: ", "\nMorale: "), "no moral"),
        (STORY.partition("Moral: ")[0] + "Moral: " + END, "no moral"),
    ],
)
def test_what_a_story_lacks_is_named(text, missing):
    assert missing in missing_part(text)


def test_form_is_not_sense():
    shuffled = BODY.splitlines()
    swapped = STORY.replace(BODY, "\n".join([*shuffled[-2::-1], shuffled[-1]]))
    found = judged(swapped)
    assert found.well_formed and not found.parses and not found.holds
    assert found.sentence and found.reason and found.sentence in swapped


def test_rates_have_their_interval_and_failures_their_reasons():
    broken = STORY.replace(". ", ". It rained frogs. ", 1)
    verdicts = judge_all([STORY, broken, "no story"], shared=lambda texts: [len(t) for t in texts])
    assert [verdicts.rate(m).right for m in MEASURES] == [2, 1, 1]
    assert verdicts.rate("holds") == Rate(1, 3) and Rate(1, 3).ci95 == wilson(1, 3)
    assert [story.text for story in verdicts.failed] == [broken, "no story"]
    assert verdicts.longest_shared == len(broken)
    assert sum(count for _, count in verdicts.reasons()) == 2
    assert json.loads(json.dumps(verdicts.to_dict()))["holds"]["share"] == 1 / 3
    assert judge_all([STORY]).longest_shared is None


def test_no_stories_have_no_rate():
    with pytest.raises(DataError, match="no stories to judge"):
        judge_all([])


def test_the_same_seed_writes_the_same_story_in_any_company(model):
    asked = [begin_with(), begin_with(title="The Pig"), begin_with(genre="wager")]
    short = Sampling(30, temperature=0.8)
    together = write_stories(model, TOKENIZER, asked, short, seed=3)
    assert together == write_stories(model, TOKENIZER, asked, short, seed=3)
    assert together[:1] == write_stories(model, TOKENIZER, asked[:1], short, seed=3)
    assert together != write_stories(model, TOKENIZER, asked, short, seed=4)
    for text, beginning in zip(together, asked, strict=True):
        assert text.startswith(beginning)
        assert END not in text.removesuffix(END)


def test_a_story_ends_at_its_first_end(model):
    """A model that writes nothing else than the end writes it once."""
    end = TOKENIZER.encode(END)[0]
    only = Sampling(352, temperature=1.0, allowed_ids=[end])
    assert write_stories(model, TOKENIZER, [START, START + "<|two|>"], only) == [
        START + END,
        START + "<|two|>" + END,
    ]


def test_a_beginning_leaves_room(model):
    with pytest.raises(DataError, match="room for a story"):
        write_stories(model, TOKENIZER, ["word " * 600])
    with pytest.raises(DataError, match="0 beginnings"):
        write_stories(model, TOKENIZER, [])


def test_the_loss_of_stories_is_that_of_each_alone(model):
    ids = [TOKENIZER.encode(text) for text in STORIES[:5]]
    nats, tokens = story_loss(model, ids)
    assert tokens == sum(map(len, ids)) - 5
    alone = 0.0
    for story in ids:
        x, y = torch.tensor([story[:-1]]), torch.tensor([story[1:]])
        alone += model(x, y)[1].item() * y.numel()
    assert nats == pytest.approx(alone, rel=1e-5)
    with pytest.raises(DataError, match="a context of 352"):
        story_loss(model, [[1] * 600])


def test_padding_is_no_target():
    x, y = padded_rows([[1, 2, 3], [4, 5, 6, 7]], pad=9)
    assert x.tolist() == [[1, 2, 9], [4, 5, 6]] and y.tolist() == [[2, 3, -1], [5, 6, 7]]


def test_what_can_be_asked_for():
    assert beginnings("nothing", 2) == [START, START]
    assert beginnings("a genre", 7)[::6] == [START + "<|barter|>"] * 2
    titles = beginnings("a title", 3)
    assert len(set(titles)) == 3 and all(t.endswith("</|title|>") for t in titles)
    with pytest.raises(ConfigError, match="'a hero'"):
        beginnings("a hero", 1)


def test_an_untrained_model_tells_no_story(model):
    verdicts = evaluate_stories(model, TOKENIZER, 3, Sampling(20, temperature=0.8), asked="a title")
    assert len(verdicts) == 3 and verdicts.rate("well_formed").right == 0
    assert all("does not end" in story.missing for story in verdicts.stories)


def test_a_run_is_recorded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluated, "TEMPERATURES", (0.8,))
    evaluated.main(["--run", str(run), "--n", "2", "--out", str(tmp_path / "r")])
    record = read_record(tmp_path / "r")
    assert record.config["step"] == 100 and record.result["asked"].keys() == set(ASKED)
    assert record.result["asked"]["nothing"]["holds"]["n"] == 2
    assert record.result["loss"]["nats_a_token"] > record.result["loss"]["floor"] > 0
    assert {sample["prompt"] for sample in record.samples} == set(ASKED)


def test_every_story_of_the_grammar_keeps_its_first_name():
    assert all(map(learning.keeps_names, STORIES))
    assert not learning.keeps_names("<|title|>Ada</|title|>\nAda sat. Otto sat. Ines sat.")
    assert not learning.keeps_names("no names at all")


def test_what_was_learned_is_recorded_for_the_steps_that_were_kept(run, tmp_path):
    record = learning.story_learning(run, 2, looks=(0, 50, 70))
    save_record(record, tmp_path)
    steps = read_record(tmp_path).result["steps"]
    assert [line["step"] for line in steps] == [0, 50]
    assert steps[0]["loss"] == pytest.approx(steps[1]["loss"], rel=0.05)  # neither has read a word
    assert all(0 <= line["gone"]["accuracy"] <= 1 for line in steps)
    save_record(story_heads(run, 2), tmp_path / "heads")
    heads = read_record(tmp_path / "heads").result
    assert len(heads["heads"]) == 2 and sum(heads["example"]["weights"]) == pytest.approx(
        1, abs=0.1
    )
    with pytest.raises(DataError, match="kept no checkpoint"):
        learning.story_learning(run, 2, looks=(0, 70))
    with pytest.raises(DataError, match="no checkpoint of step 70"):
        learning.model_at(run, 70)


def test_the_first_page_has_one_title_at_every_step(run, tmp_path, monkeypatch):
    monkeypatch.setattr(front, "STEPS", (0, 100))
    front.main(["--run", str(run), "--seed", "1", "--out", str(tmp_path / "front")])
    samples = read_record(tmp_path / "front").samples
    assert [sample["step"] for sample in samples] == [0, 100]
    assert all(s["text"].startswith(front.TITLE) and "<|" not in s["text"] for s in samples)
    assert all(1 < sample["val"] < 4 for sample in samples)  # ln 1,000 over 3.5 characters a token


def test_a_copied_run_of_words_is_found():
    shared = evaluated.runs_shared_with(STORIES[:5])
    assert shared([STORY, "Nobody says so. " + STORY[30:90]])[0] > 100
    assert 5 < shared(["Nobody says so. " + STORY[30:90]])[0] < 30


def test_the_run_of_the_chapter_keeps_what_the_chapter_looks_at(tmp_path, monkeypatch):
    small = Preset(
        "", {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 300},
        {"steps": 2, "batch_size": 2, "eval_every": 2, "eval_windows": 1}, corpus="stories",
        corpus_size=60_000, tokenizer="bpe-900", separator=START,
    )  # fmt: skip
    monkeypatch.setitem(PRESETS, "stories", small)
    folder = train_stories(tmp_path / "run")
    model, tokenizer, manifest = load_run(folder)
    assert manifest["step"] == 2 and manifest["train"]["save_every"] == 50
    assert tokenizer.vocab_size == model.config.vocab_size == 900
    assert tokenizer == learn_tokenizer(load_corpus("stories", size=60_000), 900), "as gptlib train"
    assert tokenizer.encode(END) == [tokenizer.special_tokens[END]]


@pytest.mark.parametrize("name", ["front", "heads", "learning", "marks", "model", "packing"])
def test_every_record_of_the_stories_has_a_recipe(name):
    module, _, function = RECIPES[f"story-{name}"].partition(":")
    recipe = getattr(importlib.import_module(f"gptlib.course.{module}"), function)
    assert all(p.default is not p.empty for p in inspect.signature(recipe).parameters.values())
