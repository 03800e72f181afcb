"""The loss of trl's `DPOTrainer` on one batch, its gradients and its rewards: ours are the same."""

import pytest
import torch

from gptlib.finetuning.dpo import dpo_loss
from gptlib.finetuning.preferences import (
    PreferencePair,
    make_preferences,
    pair_logprobs,
    preference_loss,
)
from gptlib.hub import from_hf

VOCABULARY, BETA = 24, 0.3
PAIRS = [
    PreferencePair([3, 4, 5], [6, 7, 8, 9], [10, 11]),
    PreferencePair([3], [12], [13, 14, 15, 16, 17]),
    PreferencePair([3, 18], [19, 20, 21], [22, 23, 6]),
]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """trl's trainer with a policy and a reference that differ."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({f"w{n:02}": n for n in range(VOCABULARY)}, unk_token="w00")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w00", eos_token="w01", unk_token="w02"
    )

    def tiny(seed: int):
        torch.manual_seed(seed)
        shape = dict(n_layer=2, n_head=2, n_embd=16, n_positions=16, vocab_size=VOCABULARY)
        config = transformers.GPT2Config(
            **shape, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1,
            eos_token_id=1, initializer_range=0.4,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config)

    def said(ids) -> str:
        return "".join(f"w{n:02} " for n in ids)

    parts = ("prompt", "chosen", "rejected")
    rows = [{part: said(ids) for part, ids in zip(parts, pair, strict=True)} for pair in PAIRS]
    settings = trl.DPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")), beta=BETA, use_cpu=True, report_to="none",
        bf16=False, gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    return trl.DPOTrainer(
        model=tiny(1), ref_model=tiny(2), args=settings, processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip


@pytest.fixture(scope="module")
def batch(theirs):
    """All pairs, collated by trl; it ends each answer with the tokenizer's eos, id 1."""
    rows = [theirs.train_dataset[n] for n in range(len(PAIRS))]
    collated = theirs.data_collator(rows)
    assert collated["input_ids"].shape[0] == 2 * len(PAIRS)
    return collated


def test_on_one_batch_loss_rewards_and_gradients_are_those_of_trl(theirs, batch):
    policy, reference = from_hf(theirs.model), from_hf(theirs.ref_model)
    ended = [PreferencePair(p.prompt, [*p.chosen, 1], [*p.rejected, 1]) for p in PAIRS]
    pairs = make_preferences(ended, reference)
    ids, mask, kept = pairs.rows(range(len(pairs)))
    assert torch.equal(ids.transpose(0, 1).flatten(0, 1), batch["input_ids"])
    assert torch.equal(mask.transpose(0, 1).flatten(0, 1).long(), batch["completion_mask"])

    theirs.model.train()
    theirs.model.zero_grad()
    expected = theirs._compute_loss(theirs.model, batch, return_outputs=False)
    expected.backward()
    found = preference_loss(BETA)(policy.train(), (ids, mask, kept))
    found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    turned = ("c_attn.weight", "c_fc.weight", "c_proj.weight")
    gradients = {name: weight.grad for name, weight in policy.named_parameters()}
    for name, weight in theirs.model.named_parameters():
        theirs_here = weight.grad.T if name.endswith(turned) else weight.grad
        torch.testing.assert_close(gradients[name], theirs_here, rtol=1e-3, atol=1e-5)

    logprobs = pair_logprobs(policy, pairs)
    rewards = dpo_loss(*logprobs.unbind(1), *pairs.reference.unbind(1), beta=BETA)[1]
    logged = {name: values[-1] for name, values in theirs._metrics["train"].items()}
    for name, value in {
        "rewards/chosen": rewards.chosen.mean(), "rewards/rejected": rewards.rejected.mean(),
        "rewards/margins": rewards.margin.mean(), "logps/chosen": logprobs[:, 0].mean(),
        "logps/rejected": logprobs[:, 1].mean(),
    }.items():  # fmt: skip
        assert value.item() == pytest.approx(logged[name], rel=1e-4, abs=1e-4), name
    assert abs(expected.item() - 0.6931) > 0.05, "policy and reference differ"
