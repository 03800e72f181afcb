"""The record of samplers: what counts as a story, and rows that say what was told."""

from dataclasses import replace

import pytest
import torch

from gptlib.corpora import load_corpus
from gptlib.course.records import read_record
from gptlib.course.stories import sampling
from gptlib.course.stories.sampling import (
    SAMPLERS,
    changed,
    heads,
    measure_samplers,
    tell,
    without_marks,
)
from gptlib.course.stories.speculation import accept_rate, small_draft, speculation_gain
from gptlib.course.stories.verdicts import missing_part
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import wilson
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import Sampling
from gptlib.stories import special_tokens
from gptlib.tokenizers import BPETokenizer

STORY = "<|start|><|lost|><|title|>A Bell</|title|>\nAda rang.\nMoral: ring.<|end|>"


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("stories", size=30_000)


@pytest.fixture(scope="module")
def tokenizer(corpus) -> BPETokenizer:
    return BPETokenizer.train(corpus.train[:8000], 300, special_tokens())


def made(tokenizer: BPETokenizer, seed: int) -> GPT:
    torch.manual_seed(seed)
    model = GPT(GPTConfig(32, tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=8)).double()
    for p in model.parameters():  # opinions, or two of them agree on everything
        torch.nn.init.normal_(p, std=0.5)
    return model


@pytest.mark.parametrize("corpus_story", range(5))
def test_the_grammar_s_stories_are_well_formed(corpus, corpus_story):
    assert not missing_part(corpus.val_documents[corpus_story])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<|start|>", ""),
        ("<|lost|>", "<|found|>"),
        ("A Bell", " "),
        ("</|title|>\n", "</|title|> "),
        ("Ada rang.", " "),
        ("Ada rang.", "Ada <|end|>rang."),
        ("Ada rang.", "Ada <|riddle|>rang."),
        ("\nMoral: ring.", ""),
        ("Moral: ", "Moral:"),
        ("<|end|>", ""),
        ("<|end|>", "<|end|>Ada"),
    ],
)
def test_a_story_lacks_nothing_and_has_each_mark_once(old, new):
    assert not missing_part(STORY) and not missing_part(STORY.replace("<|lost|>", ""))
    assert missing_part(STORY.replace(old, new))


def test_heads_are_different_and_enough():
    assert heads([STORY, STORY.replace("Bell", "Goat"), STORY], 2) == [
        "<|start|><|lost|><|title|>A Bell</|title|>", "<|start|><|lost|><|title|>A Goat</|title|>",
    ]  # fmt: skip
    assert without_marks(STORY) == "A Bell\nAda rang.\nMoral: ring."
    with pytest.raises(DataError, match="2 stories have 1 different titles, not 2"):
        heads([STORY, STORY], 2)


@pytest.mark.parametrize("name", ["temperature 1", "repetition 1.2", "4 beams, by mean"])
def test_a_story_is_the_same_in_any_company_and_ends_at_its_mark(corpus, tokenizer, name):
    model, prompts = made(tokenizer, 0), heads(corpus.val_documents, 3)
    end = tokenizer.special_tokens["<|end|>"]
    with torch.no_grad():  # so that stories end early
        model.transformer.wte.weight[end] *= 3
    sampler = replace(SAMPLERS[name], max_new_tokens=50)  # past the context
    told = tell(model, tokenizer, prompts, sampler, seed=5)
    alone = [tell(model, tokenizer, [p], sampler, 5 + i)[0] for i, p in enumerate(prompts)]
    assert told == alone
    for prompt, story in zip(prompts, told, strict=True):
        assert story.startswith(prompt) and story.count("<|end|>") <= 1


