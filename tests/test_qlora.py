"""QLoRA on a tiny Llama: which tokens carry loss, killed runs, three merges, nothing said aloud."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small_llama import SHAPE, small_base

from gptlib import checkpoint
from gptlib.errors import CheckpointError, ConfigError, DataError, TokenizerError
from gptlib.qlora import (
    PLAIN,
    WAYS,
    QLoRAConfig,
    add_adapter,
    answer,
    answer_loss,
    collate,
    differences,
    encode_pair,
    held_out_loss,
    load_adapter,
    load_base,
    logits_of,
    merge_adapter,
    read_pairs,
    train_adapter,
    training,
)
from gptlib.qlora.base import adapter_weights
from gptlib.qlora.pairs import IGNORE, asked, pairs_of_step

pytest.importorskip("peft")
pytest.importorskip("transformers")
CONFIG = QLoRAConfig(
    rank=4, alpha=8, dropout=0.1, steps=5, batch_size=4, accumulate=2, lr=2e-3, save_every=2
)


def conversation(question: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    pytest.importorskip("bitsandbytes")
    return small_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_base(base, four_bit=False, device="cpu")[1]


@pytest.fixture(scope="module")
def pairs(tokenizer):
    texts = [("the cold " + c * n, "a cold hour" + c * (9 - n)) for n, c in enumerate("cdehilo")]
    return [encode_pair(conversation(*text), tokenizer) for text in texts]


def tuned(base, config=CONFIG):
    return add_adapter(load_base(base, device="cpu")[0], config)


@pytest.fixture(scope="module")
def run(base, pairs, tmp_path_factory):
    """(folder, model) of a run that was left alone."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = tuned(base)
    assert train_adapter(model, pairs, CONFIG, folder, pairs[:2])
    return folder, model


# Which tokens carry loss


def test_only_the_answer_and_its_end_carry_loss(tokenizer, pairs):
    batch = collate([pairs[0], pairs[5]])
    for row, pair in enumerate((pairs[0], pairs[5])):
        learned = batch["labels"][row] != IGNORE
        ids = batch["input_ids"][row][learned].tolist()
        assert ids == pair.ids[pair.prompt :] and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[:-1]) == ("a cold hour" + "ccccccccc", "a cold hourllll")[row]
        before = tokenizer.decode(pair.ids[: pair.prompt], skip_special_tokens=True)
        assert before.rstrip("\n") == ("the cold ", "the cold lllll")[row]
        assert int(batch["attention_mask"][row].sum()) == len(pair.ids)
        assert (batch["labels"][row][len(pair.ids) :] == IGNORE).all()


def test_the_loss_is_the_mean_logarithm_of_the_answers_tokens(base, pairs):
    model, _ = load_base(base, four_bit=False, device="cpu")
    by_hand, count = 0.0, 0
    for pair in pairs:
        logs = logits_of(model, torch.tensor([pair.ids]))[0].log_softmax(-1)
        for n in range(pair.prompt, len(pair.ids)):
            by_hand -= float(logs[n - 1, pair.ids[n]])
            count += 1
    assert held_out_loss(model, pairs, rows=3) == pytest.approx(by_hand / count, rel=1e-5)


def test_what_is_asked_moves_no_loss_by_itself_and_padding_none_at_all(base, pairs):
    model, _ = load_base(base, four_bit=False, device="cpu")
    batch = collate([pairs[0], pairs[6]])
    with torch.no_grad():
        together = float(answer_loss(model, batch))
        apart = sum(float(answer_loss(model, collate([pair]))) for pair in (pairs[0], pairs[6]))
        batch["input_ids"][batch["attention_mask"] == 0] = 270
        assert float(answer_loss(model, batch)) == pytest.approx(together, rel=1e-5)
    assert together == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(base, pairs, tmp_path, parts):
    """Also where the parts have unlike numbers of answer tokens."""
    logs = []
    for accumulate in (1, parts):
        config = replace(CONFIG, dropout=0.0, accumulate=accumulate, steps=3, lr=1e-2)
        model = tuned(base, config)
        train_adapter(model, pairs, config, tmp_path / str(accumulate))
        lines = (tmp_path / str(accumulate) / "log.jsonl").read_text().splitlines()
        logs.append([json.loads(line)["loss"] for line in lines])
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_a_chat_form_is_used_and_one_that_rewrites_the_question_is_refused(base, tokenizer):
    _, other = load_base(base, four_bit=False, device="cpu")
    other.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] + '\n' + m['content'] + eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
    )
    pair = encode_pair(conversation("the cold", "an hour"), other)
    assert asked(conversation("the cold", "x")[:1], other) == "<s>user\nthe cold<s>assistant\n"
    assert other.decode(pair.ids[pair.prompt :]) == "an hour<s>" or pair.ids[-1] == 1
    assert pair.ids.count(1) == 3  # one begin, not two
    other.chat_template = "{{ messages | length }}" + PLAIN
    with pytest.raises(TokenizerError, match="otherwise once it is answered"):
        encode_pair(conversation("the cold", "an hour"), other)


