"""HellaSwag: items are read as they are, scored as lm-eval scores them, and counted with care."""

import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.corpora.downloads import read_registry
from gptlib.errors import ConfigError, DataError, TokenizerError
from gptlib.evaluation import compare, hellaswag, read_items, score_pairs, wilson
from gptlib.evaluation.hellaswag import MEASURES, Item, Scored, clean
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import BPETokenizer, CharTokenizer

RECORD = {
    "ind": 7, "activity_label": "Fox hunting", "ctx_a": "A fox sat. It ran.", "ctx_b": "the HEN",
    "ctx": "A fox sat. It ran. the HEN", "split": "val", "split_type": "indomain", "label": 2,
    "endings": ["ran.", "sat on the fox.", ", then the fox ran.", "is 3 hens – or more."],
    "source_id": "activitynet~v_1",
}  # fmt: skip
TAGGED = RECORD | {
    "ctx_a": "[header] How to hunt [title] Sit. [step] Run.  Now", "ctx_b": "", "label": "1",
    "endings": ["[title] Sit still.", "Run [substeps] fast. ", "Sit. [step] Run.", "No [x]  fox."],
}  # fmt: skip
WORDS = "fox hen sat ran the a on it then 12 – it's héron".split()


@pytest.fixture(scope="module")
def pairs_of_bytes() -> BPETokenizer:
    return BPETokenizer.train(
        "the fox sat. the hen sat. the fox ran. it's a héron – " * 20, 300, ["<|endoftext|>"]
    )


@pytest.fixture(scope="module")
def spread(pairs_of_bytes) -> GPT:
    """A small model in float64 whose answers are far from uniform and from one another."""
    return spread_model(pairs_of_bytes.vocab_size)


def spread_model(vocab_size: int, block_size: int = 96, **changes) -> GPT:
    torch.manual_seed(3)
    model = GPT(GPTConfig(block_size, vocab_size, 2, 2, 16, **changes)).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


