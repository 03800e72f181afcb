"""Conversations as they are trained on: bad lines, batches, and one loss however they are cut."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import GPT, BPETokenizer, GPTConfig, TrainConfig, Trainer
from gptlib.batches import TokenBatches
from gptlib.chat import with_chat
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.finetuning import (
    AnswerBatches,
    AnswerLoss,
    Example,
    Rehearsed,
    ask,
    ask_many,
    deal,
    make_examples,
    read_examples,
    weighted_loss,
)
from gptlib.finetuning.examples import holds_conversations
from gptlib.finetuning.rehearsal import rehearsed_rows

TOKENIZER = with_chat(BPETokenizer.train("Write a cold harbor at night. " * 20, 280))
CHAT, T = TOKENIZER.special_tokens["<|chat|>"], 32


def line(question="Write a harbor.", answer="Ice.", **more) -> str:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": said, **more})


def example(prompt: int, answer: int, seed: int = 0) -> Example:
    """A question of so many ids and an answer of so many, marks included."""
    rng = np.random.default_rng([prompt, answer, seed])
    ids = rng.integers(0, 256, prompt + answer)
    ids[0] = CHAT
    targets = np.append(ids[1:], -1)
    targets[: prompt - 1] = -1
    return Example([], ids, targets)


EXAMPLES = [example(*lengths, seed) for seed, lengths in enumerate(
    [(3, 4), (9, 1), (2, 12), (5, 5), (4, 20), (7, 2), (3, 3), (11, 8), (2, 1), (6, 13), (4, 4)]
)]  # fmt: skip


def make(seed: int = 0, document_start=None, **shape) -> GPT:
    torch.manual_seed(seed)
    sizes = dict(block_size=T, vocab_size=TOKENIZER.vocab_size, n_layer=2, n_head=2, n_embd=16)
    model = GPT(GPTConfig(**sizes | shape))
    model.document_start = document_start
    return model


# --- the file -------------------------------------------------------------------------------------


def test_both_forms_are_read_and_blank_lines_are_not(tmp_path):
    path = tmp_path / "a.jsonl"
    second = json.dumps({"prompt": "Write a harbor.", "completion": "Ice.", "split": "valid"})
    path.write_text(f"{line(split='train')}\n\n  \n{second}\n", encoding="utf-8")
    one, two = read_examples(path, TOKENIZER, T)
    assert one.ids.tolist() == two.ids.tolist() and one.messages == two.messages
    assert (one.line, one.split, two.line, two.split) == (1, "train", 4, "val")
    assert deal([one, two]) == ([one], [two])
    (three,) = make_examples([json.loads(second)], TOKENIZER, T)
    assert three.ids.tolist() == one.ids.tolist() and three.line == 1
    with pytest.raises(DataError, match="1 of 2 conversations .*: conversation 2: no messages"):
        make_examples([json.loads(second), {}], TOKENIZER, T)


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        ('{"messages": [', "line 2: not JSON (Expecting value"),
        ("[1, 2]", 'line 2: list, not an object such as {"messages": […]}'),
        ('{"title": "x"}', "line 2: no messages, and no prompt with its completion (found keys"),
        ('{"prompt": "x"}', "line 2: no messages, and no prompt with its completion"),
        ('{"messages": []}', "line 2: no messages ([])"),
        ('{"prompt": "x", "completion": " "}', "line 2: message 2 has an empty answer"),
        ('{"prompt": "x", "completion": 3}', "line 2: message 2 has 3 for content"),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "line 2: message 1 has the role 'bot'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "line 2: the last message is the us"),
        (line(answer="a<|user|>b"), "line 2: message 2 has the mark <|user|> in its content"),
        (line(answer="Ice. " * 40), f"tokens, and the context has {T}; shorten it"),
        (line(split="holdout"), "line 2: the split is 'holdout'; use one of train, val"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path, bad, wrong):
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{line()}\n{bad}\n{line()}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_examples(path, TOKENIZER, T)
    assert str(error.value).startswith("1 of 3 lines of bad.jsonl cannot be learned from: line 2: ")
    assert wrong in str(error.value)


def test_all_bad_lines_are_counted_and_the_first_five_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([line(), *["{}"] * 7]), encoding="utf-8")
    with pytest.raises(DataError, match=r"7 of 8 lines .*line 2: .*line 6: .*; and 2 more$") as e:
        read_examples(path, TOKENIZER, T)
    assert "line 7" not in str(e.value)


def test_the_context_holds_an_example_of_just_its_length(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line(), encoding="utf-8")
    (one,) = read_examples(path, TOKENIZER, T)
    assert len(read_examples(path, TOKENIZER, len(one.ids))) == 1
    with pytest.raises(DataError, match=f"the context has {len(one.ids) - 1};"):
        read_examples(path, TOKENIZER, len(one.ids) - 1)


def test_files_that_hold_nothing_or_something_else(tmp_path):
    path = tmp_path / "a.jsonl"
    for text, holds in [('{"title": "x", "text": "y"}', False), (line(), True), ("{}", True),
                        ("not JSON", True), ('{"text": "y", "messages": 3}', True)]:  # fmt: skip
        path.write_text(text, encoding="utf-8")
        assert holds_conversations(path) is holds, text
    (tmp_path / "a.txt").write_text(line())
    assert not holds_conversations(tmp_path / "a.txt") and not holds_conversations("tales")
    path.write_text("\n\n")
    with pytest.raises(DataError, match="there are no lines of a.jsonl"):
        read_examples(path, TOKENIZER, T)
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl", TOKENIZER, T)
    with pytest.raises(ConfigError, match="lacks the marks"):
        read_examples(path, BPETokenizer.train("aa", 256), T)


def test_every_tenth_validates_unless_lines_say_otherwise():
    many = [example(2, 1, seed) for seed in range(25)]
    train, val = deal(many)
    assert val == [many[9], many[19]] and len(train) == 23
    assert deal(many[:3]) == (many[:2], many[2:3])
    with pytest.raises(DataError, match="1 conversations to train on and 0|0 conversations"):
        deal(many[:1])
    some = [many[0]._replace(split="test"), many[1]._replace(line=7)]
    with pytest.raises(DataError, match="line 7 names no split, and others do"):
        deal(some)


# --- batches --------------------------------------------------------------------------------------


def mean_loss(model: GPT, batches: AnswerBatches, steps: int) -> float:
    """Of the learned tokens of so many steps."""
    total = count = 0.0
    with torch.no_grad():
        for step in range(steps):
            x, y = batches.batch(step)
            n = batches.weight((x, y))
            total, count = total + model(x, y)[1].item() * n, count + n
    return total / count


@pytest.mark.parametrize("rotary", [False, True])
def test_packing_and_padding_are_one_loss(rotary):
    model = make(document_start=CHAT, rotary=rotary).eval()
    losses = []
    for packed in (True, False):
        batches = AnswerBatches(EXAMPLES, 1, T, packed)
        losses.append(mean_loss(model, batches, batches.rows_an_epoch))
    alone = AnswerLoss(EXAMPLES, batch_size=4)(model)
    assert losses == pytest.approx([alone, alone], rel=1e-6)
    model.document_start = None  # without it a conversation looks back into the one before
    packed = AnswerBatches(EXAMPLES, 1, T)
    assert abs(mean_loss(model, packed, packed.rows_an_epoch) - alone) > 1e-4


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 20)), min_size=1, max_size=30),
       st.booleans(), st.integers(1, 5))  # fmt: skip
def test_an_epoch_holds_every_learned_token_once(lengths, packed, batch_size):
    examples = [example(*pair, seed) for seed, pair in enumerate(lengths)]
    one = AnswerBatches(examples, 1, T, packed)
    found = [part[0] for step in range(one.rows_an_epoch) for part in [one.batch(step)[1]]]
    seen = sorted(token for row in found for token in row.tolist() if token >= 0)
    assert seen == sorted(t for e in examples for t in e.targets.tolist() if t >= 0)
    assert 0 <= one.padded < 1
    # A larger batch reads the same rows in the same order, each as long as the longest of them.
    many = AnswerBatches(examples, batch_size, T, packed)
    x, y = many.batch(0)
    for row in range(batch_size):
        n = one.batch(row)[0].size(1)
        assert (x[row, :n] == one.batch(row)[0]).all() and (y[row, n:] == -1).all()
    assert x.size(1) == max(one.batch(row)[0].size(1) for row in range(batch_size)) <= T


def test_packing_takes_fewer_rows_and_pads_less():
    packed, alone = (AnswerBatches(EXAMPLES, 4, T, packed) for packed in (True, False))
    assert packed.rows_an_epoch < alone.rows_an_epoch == len(EXAMPLES)
    assert packed.padded < alone.padded
    assert packed.sha256 != alone.sha256 != AnswerBatches(EXAMPLES[1:], 4, T, False).sha256


def test_what_cannot_be_batched_is_refused():
    with pytest.raises(DataError, match="one has 24 tokens"):
        AnswerBatches(EXAMPLES, 4, 23)
    with pytest.raises(DataError, match="there are none"):
        AnswerBatches([], 4, T)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        AnswerBatches(EXAMPLES, 0, T)
    with pytest.raises(DataError, match="no conversations to measure"):
        AnswerLoss([])


# --- rehearsal ------------------------------------------------------------------------------------

OLD = TokenBatches(np.random.default_rng(0).integers(0, 256, 2000), 2, T, seed=1)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_old_text_is_its_share_of_the_loss_in_every_step(share):
    both = Rehearsed(AnswerBatches(EXAMPLES, 6, T), OLD, share)
    model = make(document_start=CHAT).eval()
    for step in range(3):
        x, y, weights = both.batch(step)
        assert x.shape == y.shape == weights.shape == (8, T)
        assert weights[6:].sum() / weights.sum() == pytest.approx(share, rel=1e-5)
        assert (weights[y < 0] == 0).all() and (weights[:6][y[:6] >= 0] == 1).all()
        new, old = (model(x[rows], y[rows])[1] for rows in (slice(6), slice(6, 8)))
        mixed = weighted_loss(model, (x, y, weights))
        assert mixed.item() == pytest.approx(((1 - share) * new + share * old).item(), rel=1e-5)


def test_a_share_of_a_batch_in_rows():
    assert [rehearsed_rows(16, share) for share in (0.01, 0.1, 0.5)] == [1, 2, 8]
    for share in (0, 1, "0.1"):
        with pytest.raises(ConfigError, match="share is"):
            rehearsed_rows(16, share)
    with pytest.raises(ConfigError, match="a batch of 1 has no room"):
        rehearsed_rows(1, 0.5)


# --- training -------------------------------------------------------------------------------------


def trainer(run_dir, train=None, loss=None, model=None, keep_first=False, **changes) -> Trainer:
    options = dict(steps=6, batch_size=8, lr=1e-2, warmup=1, eval_every=2, attend="document")
    config = TrainConfig(**options | changes)
    batches = train or AnswerBatches(EXAMPLES, 8, T, packed=False, seed=config.seed)
    return Trainer(model or make(), batches, AnswerLoss(EXAMPLES[::3]), config, run_dir, TOKENIZER,
                   separator=[CHAT], loss=loss, keep_first=keep_first)  # fmt: skip


@pytest.mark.parametrize("kind", ["padded", "rehearsed"])
def test_a_batch_of_8_is_one_gradient_however_it_is_cut(tmp_path, kind):
    """8 x 1 = 4 x 2 = 2 x 4 = 1 x 8, with answers of 1 to 20 tokens."""
    gradients = {}
    for parts in (1, 2, 4, 8):
        train, loss = AnswerBatches(EXAMPLES, 8, T, packed=False), None
        if kind == "rehearsed":
            train = Rehearsed(AnswerBatches(EXAMPLES, 6, T, packed=False), OLD, 0.2)
            loss = weighted_loss
        model = make()
        found = gradients[parts] = {}
        for name, weight in model.named_parameters():
            weight.register_post_accumulate_grad_hook(
                lambda w, name=name, found=found: found.__setitem__(name, w.grad.clone())
            )
        trainer(tmp_path / str(parts), train, loss, model, steps=1, grad_clip=0.0,
                accumulate=parts).fit()  # fmt: skip
        for name, gradient in gradients[1].items():
            torch.testing.assert_close(found[name], gradient, rtol=5e-5, atol=5e-7)
    if kind == "padded":  # and it is the one that is written down
        model, (x, y) = make(), AnswerBatches(EXAMPLES, 8, T, packed=False).batch(0)
        assert len({int(n) for n in (y >= 0).sum(1)}) > 4, "the masks are ragged"
        F.cross_entropy(model(x)[0].flatten(0, 1), y.flatten(), ignore_index=-1).backward()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(gradients[8][name], weight.grad, rtol=5e-5, atol=5e-7)


def test_a_run_that_only_gets_worse_keeps_what_it_began_with(tmp_path):
    before = make().state_dict()
    lines = []
    one = trainer(tmp_path, lr=3.0, min_lr=3.0, steps=4, grad_clip=0.0, keep_first=True)
    one.log._report = lines.append
    run = one.fit()
    assert run.best_step == 0 and run.last_val > run.best_val
    assert lines[-1].endswith("`best` is the model as it began")
    from gptlib import load_run

    kept, _, manifest = load_run(tmp_path)
    assert manifest["step"] == 0
    assert all(torch.equal(kept.state_dict()[name], weight) for name, weight in before.items())
    assert load_run(tmp_path, "latest")[2]["step"] == 4


def test_a_run_killed_right_after_its_first_checkpoint_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    one = trainer(tmp_path / "killed", keep_first=True)
    one._update = die
    with pytest.raises(Killed):
        one.fit()
    resumed = trainer(tmp_path / "killed", keep_first=True).fit()
    whole = trainer(tmp_path / "whole", keep_first=True).fit()
    assert resumed.log == whole.log and resumed.log[0] == {"step": 0, "val": whole.log[0]["val"]}
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_other_conversations_are_refused_when_a_run_is_resumed(tmp_path):
    trainer(tmp_path).fit(stop_after=1)
    with pytest.raises(CheckpointError, match="train was "):
        trainer(tmp_path, AnswerBatches(EXAMPLES[:-1], 8, T, packed=False)).fit()


def test_a_model_learns_to_answer_and_to_stop(tmp_path):
    path = tmp_path / "a.jsonl"
    pairs = {"red": "The bell rang.", "cold": "Ice in the harbor.", "old": "Night."}
    path.write_text("\n".join(line(q, a) for q, a in pairs.items()), encoding="utf-8")
    examples = read_examples(path, TOKENIZER, T)
    model = make(n_embd=32)
    batches = AnswerBatches(examples, 2, T)
    config = TrainConfig(steps=60, batch_size=2, lr=2e-2, min_lr=2e-3, warmup=3, eval_every=60,
                         attend="document")  # fmt: skip
    run = Trainer(model, batches, AnswerLoss(examples), config, tmp_path / "run", TOKENIZER,
                  separator=[CHAT]).fit()  # fmt: skip
    for question, answer in pairs.items():
        assert ask(run.model, TOKENIZER, question, 30) == answer
    assert ask_many(run.model, TOKENIZER, list(pairs), 30, batch_size=2) == list(pairs.values())
    again = [*examples[0].messages, {"role": "user", "content": "old"}]
    assert isinstance(ask(run.model, TOKENIZER, again, 5), str)
    assert ask(run.model, TOKENIZER, "red", 2) == TOKENIZER.decode(TOKENIZER.encode("The bell")[:2])