def test_bad_data_is_refused_by_its_line(tokenizer, tmp_path):
    good = json.dumps({"messages": conversation("a", "b")})
    bad = {
        "{": "JSONDecodeError", '{"text": "a"}': "KeyError", '{"messages": [1, 2]}': "TypeError",
        json.dumps({"messages": conversation("a", "b")[:1]}): "nothing is asked and answered",
        json.dumps({"messages": conversation("a", " ")}): "message 2 has no text",
        json.dumps({"messages": [{"role": "bot", "content": "a"}] * 2}): "the role 'bot'",
    }  # fmt: skip
    for line, why in bad.items():
        (tmp_path / "pairs.jsonl").write_text(f"{good}\n\n{line}\n")
        with pytest.raises(DataError, match=f"line 3 of pairs.jsonl is no conversation.*{why}"):
            read_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.jsonl").write_text(f"{good}\n\n{good}\n")
    assert read_pairs(tmp_path / "pairs.jsonl") == [conversation("a", "b")] * 2
    with pytest.raises(DataError, match=r"10 \+ 2 tokens.*|tokens and max_length is 5"):
        encode_pair(conversation("the cold", "an hour"), tokenizer, max_length=5)


def test_every_pair_is_seen_once_before_any_again():
    seen = [n for step in range(14) for n in pairs_of_step(step, 7, 4, seed=3)]
    epochs = [seen[first : first + 7] for first in range(0, 56, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 6
    assert pairs_of_step(0, 7, 4, seed=3) != pairs_of_step(0, 7, 4, seed=4)


# Killed and resumed


def contents(folder) -> tuple:
    """All that a run leaves, without the wrapping of a zip file."""
    weights, state, _ = checkpoint.load(checkpoint.folder_of(folder, CONFIG.steps))
    return weights, state, (folder / "log.jsonl").read_bytes()


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def die_at(moment: tuple[str, int]) -> None:
    """Let this process be killed at the nth step of a save, or before the nth update."""
    kind, left = moment
    module, name = (checkpoint, "reached") if kind == "save" else (training, "_update")
    before = getattr(module, name)

    def counted(*args):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(*args)

    setattr(module, name, counted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    "moments",
    [[("save", 3)], [("save", 9)], [("save", 11), ("update", 2)], [("update", 4), ("save", 6)]],
)
def test_a_killed_run_ends_as_if_it_had_been_left_alone(run, base, pairs, tmp_path, moments):
    for moment in moments:
        child = os.fork()
        if child == 0:
            try:
                die_at(moment)
                train_adapter(tuned(base), pairs, CONFIG, tmp_path, pairs[:2], resume=True)
            finally:
                os._exit(3)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    model = tuned(base)
    assert train_adapter(model, pairs, CONFIG, tmp_path, pairs[:2], resume=True)
    assert same(contents(tmp_path), contents(run[0]))
    assert same(adapter_weights(model), adapter_weights(run[1]))


def test_another_run_is_not_gone_on_with(run, base, pairs):
    folder = run[0]
    with pytest.raises(CheckpointError, match="holds a run already"):
        train_adapter(tuned(base), pairs, CONFIG, folder, pairs[:2])
    other = replace(CONFIG, lr=1e-5)
    with pytest.raises(CheckpointError, match=r"lr was 0.002 and is 1e-05"):
        train_adapter(tuned(base, other), pairs, other, folder, pairs[:2], resume=True)
    with pytest.raises(CheckpointError, match="pairs is another"):
        train_adapter(tuned(base), pairs[1:], CONFIG, folder, pairs[:2], resume=True)


def test_a_paged_optimizer_moves_as_torchs_and_says_nothing(base, pairs, tmp_path, recwarn):
    for paged in (False, True):
        config = replace(CONFIG, paged=paged, steps=3)
        train_adapter(tuned(base, config), pairs, config, tmp_path / str(paged))
    losses = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
        ]
        for name in ("False", "True")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert not [warning for warning in recwarn if "aged" in str(warning.message)]


# What comes out


def test_an_adapter_is_read_back_and_names_no_place(run, base, pairs):
    folder, model = run
    ids = torch.tensor([pairs[2].ids])
    again = load_adapter(load_base(base, device="cpu")[0], folder / "adapter")
    assert torch.equal(logits_of(again, ids), logits_of(model, ids))
    for path in folder.rglob("*"):
        assert path.is_dir() or str(base.parent.parent).encode() not in path.read_bytes(), path
    with pytest.raises(CheckpointError, match="has no adapter_model"):
        load_adapter(load_base(base, device="cpu")[0], folder)


def test_looking_at_a_model_does_not_change_it(base, pairs):
    """bitsandbytes would repack the weights in bfloat16 where the processor has units for it."""
    model, _ = load_base(base, device="cpu")
    ids = torch.tensor([pairs[2].ids])
    first = logits_of(model, ids)
    module = model.model.layers[0].mlp.up_proj
    assert module.weight.dtype == torch.uint8 and module.weight.shape[1] == 1
    assert torch.equal(logits_of(model.train(), ids), first)


def test_merged_where_it_was_trained_an_adapter_is_kept(base, pairs, tmp_path):
    """In four bits it is rounded once more; in the base it meets weights without the errors that it
    was trained beside. Which of these two is worse depends on the run, so that is not said here."""
    config = replace(CONFIG, steps=12, save_every=12, dropout=0.0)
    model = tuned(base, config)
    train_adapter(model, pairs, config, tmp_path)
    ids = torch.tensor([pairs[2].ids])
    trained, untouched = logits_of(model, ids), logits_of(load_base(base, device="cpu")[0], ids)
    by_way = {
        way: differences(trained, logits_of(merge_adapter(base, tmp_path / "adapter", way), ids))
        for way in WAYS
    }
    effect = differences(trained, untouched)
    assert by_way["dequantized"].largest < 1e-3 and by_way["dequantized"].same == 1
    for way in ("4bit", "base"):
        assert by_way[way].mean > 100 * by_way["dequantized"].mean
    assert effect.mean > 100 * by_way["dequantized"].mean
    with pytest.raises(ConfigError, match="cannot be merged '8bit'"):
        merge_adapter(base, tmp_path / "adapter", "8bit")


def test_an_answer_is_drawn_by_its_seed_alone(run, base, tokenizer):
    model, question = run[1], conversation("the cold", "x")[:1]
    greedy = answer(model, tokenizer, question, 12)
    drawn = [answer(model, tokenizer, question, 12, temperature=1.0, seed=s) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and greedy == answer(model, tokenizer, question, 12)
    before = torch.get_rng_state()
    answer(model, tokenizer, question, 3, temperature=1.0)
    assert torch.equal(before, torch.get_rng_state())


# What cannot be


def test_settings_and_models_that_cannot_be_are_refused(base, pairs, tmp_path):
    for change, line in {
        "rank": "rank is 0", "lr": "lr is 0; give a number above", "accumulate": "accumulate is 0",
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=line):
            replace(CONFIG, **{change: 0})
    with pytest.raises(ConfigError, match="accumulate is 3, which does not divide"):
        replace(CONFIG, accumulate=3)
    with pytest.raises(ConfigError, match="no layer of the model is called c_attn"):
        tuned(base, replace(CONFIG, targets=("c_attn",)))
    with pytest.raises(CheckpointError, match="is no folder of a causal language model"):
        load_base(tmp_path, device="cpu")
    with pytest.raises(DataError, match="no pairs to learn from"):
        train_adapter(tuned(base), [], CONFIG, tmp_path / "none")
    (tmp_path / "narrow").mkdir()
    narrow = small_base(tmp_path / "narrow", shape=(32, *SHAPE[1:]))
    with pytest.raises(ConfigError, match="rows of 32 weights, which bitsandbytes misreads"):
        load_base(narrow, device="cpu")


def test_nothing_is_said_aloud(base, tmp_path):
    program = (
        "import sys; from gptlib.qlora import *\n"
        "model, tokenizer = load_base(sys.argv[1], device='cpu')\n"
        "config = QLoRAConfig(rank=2, steps=1, batch_size=1, paged=True)\n"
        "model, asked = add_adapter(model, config), {'role': 'user', 'content': 'the cold'}\n"
        "pair = encode_pair([asked, {'role': 'assistant', 'content': 'hour'}], tokenizer)\n"
        "train_adapter(model, [pair], config, sys.argv[2])\n"
        "answer(model, tokenizer, [asked], 2)\n"
        "merge_adapter(sys.argv[1], sys.argv[2] + '/adapter', '4bit')\n"
        "merge_adapter(sys.argv[1], sys.argv[2] + '/adapter', 'dequantized')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(base), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == done.stderr == ""