def test_rows_say_what_was_told(corpus, monkeypatch):
    whole = list(corpus.val_documents[:5])
    stories = {1: whole, 2: whole[:3] + [story.replace(".", "", 1) for story in whole[:2]]}
    monkeypatch.setattr(sampling, "tell", lambda m, t, p, s, seed: stories[s.max_new_tokens])
    sound, broken = measure_samplers(
        None, None, {"sound": Sampling(1), "broken": Sampling(2)}, 5, prompts=["p"] * 5,
        training=whole[:2], grammar=corpus.grammar,
    )  # fmt: skip
    for row in (sound, broken):
        assert row["n"] == 5 and row["longest_run"] > 40
    for part in ("well_formed", "parse", "ok"):
        assert sound[part]["share"] == 1 and sound["wrong"] == []
    assert broken["well_formed"]["count"] == 5
    assert broken["parse"]["count"] == broken["ok"]["count"] == 3
    assert broken["ok"]["ci95"] == [round(x, 4) for x in wilson(3, 5)]
    assert broken["wrong"][0]["sentence"] and broken["wrong"][0]["reason"]
    assert sound["copied"]["texts"] == 2 / 5 and sound["words"] > 60
    assert 2 / 5 < sound["copied"]["sentences"] < 1
    assert 0 < sound["self_bleu"] < broken["self_bleu"]
    assert broken["distinct_2"] < sound["distinct_2"] < 1


def test_settings_are_named_where_they_differ():
    assert changed(SAMPLERS["temperature 1"]) == {}
    assert changed(SAMPLERS["4 beams, by sum"]) == {"num_beams": 4, "length_penalty": 0.0}


def test_a_draft_is_counted_and_changes_no_greedy_token(corpus, tokenizer):
    model, draft, prompts = made(tokenizer, 0), made(tokenizer, 1), heads(corpus.val_documents, 2)
    rows = speculation_gain(model, draft, tokenizer, prompts, (1, 3), max_new_tokens=12)
    assert [row["guesses"] for row in rows] == [0, 1, 3]
    assert rows[0]["tokens_per_pass"] == 1 and rows[0]["accept_rate"] is None
    for row in rows[1:]:
        assert row["same_greedy"] and 0 < row["accept_rate"] < 1
        assert row["passes"] < row["tokens"] == 24
    tally = accept_rate(model, model, [tokenizer.encode(prompts[0])], 2, max_new_tokens=6, seed=0)
    assert (tally.passes, tally.guessed, tally.kept) == (2, 4, 4)
    with pytest.raises(ConfigError, match="no prompts"):
        speculation_gain(model, draft, tokenizer, [])


def test_a_draft_is_trained_where_there_is_none(corpus, tokenizer):
    draft = small_draft(
        tokenizer, corpus, steps=2, batch_size=2, warmup=0, eval_every=2, eval_windows=1
    )
    assert draft.config.known_ids == tokenizer.vocab_size and draft.config.n_layer == 1


def test_the_command_writes_the_record(corpus, tokenizer, tmp_path, monkeypatch, capsys):
    runs = {"stories": made(tokenizer, 0), "small": made(tokenizer, 1)}
    manifest = {"step": 3, "note": {"corpus_size": 60_000}}
    monkeypatch.setattr(sampling, "load_run", lambda run: (runs[run], tokenizer, manifest))
    monkeypatch.setattr(sampling, "load_with_tokenizer", sampling.load_run)
    monkeypatch.setattr(sampling, "SAMPLERS", {"greedy": Sampling(9, temperature=0)})
    monkeypatch.setattr(sampling, "LENGTH", 9)
    sampling.main(["--n", "2", "--draft", "small", "--out", str(tmp_path)])
    record = read_record(tmp_path / "story-samplers")
    assert record.result["samplers"]["greedy"]["settings"] == {"temperature": 0}
    assert record.result["samplers"]["greedy"]["n"] == 2 and record.config["step"] == 3
    assert abs(record.config["corpus_size"] - 60_000) < 2_000
    assert len(record.result["speculation"]) == 5 and record.samples[0]["sampler"] == "greedy"
    assert "Record(story-samplers" in capsys.readouterr().out
