"""Every setting explains itself, once: to the command line, to TOML files and to the reference."""

from dataclasses import fields

import pytest

from gptlib.model_config import GPTConfig
from gptlib.settings import GROUPS
from gptlib.train_config import TrainConfig

SHAPE = (
    "block_size vocab_size n_layer n_head n_embd dropout attn_dropout bias rotary qk_norm norm "
    "activation tied_head zero_init softcap padding_ids"
)
TRAINING = (
    "steps batch_size accumulate lr min_lr warmup schedule decay optimizer embed_lr head_lr "
    "muon_parts weight_decay beta1 beta2 grad_clip eval_every eval_windows patience save_every "
    "save_minutes keep_last seed sampling device dtype compile parallel recompute "
    "loss_chunk attend"
)


@pytest.mark.parametrize(("config", "names"), [(GPTConfig, SHAPE), (TrainConfig, TRAINING)])
def test_the_order_of_the_fields_stays(config, names):
    """They may be given by position: a new one goes to the end."""
    assert " ".join(f.name for f in fields(config)) == names
    values = [f.default for f in fields(config)]
    assert config(*values) == config()


@pytest.mark.parametrize("config", [GPTConfig, TrainConfig])
def test_every_setting_has_a_group_and_a_sentence_of_its_own(config):
    sentences = [f.metadata["help"] for f in fields(config)]
    assert len(set(sentences)) == len(sentences)
    for f in fields(config):
        assert f.metadata["group"] in GROUPS
        text = f.metadata["help"]
        assert len(text.split()) >= 3 and text.isascii() and not text.endswith(".")
        assert f"    {f.name}: {text}.\n" in config.__doc__ + "\n"  # what the reference shows
