"""GPT: a decoder-only transformer, GPT-2 exactly by default.

One job: the network. Learned positions, layer norm before each sublayer, GELU with the tanh
approximation, an output head that shares the token embedding's weights, and residual projections
whose initial weights shrink with depth (Radford et al. 2019, section 2.3). Each of these has a
newer rival, behind a field of `GPTConfig`. Attention runs in torch's fused kernel;
`naive_attention` is the same function written out, for teaching and tests.

Shapes: B batch, T time, C channels (`n_embd`), H heads, D = C / H head size, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptlib.chunked_loss import MOST_LOGITS, chunked_cross_entropy
from gptlib.documents import Documents, documents_of
from gptlib.errors import DataError
from gptlib.id_checks import check_device, check_targets, explain_lookup
from gptlib.kv_cache import KVCache
from gptlib.model_config import ACTIVATIONS, GPTConfig
from gptlib.rotary import Rotary


def naive_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    """Scaled dot-product attention step by step (Vaswani et al. 2017, equation 1).

    Equal to `F.scaled_dot_product_attention`, forward and backward, but it keeps the whole
    (T, S) matrix in memory.

    Derived in chapter 2, *How loud may a question be?*

    Args:
        q: queries (B, H, T, D). k, v: keys and values (B, H, S, D), S >= T.
        causal: let query t see keys up to position S - T + t only.

    Returns:
        (B, H, T, D).
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    if causal:
        T, S = scores.shape[-2:]
        past = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        scores = scores.masked_fill(~past, float("-inf"))
    return scores.softmax(dim=-1) @ v


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool | Tensor, dropout: float
) -> Tensor:
    """The same in torch's fused kernel; shapes as in `naive_attention`.

    `causal` may also be a mask that broadcasts to (B, H, T, S), True where a key may be seen. Under
    autocast on a CPU it runs in float32: the kernel's backward pass in bfloat16 is slower, four
    times at a context of 64.

    Derived in chapter 2, *What does the square cost?*
    """
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return fused_attention(q.float(), k.float(), v.float(), causal, dropout)
    T, S = q.size(2), k.size(2)
    if isinstance(causal, Tensor):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=causal, dropout_p=dropout)
    if causal and S != T:  # there the kernel's own mask would let query t see keys up to t
        past = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=past, dropout_p=dropout)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)


@contextmanager
def evaluating(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> Generator[None]:
    """Switch dropout off inside the block and put each module back as it was after it.

    `modules` are the model's own, where a caller that comes here for every token lists them once.
    """
    training = [m for m in (model.modules() if modules is None else modules) if m.training]
    if training:  # setting it costs as much as a token of a small model
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def make_norm(config: GPTConfig) -> nn.Module:
    """A layer norm, or an RMS norm, which never has a bias; both add 1e-5 under the root.

    Derived in chapter 3, *Who keeps the stream in its banks?*
    """
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.n_embd, eps=1e-5)
    return nn.LayerNorm(config.n_embd, eps=1e-5, bias=config.bias)


