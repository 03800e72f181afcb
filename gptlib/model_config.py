"""The shape of a GPT, and which of its parts are GPT-2's and which are newer.

One job: `GPTConfig`, which refuses what cannot work before a weight is drawn.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import torch.nn.functional as F

from gptlib.errors import ConfigError, nearest
from gptlib.settings import explained, shape

NORMS = ("layernorm", "rmsnorm")
ACTIVATIONS = {
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}


@explained
@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2 124M's.

    Raises:
        ConfigError: a size is not a positive integer, `n_embd` is not a multiple of `n_head`, a
            dropout is outside [0, 1), a name is unknown, or rotary heads have an odd size.
    """

    block_size: int = shape(
        1024, "T, the longest context in tokens; attention's time grows with its square"
    )
    vocab_size: int = shape(50257, "V, how many token ids there are, which the tokenizer decides")
    n_layer: int = shape(12, "blocks, one above the other; parameters and time grow in proportion")
    n_head: int = shape(12, "H, attention heads a block, a divisor of n_embd")
    n_embd: int = shape(
        768, "C, channels of the residual stream; parameters and time grow with its square"
    )
    dropout: float = shape(
        0.0,
        "share of the embeddings, and of what each sublayer adds to the residual stream, that is "
        "dropped in training; 0.1 to 0.3 helps where a text is read many times",
    )
    attn_dropout: float = shape(
        0.0,
        "share of the attention weights that is dropped; separate because it slows fused attention",
    )
    bias: bool = shape(True, "biases in linear layers and layer norms, as in GPT-2")
    rotary: bool = shape(
        False,
        "turn queries and keys by their position instead of adding a learned vector for it (Su et "
        "al. 2021; see gptlib.rotary)",
    )
    qk_norm: bool = shape(
        False,
        "scale every query and key to length sqrt(D), so that no score exceeds sqrt(D) and a "
        "higher lr stays stable (Henry et al. 2020; Dehghani et al. 2023)",
    )
    norm: str = shape(
        "layernorm",
        "layernorm, or rmsnorm, which neither centers nor shifts (Zhang & Sennrich 2019)",
    )
    activation: str = shape(
        "gelu_tanh",
        "of the MLPs: gelu_tanh; gelu, the exact one; relu; or relu2, its square (Primer: So et "
        "al. 2021)",
    )
    tied_head: bool = shape(
        True, "score tokens with the token embedding's own weights (Press & Wolf 2017)"
    )
    zero_init: bool = shape(
        False,
        "begin with zeros in what adds to the residual stream and in a head of its own, so that "
        "the first prediction is uniform (modded-nanogpt: Jordan et al. 2024)",
    )
    softcap: float = shape(
        0.0,
        "bend the logits smoothly so that none leaves (-softcap, softcap); 0 leaves them alone "
        "(Gemma 2: Gemma Team 2024)",
    )
    padding_ids: int = shape(
        0,
        "how many of the V ids, the last ones, belong to no token: they round the tables up to a "
        "size that a GPU multiplies faster, and are never drawn",
    )

    def __post_init__(self) -> None:
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number of 1 or more")
        for name in ("dropout", "attn_dropout"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < 1):
                raise ConfigError(f"{name} is {value!r}; it must be in [0, 1), such as 0.1")
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd is {self.n_embd} and n_head is {self.n_head}; "
                f"every head gets n_embd / n_head channels, so choose a multiple"
            )
        for name in ("bias", "rotary", "qk_norm", "tied_head", "zero_init"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be True or False")
        for name, allowed in {"norm": NORMS, "activation": ACTIVATIONS}.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if not (isinstance(self.softcap, int | float) and 0 <= self.softcap < math.inf):
            raise ConfigError(f"softcap is {self.softcap!r}; give a positive number, or 0 for none")
        padding, V = self.padding_ids, self.vocab_size
        if not isinstance(padding, int) or isinstance(padding, bool) or not 0 <= padding < V:
            raise ConfigError(
                f"padding_ids is {padding!r} and vocab_size {V}; give 0 or more, and fewer than V"
            )
        if self.rotary and self.head_size % 2:
            raise ConfigError(
                f"n_embd / n_head is {self.head_size}; rotary turns channels in pairs, so choose "
                "an even head size"
            )

    @property
    def head_size(self) -> int:
        """D, the channels of a head."""
        return self.n_embd // self.n_head

    @property
    def known_ids(self) -> int:
        """The ids that belong to a token, 0 … known_ids - 1: all V but the padding."""
        return self.vocab_size - self.padding_ids

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> GPTConfig:
        """Rebuild a config from `to_dict`, refusing keys that this version does not know."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            name = min(unknown, key=str)
            known = [f.name for f in fields(cls)]
            raise ConfigError(f"a GPTConfig has no {name}{nearest(name, known)}; update gptlib?")
        return cls(**values)
