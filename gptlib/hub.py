"""Hugging Face's GPT-2 in and out.

One job: move weights between `gptlib.GPT` and `transformers.GPT2LMHeadModel` without a change in
any logit. transformers stores GPT-2's linear weights transposed (its Conv1D) and always has biases:
a model without goes out with zeros for them, which change nothing, and `bias: false` in the config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

_TRANSPOSED = ("c_attn.weight", "c_fc.weight", "c_proj.weight")
_MASKS = (".attn.bias", ".attn.masked_bias")  # no weights: files of old versions have them
_ACTIVATIONS = {  # transformers has two names for one function
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu",
}  # fmt: skip


def _swap_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Transpose what one side stores as (in, out) and the other as (out, in)."""
    return {k: v.t().contiguous() if k.endswith(_TRANSPOSED) else v for k, v in state.items()}


def from_hf(hf_gpt2: GPT2LMHeadModel) -> GPT:
    """Return a `GPT` with the weights of a `GPT2LMHeadModel`, in float32.

    What the config says of tokens, of initial weights and of other heads is no part of a `GPT`.

    Raises:
        ConfigError: the model uses an option of GPT-2 that `GPT` does not have, or has more
            weights than GPT-2.
    """
    c = hf_gpt2.config
    weights = _swap_layout(hf_gpt2.state_dict())
    # A model that to_hf wrote says that it has no biases; who has trained it since gave it some.
    biases = [v for k, v in weights.items() if k.endswith(".bias") and not k.endswith(_MASKS)]
    bias = getattr(c, "bias", True) or any(v.any().item() for v in biases)
    odd = []
    if c.activation_function not in _ACTIVATIONS:
        odd.append(f"activation_function={c.activation_function!r}")
    if c.n_inner not in (None, 4 * c.n_embd):
        odd.append(f"n_inner={c.n_inner}")
    if c.layer_norm_epsilon != 1e-5:
        odd.append(f"layer_norm_epsilon={c.layer_norm_epsilon}")
    if c.scale_attn_by_inverse_layer_idx or not c.scale_attn_weights:
        odd.append("another attention scale")
    if c.embd_pdrop != c.resid_pdrop:
        odd.append(
            f"embd_pdrop={c.embd_pdrop} beside resid_pdrop={c.resid_pdrop} (make the two equal in "
            "its config)"
        )
    if c.add_cross_attention:
        odd.append("add_cross_attention=True")
    if odd:
        raise ConfigError(f"this is not plain GPT-2: {', '.join(odd)}; gptlib has no such option")
    config = GPTConfig(
        block_size=c.n_positions,
        vocab_size=c.vocab_size,
        n_layer=c.n_layer,
        n_head=c.n_head,
        n_embd=c.n_embd,
        dropout=c.resid_pdrop,
        attn_dropout=c.attn_pdrop,
        bias=bias,
        activation=_ACTIVATIONS[c.activation_function],
        tied_head=c.tie_word_embeddings,
    )
    model = GPT(config)
    ours = model.state_dict()
    left_out = _MASKS if bias else (*_MASKS, ".bias")
    more = [k for k in weights if k not in ours and not k.endswith(left_out)]
    if more or not ours.keys() <= weights.keys():
        found = f"{len(more)} weights more, such as {more[0]}" if more else "fewer weights"
        raise ConfigError(
            f"this is not plain GPT-2: it has {found}; merge or take off what was added to it"
        )
    model.load_state_dict({k: weights[k] for k in ours})
    return model.train(hf_gpt2.training)


def to_hf(model: GPT) -> GPT2LMHeadModel:
    """Return a `GPT2LMHeadModel` with the weights of a `GPT` (needs `pip install transformers`).

    Raises:
        ConfigError: the model has something that `GPT2LMHeadModel` cannot express: a newer part, or
            the squared ReLU.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    c, plain = model.config, GPTConfig()
    fixed = ("rotary", "qk_norm", "norm", "softcap")
    odd = [name for name in fixed if getattr(c, name) != getattr(plain, name)]
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    if c.activation not in names:
        odd.append("activation")
    if odd:
        settings = ", ".join(f"{name}={getattr(c, name)!r}" for name in odd)
        raise ConfigError(
            f"the model has {settings}, which GPT2LMHeadModel cannot express; train one without, "
            "or share the run folder itself"
        )
    config = GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.block_size,
        n_embd=c.n_embd,
        n_layer=c.n_layer,
        n_head=c.n_head,
        resid_pdrop=c.dropout,
        embd_pdrop=c.dropout,
        attn_pdrop=c.attn_dropout,
        activation_function=names[c.activation],
        tie_word_embeddings=c.tied_head,
        bos_token_id=None,
        eos_token_id=None,
    )
    if not c.bias:
        config.update({"bias": False})
    hf = GPT2LMHeadModel(config)
    no_biases = {k: torch.zeros_like(v) for k, v in hf.state_dict().items() if k.endswith(".bias")}
    hf.load_state_dict(no_biases | _swap_layout(model.state_dict()))
    return hf.train(model.training)