class CausalSelfAttention(nn.Module):
    """Every token gathers from the tokens before it, in H heads side by side.

    Derived in chapter 3, *The shape is right. Is the answer?*
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.attn_dropout = config.attn_dropout
        self.qk_norm = config.qk_norm
        self.rotary = Rotary(config.block_size, config.head_size) if config.rotary else None
        # One product for q, k and v of all heads is faster than 3 H small ones, and is the same.
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)
            for part in self.c_attn(x).split(C, dim=2)
        )
        if self.qk_norm:
            q, k = (F.rms_norm(part, part.shape[-1:]) for part in (q, k))
        if self.rotary is not None:
            # Only q and k: a place decides who is heard, not what is said (v). Keys are cached as
            # turned, since a token's place in the window never changes.
            start = cache.start if cache is not None else 0
            q, k = (self.rotary(part, start) for part in (q, k))
        # One new token may see everything in the cache, so it needs no mask. Without a cache the
        # answer does not hang on T, which torch.export leaves open.
        causal: bool | Tensor = cache is None or T > 1
        if cache is not None:
            k, v = cache.append(layer, k, v)
            causal = causal if cache.mask is None else cache.mask
        dropout = self.attn_dropout if self.training else 0.0
        if isinstance(cache, Documents):  # each reads itself alone
            parts = zip(*map(cache.cut, (q, k, v)), strict=True)
            y = cache.join([fused_attention(*part, causal=True, dropout=dropout) for part in parts])
        else:
            y = fused_attention(q, k, v, causal=causal, dropout=dropout)
        y = y.transpose(1, 2).reshape(B, T, C)  # heads side by side again
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    """Each token alone: widen to 4C, bend, return to C.

    Derived in chapter 3, *What can an average not say?*
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))


