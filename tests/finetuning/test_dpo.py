"""DPO: the loss of the paper, of the answers alone, and a training that a kill does not change."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.callbacks import Callback
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.finetuning.dpo import dpo_loss, sequence_logprobs
from gptlib.finetuning.preferences import (
    PairBatches,
    PreferenceMeasure,
    PreferencePair,
    Preferences,
    make_preferences,
    pair_logprobs,
    preference_loss,
)

BETA = 0.5


def make(seed: int = 0, **shape) -> GPT:
    torch.manual_seed(seed)
    sizes = dict(block_size=16, vocab_size=20, n_layer=2, n_head=2, n_embd=16) | shape
    model = GPT(GPTConfig(**sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def some_pairs(n: int = 12, seed: int = 0) -> list[PreferencePair]:
    """Pairs whose prompts and answers have many lengths."""
    dice = torch.Generator().manual_seed(seed)

    def ids(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=dice))
        return torch.randint(0, 20, (length,), generator=dice).tolist()

    return [PreferencePair(ids(1, 4), ids(1, 13), ids(1, 13)) for _ in range(n)]


def by_hand(model: GPT, prompt, answer) -> float:
    """The log-probability of an answer, one token after the other."""
    total, text = 0.0, list(prompt)
    for token in answer:
        logits, _ = model(torch.tensor([text]))
        total += logits[0, -1].log_softmax(-1)[token].item()
        text.append(token)
    return total


def test_a_sequence_is_the_sum_of_its_answers_tokens_alone():
    model, pairs = make().eval(), some_pairs(5)
    found = pair_logprobs(model, make_preferences(pairs, model))
    for pair, (chosen, rejected) in zip(pairs, found.tolist(), strict=True):
        assert chosen == pytest.approx(by_hand(model, pair.prompt, pair.chosen), abs=1e-4)
        assert rejected == pytest.approx(by_hand(model, pair.prompt, pair.rejected), abs=1e-4)


def test_neither_prompt_nor_padding_carries_gradient():
    """Marked tokens alone are targets; what stands in the padding is never seen."""
    model = make()
    ids = torch.tensor([[1, 2, 3, 4, 5, 0, 0], [1, 2, 3, 4, 5, 6, 7]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]])
    first = sequence_logprobs(model, ids, mask)
    other = ids.clone()
    other[0, 5:] = torch.tensor([9, 11])
    torch.testing.assert_close(first[0], sequence_logprobs(model, other, mask)[0])
    logits = model(ids)[0].detach().requires_grad_()

    class Fixed(torch.nn.Module):
        def forward(self, idx, targets, return_logits, reduction):
            losses = F.cross_entropy(
                logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none"
            )
            return None, losses.view(targets.shape)

    found = sequence_logprobs(Fixed(), ids, mask)
    torch.testing.assert_close(found, first.detach(), rtol=1e-4, atol=1e-4)
    found.sum().backward()
    moved = logits.grad.abs().sum(-1) > 0
    predicts = torch.zeros_like(mask, dtype=torch.bool)
    predicts[:, :-1] = mask[:, 1:].bool()
    assert torch.equal(moved, predicts)


def test_the_first_token_of_a_row_never_counts():
    model, ids = make(), torch.tensor([[3, 4, 5]])
    with_first = sequence_logprobs(model, ids, torch.tensor([[1, 0, 1]]))
    torch.testing.assert_close(with_first, sequence_logprobs(model, ids, torch.tensor([[0, 0, 1]])))


def four(n: int = 6) -> list[torch.Tensor]:
    dice = torch.Generator().manual_seed(1)
    return [-20 * torch.rand(n, generator=dice, dtype=torch.float64) for _ in range(4)]


def test_the_loss_is_that_of_the_paper():
    """Rafailov et al. 2023, equation 7, a pair at a time."""
    chosen, rejected, ref_chosen, ref_rejected = four()
    for beta in (0.03, 0.1, 1.0):
        loss, rewards = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)
        terms = []
        for n in range(6):
            better = beta * (chosen[n] - ref_chosen[n]).item()
            worse = beta * (rejected[n] - ref_rejected[n]).item()
            assert rewards.chosen[n].item() == pytest.approx(better)
            assert rewards.rejected[n].item() == pytest.approx(worse)
            assert rewards.margin[n].item() == pytest.approx(better - worse)
            terms.append(math.log(1 + math.exp(worse - better)))
        assert loss.item() == pytest.approx(sum(terms) / 6)


def test_the_gradient_is_that_of_the_paper():
    """Its section 4: β σ(r_rejected - r_chosen), up for the chosen and down for the rejected."""
    chosen, rejected, *reference = (part.requires_grad_() for part in four())
    loss, rewards = dpo_loss(chosen, rejected, *(part.detach() for part in reference), BETA)
    loss.backward()
    weight = BETA * torch.sigmoid(rewards.rejected - rewards.chosen) / 6
    torch.testing.assert_close(chosen.grad, -weight)
    torch.testing.assert_close(rejected.grad, weight)
    assert not rewards.chosen.requires_grad and not rewards.rejected.requires_grad


def test_a_policy_that_is_its_reference_costs_ln_2_and_so_does_a_beta_of_almost_nothing():
    chosen, rejected, *reference = four()
    assert dpo_loss(chosen, rejected, chosen, rejected, 3.0)[0].item() == pytest.approx(math.log(2))
    for beta in (1e-3, 1e-6):
        loss = dpo_loss(chosen, rejected, *reference, beta)[0].item()
        assert abs(loss - math.log(2)) < 20 * beta
    assert abs(dpo_loss(chosen, rejected, *reference, 1.0)[0].item() - math.log(2)) > 0.1


def test_a_large_margin_neither_overflows_nor_vanishes():
    big, small, zero = torch.tensor([1e4]), torch.tensor([-1e4]), torch.zeros(1)
    assert dpo_loss(big, small, zero, zero, 1.0)[0].item() == 0
    assert dpo_loss(small, big, zero, zero, 1.0)[0].item() == pytest.approx(2e4)


@pytest.mark.parametrize("beta", [0, -0.1, math.inf, math.nan, "0.1"])
def test_a_beta_that_is_none_is_refused(beta):
    with pytest.raises(ConfigError, match="give a number above 0"):
        dpo_loss(*four(), beta)


def test_shapes_that_would_broadcast_are_refused():
    a, b, c, d = four()
    with pytest.raises(DataError, match="a number for each answer"):
        dpo_loss(a, b, c, d[:, None], 0.1)
    with pytest.raises(DataError, match="the mask true where"):
        sequence_logprobs(make(), torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 3))


def test_pairs_that_cannot_be_trained_on_are_refused():
    model = make()
    with pytest.raises(DataError, match="no pairs"):
        make_preferences([], model)
    with pytest.raises(DataError, match="pair 1 has 1 tokens of prompt, 0 chosen and 1 rejected"):
        make_preferences([PreferencePair([1], [2], [3]), PreferencePair([1], [], [2])], model)
    fits, long = PreferencePair([1], [2] * 16, [3]), PreferencePair([1], [3], [2] * 17)
    assert len(make_preferences([fits], model)) == 1
    with pytest.raises(DataError, match="pair 0 has a text of 18 tokens, and a context of 16"):
        make_preferences([long], model)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        PairBatches(make_preferences([fits], model), 0)


def test_pairs_are_kept_with_their_reference(tmp_path):
    pairs = make_preferences(some_pairs(), make())
    pairs.save(tmp_path / "pairs.safetensors")
    again = Preferences.load(tmp_path / "pairs.safetensors")
    assert again.sha256 == pairs.sha256 and torch.equal(again.reference, pairs.reference)
    other = Preferences(pairs.ids, pairs.mask, pairs.reference + 1)
    assert other.sha256 != pairs.sha256, "another reference is other data"
    (tmp_path / "text").write_text("chosen, rejected")
    for name in ("text", "nothing"):
        with pytest.raises(DataError, match=r"a file that Preferences\.save wrote"):
            Preferences.load(tmp_path / name)


def test_every_pair_is_read_once_an_epoch_in_a_new_order():
    pairs = make_preferences(some_pairs(12), make())
    place = {tuple(pair.tolist()): n for n, pair in enumerate(pairs.reference)}
    batches = PairBatches(pairs, 4, seed=3)
    read = [place[tuple(row.tolist())] for step in range(6) for row in batches.batch(step)[2]]
    epochs = read[:12], read[12:]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


# --- training: through the same loop as everything else -------------------------------------------


def trainer(run_dir, beta: float = BETA, seed: int = 0, batch_size: int = 6, **changes) -> Trainer:
    settings = dict(steps=6, lr=1e-2, warmup=1, eval_every=2, weight_decay=0.0) | changes
    model = make(dropout=settings.pop("dropout", 0.0))
    train = make_preferences(some_pairs(16, seed), model)
    held_out = make_preferences(some_pairs(4, seed=9), model)
    return Trainer(
        model, PairBatches(train, batch_size), PreferenceMeasure(held_out, beta),
        TrainConfig(batch_size=batch_size, **settings), run_dir, loss=preference_loss(beta),
    )  # fmt: skip


def first_gradients(run_dir, **changes) -> dict[str, torch.Tensor]:
    one, found = trainer(run_dir, steps=1, grad_clip=0.0, **changes), {}
    for name, weight in one.model.named_parameters():
        weight.register_post_accumulate_grad_hook(
            lambda w, name=name: found.__setitem__(name, w.grad.clone())
        )
    one.fit()
    return found


def test_ragged_pairs_give_one_gradient_however_a_batch_is_cut(tmp_path):
    whole = first_gradients(tmp_path / "whole")
    for accumulate in (2, 6):
        parts = first_gradients(tmp_path / f"{accumulate}", accumulate=accumulate)
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)
    # and it is that of the formula, a pair at a time and without any padding
    model = make()
    train = make_preferences(some_pairs(16), model)
    ids, mask, reference = PairBatches(train, 6).batch(0)
    assert len(set(mask.sum(-1).flatten().tolist())) > 3, "the answers are ragged"
    loss = torch.zeros(())
    for n in range(6):
        sides = []
        for side in range(2):
            end = int(mask[n, side].nonzero().max()) + 1
            row, marked = ids[n, side, :end], mask[n, side, 1:end]
            logs = model(row[None])[0][0, :-1].log_softmax(-1)
            sides.append(logs.gather(1, row[1:, None])[:, 0][marked].sum() - reference[n, side])
        loss = loss - torch.log(torch.sigmoid(BETA * (sides[0] - sides[1]))) / 6
    loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(whole[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_it_begins_at_ln_2_and_learns_which_answer_is_the_better(tmp_path):
    one = trainer(tmp_path, steps=30)
    pairs = one.batches.pairs
    run = one.fit()
    assert run.log[0]["val"] == pytest.approx(math.log(2), abs=1e-5)
    assert run.log[1]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    gained = pair_logprobs(run.model, pairs) - pairs.reference
    told_apart = (gained[:, 0] > gained[:, 1]).float().mean()
    assert told_apart > 0.9 and run.log[-2]["loss"] < 0.3


def whole_run(run_dir, callbacks=()):
    one = trainer(run_dir, accumulate=2, dropout=0.2, save_every=2, save_minutes=0)
    one.log.callbacks = list(callbacks)
    return one.fit()


def run_and_die(run_dir: str, step: int) -> None:
    class Death(Callback):
        def stepped(self, line):
            if line["step"] == step:
                os.kill(os.getpid(), signal.SIGKILL)

    whole_run(run_dir, [Death()])


def test_a_run_that_is_killed_is_resumed_bit_for_bit(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_dpo, torch\n"
        "torch.set_num_threads(1)\n"
        "test_dpo.run_and_die(sys.argv[2], 3)"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), tmp_path / "killed"]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert whole_run(tmp_path / "killed").finished and whole_run(tmp_path / "whole").finished
    finally:
        torch.set_num_threads(threads)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("killed", "whole")]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) == 6 + 4
    weights = [
        load_file(tmp_path / name / "checkpoints/step_00000006/model.safetensors")
        for name in ("killed", "whole")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_is_not_resumed_with_another_beta_or_other_pairs(tmp_path):
    trainer(tmp_path).fit(stop_after=2)
    with pytest.raises(CheckpointError, match=r"loss was 'dpo_loss with beta 0\.5' and is now"):
        trainer(tmp_path, beta=0.1).fit()
    with pytest.raises(CheckpointError, match="train was"):
        trainer(tmp_path, seed=1).fit()
    assert trainer(tmp_path).fit().finished
