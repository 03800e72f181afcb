"""GPT-2's weights between gptlib and Hugging Face's layout.

One job: move weights between `gptlib.GPT` and `transformers.GPT2LMHeadModel`, or the file and the
config that stand for one, without a change in any logit. transformers stores GPT-2's linear weights
transposed (its Conv1D) and always has biases: a model without goes out with zeros for them, which
change nothing, and `bias: false` in the config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
_NEWER = ("rotary", "qk_norm", "norm", "softcap")
#: What a config.json means that leaves a key out.
_DEFAULTS: dict[str, Any] = {
    "n_positions": 1024, "vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768,
    "n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1, "bias": True,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False, "tie_word_embeddings": True,
}  # fmt: skip


def _turned(name: str, weight: Tensor) -> Tensor:
    """Transpose what one side stores as (in, out) and the other as (out, in)."""
    return weight.t().contiguous() if name.endswith(_TRANSPOSED) else weight


def gpt2_weights(model: GPT) -> dict[str, Tensor]:
    """The weights of `GPT2LMHeadModel`, by its names and in its layout, of a `GPT`.

    Raises:
        ConfigError: see `gpt2_settings`.
    """
    gpt2_settings(model)
    weights = {name: _turned(name, tensor) for name, tensor in model.state_dict().items()}
    if model.config.bias:
        return weights
    zeros: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(("transformer.h.", "transformer.ln_f.")):
            zeros[name.removesuffix("weight") + "bias"] = tensor.new_zeros(tensor.shape[-1])
    return weights | zeros


def gpt2_settings(model: GPT) -> dict[str, Any]:
    """What a GPT-2's `config.json` says of the shape of a `GPT`.

    Raises:
        ConfigError: the model has something that `GPT2LMHeadModel` cannot express: a newer part, or
            the squared ReLU.
    """
    if (model.tuning or {}).get("method") == "lora":
        raise ConfigError(
            "the model has LoRA beside its weights, which is no part of a GPT-2; merge it with "
            "merge_lora, or save it alone with save_lora"
        )
    c, plain = model.config, GPTConfig()
    odd = [name for name in _NEWER if getattr(c, name) != getattr(plain, name)]
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    if c.activation not in names:
        odd.append("activation")
    if odd:
        settings = ", ".join(f"{name}={getattr(c, name)!r}" for name in odd)
        raise ConfigError(
            f"the model has {settings}, which GPT2LMHeadModel cannot express; train one without, "
            "or share the run folder itself"
        )
    settings = {
        "vocab_size": c.vocab_size,
        "n_positions": c.block_size,
        "n_embd": c.n_embd,
        "n_layer": c.n_layer,
        "n_head": c.n_head,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout,
        "attn_pdrop": c.attn_dropout,
        "activation_function": names[c.activation],
        "tie_word_embeddings": c.tied_head,
    }
    return settings if c.bias else settings | {"bias": False}


def config_of(settings: Mapping[str, Any], bias: bool | None = None) -> GPTConfig:
    """The `GPTConfig` of what a GPT-2's `config.json` says.

    What it says of tokens, of initial weights and of other heads is no part of a `GPT`.

    Args:
        settings: the file's values, those that are not the default at least.
        bias: whether the weights have biases, whatever the file says.

    Raises:
        ConfigError: it has an option of GPT-2 that `GPT` does not have, or a value that cannot be.
    """
    c = _DEFAULTS | {key: settings[key] for key in _DEFAULTS if key in settings}
    odd = []
    activation = _ACTIVATIONS.get(str(c["activation_function"]), "")
    if not activation:
        odd.append(f"activation_function={c['activation_function']!r}")
    width = 4 * c["n_embd"] if isinstance(c["n_embd"], int) else None
    if c["n_inner"] not in (None, width):
        odd.append(f"n_inner={c['n_inner']}")
    if c["layer_norm_epsilon"] != 1e-5:
        odd.append(f"layer_norm_epsilon={c['layer_norm_epsilon']}")
    if c["scale_attn_by_inverse_layer_idx"] or not c["scale_attn_weights"]:
        odd.append("another attention scale")
    if c["embd_pdrop"] != c["resid_pdrop"]:
        odd.append(
            f"embd_pdrop={c['embd_pdrop']} beside resid_pdrop={c['resid_pdrop']} (make the two "
            "equal in its config)"
        )
    if c["add_cross_attention"]:
        odd.append("add_cross_attention=True")
    if odd:
        raise ConfigError(f"this is not plain GPT-2: {', '.join(odd)}; gptlib has no such option")
    return GPTConfig(
        block_size=c["n_positions"],
        vocab_size=c["vocab_size"],
        n_layer=c["n_layer"],
        n_head=c["n_head"],
        n_embd=c["n_embd"],
        dropout=c["resid_pdrop"],
        attn_dropout=c["attn_pdrop"],
        bias=c["bias"] if bias is None else bias,
        activation=activation,
        tied_head=c["tie_word_embeddings"],
    )


def from_weights(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPT:
    """Return a `GPT` with GPT-2's weights in Hugging Face's layout, in float32.

    Args:
        settings: as for `config_of`. weights: by the names of `GPT2LMHeadModel`, or of
            `GPT2Model`, which has no head and leaves out the first part of each name.

    Raises:
        ConfigError: the settings are not plain GPT-2's, or the weights are of another shape, more
            or fewer.
    """
    name_of = {_full_name(name): name for name in weights if not name.endswith(_MASKS)}
    said = settings.get("bias", True)
    # A model that to_hf wrote says that it has no biases; who has trained it since gave it some.
    bias = said or any(weights[name_of[n]].any().item() for n in name_of if n.endswith(".bias"))
    config = config_of(settings, bool(bias))
    if config.tied_head and "transformer.wte.weight" in name_of:  # one tensor under two names
        name_of["lm_head.weight"] = name_of["transformer.wte.weight"]
    for table, rows in (("wte", config.vocab_size), ("wpe", config.block_size)):
        if name := name_of.get(f"transformer.{table}.weight"):  # before memory is taken for it
            _check_shape(name, weights[name], (rows, config.n_embd))
    if config.n_layer > len(name_of):
        raise _not_plain("fewer weights")
    model = GPT(config)
    ours = model.state_dict()
    more = [n for n in name_of if n not in ours and (bias or not n.endswith(".bias"))]
    if more:
        raise _not_plain(f"{len(more)} weights more, such as {more[0]}")
    if not ours.keys() <= name_of.keys():
        raise _not_plain("fewer weights")
    with torch.no_grad():
        for name, tensor in ours.items():
            theirs = _turned(name, weights[name_of[name]])
            _check_shape(name_of[name], theirs, tensor.shape)
            tensor.copy_(theirs)
    return model


def _not_plain(found: str) -> ConfigError:
    return ConfigError(
        f"this is not plain GPT-2: it has {found}; merge or take off what was added to it"
    )


def _check_shape(name: str, weight: Tensor, expected: Sequence[int]) -> None:
    if weight.shape != torch.Size(expected):
        raise ConfigError(
            f"{name} has the shape {tuple(weight.shape)}, and its config speaks of "
            f"{tuple(expected)}; take the two from the same model"
        )


def _full_name(name: str) -> str:
    whole = name.startswith(("transformer.", "lm_head."))
    return name if whole else f"transformer.{name}"


def from_hf(hf_gpt2: GPT2LMHeadModel) -> GPT:
    """Return a `GPT` with the weights of a `GPT2LMHeadModel`, in float32.

    Raises:
        ConfigError: the model uses an option of GPT-2 that `GPT` does not have, or has more
            weights than GPT-2.
    """
    settings = {key: getattr(hf_gpt2.config, key, value) for key, value in _DEFAULTS.items()}
    return from_weights(settings, hf_gpt2.state_dict()).train(hf_gpt2.training)


def to_hf(model: GPT) -> GPT2LMHeadModel:
    """Return a `GPT2LMHeadModel` with the weights of a `GPT` (needs `pip install transformers`).

    Raises:
        ConfigError: the model has something that `GPT2LMHeadModel` cannot express: a newer part, or
            the squared ReLU.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = gpt2_settings(model)
    bias = settings.pop("bias", True)
    config = GPT2Config(**settings, bos_token_id=None, eos_token_id=None)
    if not bias:
        config.update({"bias": False})
    hf = GPT2LMHeadModel(config)
    hf.load_state_dict(gpt2_weights(model))
    return hf.train(model.training)


def without_padding(model: GPT, ids: int) -> GPT:
    """The model without the rows of its vocabulary that no token stands for.

    A vocabulary is padded for speed. No text has the ids that were added, so that no logit of
    another id hangs on them, and a program that knows nothing of the padding cannot draw one.

    Args:
        ids: the size of the tokenizer's vocabulary, the model's own or less.

    Raises:
        ConfigError: the tokenizer has more ids than the model.
    """
    config = model.config
    if ids > config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {ids:,} ids and the model {config.vocab_size:,}; it was trained "
            "with another tokenizer: give the two that belong together"
        )
    if ids == config.vocab_size:
        return model
    smaller = GPT(replace(config, vocab_size=ids))
    weights = model.state_dict()
    for name in ("transformer.wte.weight", "lm_head.weight"):
        weights[name] = weights[name][:ids]
    smaller.load_state_dict(weights)
    return smaller.train(model.training).to(model.device)