class Block(nn.Module):
    """Communicate, then compute; each adds to the residual stream what it found.

    Only what a sublayer reads is normed: x itself, and the gradient on its way back, pass through
    untouched. A norm of x + attn(x) would scale both at every layer (Xiong et al. 2020).

    Derived in chapter 3, *What will more of the same do?*
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = make_norm(config)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = make_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache, layer)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The parts of a GPT below its head, under GPT-2's names."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        if not config.rotary:
            self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = make_norm(config)


class GPT(nn.Module):
    """Token ids in, a score for every possible next token out.

    Parameter names are GPT-2's (`transformer.wte`, `transformer.h.0.attn.c_attn`, …).

    Attributes:
        recompute: keep of each block only what enters it, and run it once more on the way back.
        loss_chunk: tokens whose logits exist at a time where they are not returned; 0 is all.
        document_start: the id that documents begin with, where several stand in a window: attention
            then stays within each, and learned positions count from it. None lets it look back to
            the window's first token. With a cache, which is for one document, it changes nothing.
        tuning: how only a part of it is trained (`gptlib.finetuning`), or None: all of it is.

    Derived in chapter 3, *Is that all of it?*
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        # Time for memory. No part of the config: what is computed stays the same.
        self.recompute, self.loss_chunk = False, 0
        self.document_start: int | None = None
        self.tuning: dict[str, Any] | None = None
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tied_head:
            # The same Parameter, not a copy: both learn which tokens are alike, and a table of its
            # own would add 39 million weights to GPT-2's 124.
            self.lm_head.weight = self.transformer.wte.weight
        self.apply(self._init_weights)  # a tied weight twice: the order of draws is part of a seed
        # 2 * n_layer branches add to the residual stream; shrinking each keeps its variance level.
        std = 0.0 if config.zero_init else 0.02 / math.sqrt(2 * config.n_layer)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(p, std=std)
        if config.zero_init and not config.tied_head:
            nn.init.zeros_(self.lm_head.weight)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            # The head reads states of variance 1, so the first logits spread by 0.02 sqrt(C), 0.55
            # in GPT-2: nearly uniform, with a loss little above ln V.
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def _tensors(self) -> Iterator[Tensor]:
        """Parameters, then buffers, which is where weights in int8 are."""
        return itertools.chain(self.parameters(), self.buffers())

    @property
    def device(self) -> torch.device:
        """Where the weights are, and what is read has to be."""
        return next(self._tensors()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the weights that are not quantized: that of the activations."""
        return next(t.dtype for t in self._tensors() if t.is_floating_point())

    def hidden(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the final hidden states (B, T, C) of `idx` (B, T) int64.

        With a cache, `idx` continues what the cache holds, by one token or by several.

        Raises:
            DataError: more tokens than `block_size`, an id outside the vocabulary, or ids that are
                no whole numbers or lie on another device than the model.
        """
        check_device(idx, self.device, "idx")
        if idx.dim() != 2:
            raise DataError(f"idx has shape {tuple(idx.shape)}; give (B, T), a row for each text")
        if cache is None and self.document_start is not None:
            cache = documents_of(idx, self.document_start)
        start = cache.length if cache is not None else 0
        T = idx.size(1)
        if start + T > self.config.block_size:
            raise DataError(
                f"{start + T} tokens, but block_size is {self.config.block_size}; "
                "shorten the input, or let gptlib.generate slide the window"
            )
        try:
            x = self.transformer.wte(idx)
        except (IndexError, RuntimeError) as error:
            explain_lookup(error, idx, self.config.vocab_size)
            raise
        if not self.config.rotary:
            places = torch.arange(start, start + T, device=idx.device)
            x = x + self.transformer.wpe(places if cache is None else cache.places(places))
        x = self.transformer.drop(x)
        for layer, block in enumerate(self.transformer.h):
            if self.recompute and not (cache and cache.keeps):  # dropout draws the same again
                x = checkpoint(block, x, cache, layer, use_reentrant=False)
            else:
                x = block(x, cache, layer)
        # Not in `append`: until the last layer has been through, all of them write at one place.
        if cache is not None:
            cache.advance(T)
        return self.transformer.ln_f(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token after each of the hidden states: (…, C) -> (…, V)."""
        logits, cap = self.lm_head(hidden), self.config.softcap
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        return_logits: bool = True,
        reduction: str = "mean",
    ) -> tuple[Tensor | None, Tensor | None]:
        """Score the next token after every position.

        Args:
            idx: (B, T) int64, T <= block_size.
            targets: (B, T) int64, the ids that did follow; -1 leaves a position out of the loss.
            return_logits: False frees the (B, T, V) logits, the largest tensor in training, and
                with `loss_chunk` never holds more than a chunk of them.
            reduction: "mean", or "none" for the loss of each target, (B, T).

        Returns:
            logits (B, T, V) or None, and the cross-entropy in nats (None without targets).

        Raises:
            DataError: what `hidden` and, on a CPU, `check_targets` refuse.
        """
        hidden = self.hidden(idx)
        if targets is None:
            return self.logits(hidden), None
        check_device(targets, hidden.device, "targets")
        if targets.device.type == "cpu" and not torch.compiler.is_compiling():
            check_targets(targets, idx.shape, self.config.vocab_size)  # elsewhere it costs a wait
        chunk = self.loss_chunk
        if reduction == "none":  # evaluation takes large batches
            chunk = chunk or max(1, MOST_LOGITS // self.config.vocab_size)
        if chunk and not return_logits:
            return None, chunked_cross_entropy(self.logits, hidden, targets, chunk, reduction)
        logits = self.logits(hidden)
        # A row of text is T examples at once: each position was shown its own past only.
        flat = logits.flatten(0, 1), targets.flatten()
        loss = F.cross_entropy(*flat, ignore_index=-1, reduction=reduction)
        return logits if return_logits else None, loss.view(targets.shape) if loss.dim() else loss

    def num_params(self, trainable: bool = False) -> int:
        """Parameters, or those of them that are trained; a tied head counts once.

        Derived in chapter 3, *How many numbers is that?*
        """
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable)

    def flops_per_token(self, T: int) -> int:
        """FLOPs of one training step per token, forward and backward, at context T.

        6 for each weight that multiplies the token, plus 12 * n_layer * C * T for attention's two
        products (PaLM: Chowdhery et al. 2022, appendix B). Look-ups in the position table are
        no multiplications, nor are those in the token table: it counts only as a tied head.

        Derived in chapter 4, *What does a parameter cost?*
        """
        n_weights = self.num_params()
        if not self.config.rotary:
            n_weights -= self.transformer.wpe.weight.numel()
        if not self.config.tied_head:
            n_weights -= self.transformer.wte.weight.numel()
        return 6 * n_weights + 12 * self.config.n_layer * self.config.n_embd * T