def drawn(n: int, seed: int = 0, longest: int = 12) -> list[Item]:
    """Items of random words; contexts and endings of 1 to `longest` words."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))

    return [Item(text(), tuple(text() for _ in range(4)), rng.randrange(4)) for _ in range(n)]


def written(folder: Path, *records: dict | bytes | str) -> Path:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    (folder / "items.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder / "items.jsonl"


def plain_scores(model: GPT, tokenizer, item: Item) -> list[float]:
    """The reference: one ending at a time, all logits, nothing shared, nothing padded."""
    T, scores = model.config.block_size, []
    context = tokenizer.encode(item.context.rstrip())
    for ending in item.endings:
        whole = tokenizer.encode(item.context + " " + ending)
        tail = whole[len(context) :]
        ids = torch.tensor((context + tail)[-(T + 1) :])
        with torch.no_grad():
            logs = model(ids[None, :-1])[0][0].log_softmax(-1)
        scores.append(logs[range(-len(tail), 0), ids[-len(tail) :]].sum().item())
    return scores


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"rotary": True, "qk_norm": True, "softcap": 5.0}], ids=str
)
def test_scores_are_those_of_a_plain_scorer(pairs_of_bytes, changes):
    model = spread_model(pairs_of_bytes.vocab_size, **changes)
    items = drawn(12)
    found = hellaswag(model, pairs_of_bytes, items)
    for item, scored in zip(items, found.items, strict=True):
        expected = plain_scores(model, pairs_of_bytes, item)
        assert scored.logprobs == pytest.approx(expected, rel=1e-5)
        tokens = [len(pairs_of_bytes.encode(" " + ending)) for ending in item.endings]
        assert list(scored.tokens) == tokens
        assert list(scored.characters) == [len(ending) for ending in item.endings]
        chosen = [
            int(np.argmax(expected)),
            int(np.argmax(np.array(expected) / [len(e) for e in item.endings])),
            int(np.argmax(np.array(expected) / tokens)),
        ]
        assert [scored.choices[name] for name in MEASURES] == chosen
        assert not scored.cut
    rights = {name: [s.choices[name] == i.label for s, i in zip(found.items, items, strict=True)]
              for name in MEASURES}  # fmt: skip
    for name in MEASURES:
        assert getattr(found, name) == sum(rights[name]) / 12 and found.right(name) == rights[name]
    assert len({tuple(rights[name]) for name in MEASURES}) > 1  # they are three measures


@given(order=st.permutations(range(8)), batch_size=st.integers(1, 9))
@settings(max_examples=15)
def test_neither_order_nor_batch_size_moves_a_score(spread, pairs_of_bytes, order, batch_size):
    items = drawn(8, seed=5)
    straight = hellaswag(spread, pairs_of_bytes, items)
    moved = hellaswag(spread, pairs_of_bytes, [items[i] for i in order], batch_size)
    for place, i in enumerate(order):
        assert moved.items[place].logprobs == pytest.approx(straight.items[i].logprobs, rel=1e-5)
        assert moved.items[place].choices == straight.items[i].choices


@given(st.data())
@settings(max_examples=40)
def test_pairs_of_any_lengths_are_scored_as_if_alone(spread, data):
    """Heads that are alike or begin alike, tails of one token or many, and both too long."""
    V, T = spread.config.vocab_size, spread.config.block_size
    ids = st.lists(st.integers(0, V - 1), min_size=1, max_size=6)
    heads = data.draw(st.lists(ids, min_size=1, max_size=4))
    long = st.sampled_from([1, 1, 1, 17, 30])
    pairs = [
        (
            data.draw(st.sampled_from(heads)) * data.draw(long),
            data.draw(ids) * data.draw(st.integers(1, 3)),
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    together = score_pairs(spread, pairs, data.draw(st.integers(1, 5)))
    for (head, tail), score in zip(pairs, together, strict=True):
        row = torch.tensor((head + tail)[-(T + 1) :])
        with torch.no_grad():
            logs = spread(row[None, :-1])[0][0].log_softmax(-1)
        alone = logs[range(-len(tail), 0), tail].sum().item()
        assert score == pytest.approx(alone, rel=1e-5)


def test_a_head_is_read_once_and_logits_are_few(spread, pairs_of_bytes, monkeypatch):
    """Twenty endings after one context cost its tokens once, and logits for theirs alone."""
    read, scored = [], []
    hidden, logits = GPT.hidden, GPT.logits
    monkeypatch.setattr(
        GPT,
        "hidden",
        lambda self, idx, cache=None: read.append(idx.numel()) or hidden(self, idx, cache),
    )
    monkeypatch.setattr(
        GPT, "logits", lambda self, h: scored.append(h.shape[:-1].numel()) or logits(self, h)
    )
    score_pairs(spread, [(list(range(50)), [i, 1, 2]) for i in range(20)], batch_size=20)
    assert sum(read) == 49 + 20 * 3 and sum(scored) == 20 * 3


def test_a_large_vocabulary_is_scored_in_parts(spread, monkeypatch):
    pairs = [([1, 2], [3, 4, 5]), ([6], [7] * 20)]
    whole = score_pairs(spread, pairs)
    monkeypatch.setattr("gptlib.evaluation.choices.LOGITS", 2 * spread.config.vocab_size)
    assert score_pairs(spread, pairs) == pytest.approx(whole)


def test_a_long_context_loses_its_beginning_for_each_ending_alone(pairs_of_bytes):
    model = spread_model(pairs_of_bytes.vocab_size, block_size=16)
    items = [Item("the fox sat. " * 9, ("ran.", "sat on the hen.", "hen", "it's a fox"), 1),
             Item("the", ("ran.", "sat.", "hen", "fox"), 0)]  # fmt: skip
    found = hellaswag(model, pairs_of_bytes, items)
    for item, scored in zip(items, found.items, strict=True):
        assert scored.logprobs == pytest.approx(plain_scores(model, pairs_of_bytes, item), rel=1e-5)
    assert [scored.cut for scored in found.items] == [True, False] and found.cut == 1


def test_a_space_at_the_end_of_a_context_goes_to_the_ending(spread, pairs_of_bytes):
    item = Item("the fox  ", ("sat.", "ran.", "hen", "the"), 0)
    (scored,) = hellaswag(spread, pairs_of_bytes, [item]).items
    assert scored.logprobs == pytest.approx(plain_scores(spread, pairs_of_bytes, item), rel=1e-5)
    assert scored.characters == (4, 4, 3, 3)


def test_an_item_cannot_spell_a_special_token(spread, pairs_of_bytes):
    item = Item("the fox", ("<|endoftext|>", "ran.", "hen", "the"), 0)
    (scored,) = hellaswag(spread, pairs_of_bytes, [item]).items
    assert scored.tokens[0] > 5


def test_dropout_is_off_and_progress_is_told(pairs_of_bytes):
    torch.manual_seed(0)
    model, told = GPT(GPTConfig(96, pairs_of_bytes.vocab_size, 1, 2, 16, dropout=0.5)), []
    items = drawn(6)
    first = hellaswag(model, pairs_of_bytes, items, 4, lambda done, of: told.append((done, of)))
    assert model.training and first == hellaswag(model, pairs_of_bytes, items, 4)
    assert told == sorted(told) and told[-1] == (24, 24)


def test_characters_may_be_the_tokens(spread):
    tokenizer = CharTokenizer.train("the fox sat hen ran.")
    model = spread_model(tokenizer.vocab_size)
    items = [Item("the fox", ("sat.", "ran.", "hen", "the"), 0)]
    (scored,) = hellaswag(model, tokenizer, items).items
    assert scored.tokens == (5, 5, 4, 4)  # the space is read, and no character of the ending
    with pytest.raises(TokenizerError, match="has the character 'z'"):
        hellaswag(model, tokenizer, [Item("zoo", ("a",) * 4, 0)])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "there are 0 items of 0 forms"),
        ([Item("a", ("b",) * 4, 0), Item("a", ("b",) * 4, 0, "lm-eval")], "2 items of 2 forms"),
        ([Item("", ("b",) * 4, 0)], "item 0 has 0 tokens of context"),
        ([Item("a", ("b", "b", "the hen " * 90, "b"), 0)], "item 0 has 1 tokens of context and"),
    ],
)
def test_items_that_cannot_be_scored(spread, pairs_of_bytes, items, message):
    with pytest.raises(DataError, match=message):
        hellaswag(spread, pairs_of_bytes, items)


def test_pairs_that_cannot_be_scored(spread):
    for pair in (([], [1]), ([1], []), ([1], [1] * 97)):
        with pytest.raises(DataError, match=r"pair 1 has \d+ and \d+ tokens"):
            score_pairs(spread, [([1], [1]), pair])
    for tail in ([5000], [-1]):
        with pytest.raises(DataError, match="pair 0 has token ids from"):
            score_pairs(spread, [([1], tail)])
    with pytest.raises(ConfigError, match="batch_size is 0"):
        score_pairs(spread, [([1], [1])], batch_size=0)
    assert score_pairs(spread, []) == []


# --- items ----------------------------------------------------------------------------------------


def test_full_records_are_put_as_lm_eval_puts_them(tmp_path):
    first, second = read_items(written(tmp_path, RECORD, TAGGED))
    assert first == Item(
        "Fox hunting: A fox sat. It ran. The hen", tuple(RECORD["endings"]), 2, "lm-eval"
    )
    assert second.context == "Fox hunting: How to hunt. Sit. Run. Now"  # by hand
    assert second.endings == (" Sit still.", "Run fast.", "Sit. Run.", "No  fox.")
    assert second.label == 1


def test_cleaning_by_hand():
    assert clean(" [header] How [title] Sit. [step] Run. ") == " How. Sit. Run."
    assert clean("[title] Sit") == " Sit"
    assert clean("a  b   c") == "a b  c"  # once over, as lm-eval does


def test_other_records_are_put_as_they_stand(tmp_path):
    stripped = {k: RECORD[k] for k in ("activity_label", "ctx", "label", "endings")}
    (item,) = read_items(written(tmp_path, stripped))
    assert item == Item(RECORD["ctx"], tuple(RECORD["endings"]), 2, "plain")
    place = written(tmp_path, RECORD, b"", RECORD)
    assert [i.context for i in read_items(place, form="plain")] == [RECORD["ctx"]] * 2
    assert len(read_items(place, limit=1)) == 1 and len(read_items(place, limit=9)) == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"{", "line 2 is no JSON"),
        (b"\xff", "line 2 is no JSON"),
        (b"[" * 100_000, "line 2 is no JSON"),
        ([1], "line 2 is no record"),
        ({k: v for k, v in RECORD.items() if k != "ctx_b"}, "line 2: ctx_b is None, and the form"),
        (RECORD | {"ctx_a": 3}, "line 2: ctx_a is 3"),
        (RECORD | {"endings": ["a", "b", "c"]}, "line 2: endings are .* a list of 4 texts"),
        (RECORD | {"endings": "abcd"}, "line 2: endings are 'abcd'"),
        (RECORD | {"endings": ["a", "b", "c", None]}, "line 2: endings are"),
        (RECORD | {"endings": ["a", "b", "c", "[step]"]}, "line 2 has an empty context or ending"),
        (RECORD | {"label": 4}, "line 2: label is 4; give the number of the right ending, 0 to 3"),
        (RECORD | {"label": ""}, "line 2: label is ''.*the test part has none"),
        (RECORD | {"label": True}, "line 2: label is True"),
        (RECORD | {"label": "²"}, "line 2: label is"),
    ],
)
def test_a_wrong_record_is_named_by_its_line(tmp_path, record, message):
    with pytest.raises(DataError, match=message) as caught:
        read_items(written(tmp_path, RECORD, record))
    assert str(caught.value).startswith("items.jsonl, line 2") and len(str(caught.value)) < 300


def test_files_that_hold_no_items(tmp_path):
    with pytest.raises(DataError, match=r"has no items"):
        read_items(written(tmp_path, b""))
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        read_items(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path)
    place = written(tmp_path, RECORD)
    for limit in (0, -1, True, 2.5):
        with pytest.raises(ConfigError, match="the limit is"):
            read_items(place, limit=limit)
    with pytest.raises(ConfigError, match="the form is 'theirs'; use one of lm-eval, plain"):
        read_items(place, form="theirs")


def test_the_official_file_is_fetched_and_checked(tmp_path, monkeypatch):
    entry = read_registry()["hellaswag"]
    assert entry.bytes == 12_246_618 and entry.sha256.startswith("0aa3b888")
    place = written(tmp_path, RECORD)
    asked = []
    monkeypatch.setitem(read_items.__globals__, "fetch", lambda name: asked.append(name) or place)
    assert len(read_items()) == 1 and asked == ["hellaswag"]


# --- counting -------------------------------------------------------------------------------------


def test_three_measures_by_hand():
    """One is likeliest as a whole, another per character, and a third per token."""
    item = Scored((-2.0, -6.0, -5.0, -9.0), (2, 30, 6, 9), (1, 5, 4, 9), 1)
    assert item.choices == {"acc": 0, "acc_norm": 1, "acc_norm_tokens": 3}
    assert item.to_dict()["acc_norm"] is True and item.to_dict()["acc"] is False
    tied = Scored((-1.0,) * 4, (1,) * 4, (1,) * 4, 0)
    assert set(tied.choices.values()) == {0}  # the first, as in lm-eval
    json.dumps(item.to_dict())


def test_a_result_says_all_of_it(spread, pairs_of_bytes):
    found = hellaswag(spread, pairs_of_bytes, drawn(9))
    figures = json.loads(json.dumps(found.to_dict()))
    assert figures["n"] == 9 and figures["chance"] == 0.25 and figures["form"] == "plain"
    for name in MEASURES:
        low, high = figures["ci95"][name]
        assert low <= figures[name] <= high
        assert (low, high) == wilson(round(9 * figures[name]), 9)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # Newcombe (1998a), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - right, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx(wilson(right, n))


@given(n=st.integers(1, 20_000), data=st.data())
@settings(max_examples=60)
def test_an_interval_holds_its_share(n, data):
    right = data.draw(st.integers(0, n))
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert low < high


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    cells = [(True, True)] * both + [(True, False)] * only_a
    cells += [(False, True)] * only_b + [(False, False)] * neither
    return [a for a, _ in cells], [b for _, b in cells]


def test_a_paired_comparison_is_the_published_one():
    """Newcombe (1998b): 36, 12, 2 and 0 of 50, method 10."""
    found = compare(*table(36, 12, 2, 0))
    assert (found.both, found.only_a, found.only_b, found.neither) == (36, 12, 2, 0)
    assert found.n == 50 and found.difference == pytest.approx(0.2)
    assert found.ci95 == pytest.approx((0.0569, 0.3404), abs=5e-5)
    coin = 2 * sum(math.comb(14, k) for k in range(3)) / 2**14
    assert found.p_value == pytest.approx(coin)


@given(st.tuples(*[st.integers(0, 40)] * 4).filter(any))
@settings(max_examples=80)
def test_a_comparison_turned_round(cells):
    both, only_a, only_b, neither = cells
    found, turned = compare(*table(*cells)), compare(*table(both, only_b, only_a, neither))
    low, high = found.ci95
    assert low <= found.difference <= high
    assert turned.ci95 == pytest.approx((-high, -low)) and turned.p_value == found.p_value
    assert 0 < found.p_value <= 1
    n = only_a + only_b
    ways = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert found.p_value == pytest.approx(min(1.0, 2 * ways))


def test_equal_models_differ_by_nothing():
    found = compare(*table(30, 0, 0, 70))
    assert found.difference == 0 and found.p_value == 1 and found.ci95[0] < 0 < found.ci95[1]


def test_a_pair_sees_what_two_intervals_do_not():
    """30.5% and 29.0% of 10,042 items, where the two models answer most items alike."""
    a, b = table(2700, 363, 212, 6767)
    low_a, high_b = wilson(sum(a), 10_042)[0], wilson(sum(b), 10_042)[1]
    assert low_a < high_b  # side by side, their intervals overlap
    found = compare(a, b)
    assert found.ci95[0] > 0 and found.p_value < 1e-6


def test_answers_of_other_questions_are_refused():
    with pytest.raises(DataError, match="3 answers of one model and 2 of the other"):
        compare([True] * 3, [True] * 2)
    with pytest.raises(DataError, match="0 answers"):
        compare([], [])
    for right, n in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(DataError, match="right answers of"):
            wilson(right, n)


# --- lm-eval --------------------------------------------------------------------------------------


def test_it_agrees_with_lm_eval_item_by_item(tmp_path, pairs_of_bytes, monkeypatch):
    """lm-eval's own task, its own model, its own reading of the file; both forms of records."""
    pytest.importorskip("lm_eval.models.huggingface", reason="lm-eval is not installed here")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bench"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import hellaswag as bench

    model = spread_model(pairs_of_bytes.vocab_size).float()
    stripped = [
        {"ctx": item.context, "endings": item.endings, "label": item.label} for item in drawn(30)
    ]
    full = [RECORD | {"ind": i, "label": i % 4} for i in range(6)] + [TAGGED] * 2
    for records, form in ((stripped, "plain"), (full, "lm-eval")):
        folder = tmp_path / form
        folder.mkdir()
        place = written(folder, *({**r, "label": int(r["label"])} for r in records))
        ours = hellaswag(model, pairs_of_bytes, read_items(place))
        lm = bench.lm_eval_model(model, pairs_of_bytes, batch_size=4)
        agreed = bench.agreement(ours, bench.lm_eval_answers(lm, place, form))
        assert agreed["same_acc"] == agreed["same_acc_norm"] == len(records) == ours.n
        assert ours.form == form


def test_the_official_records_are_read(tmp_path):
    folder = os.environ.get("GPTLIB_DATA")
    place = Path(folder or tmp_path) / "hellaswag" / "hellaswag_val_official_1000.jsonl"
    if not place.is_file():
        pytest.skip("GPTLIB_DATA has no official records of HellaSwag")
    items = read_items(place)
    assert len(items) == 1000 and {item.form for item in items} == {"lm-eval"}
    assert not any("[" in item.context for item in items)
    plain = read_items(place, form="plain")
    assert sum("[" in item.context for item in plain) == 87
    assert [a.label for a in items] == [b.label for b in plain]
