"""Which head carries "what is given away is gone"? The record `story-heads`.

One job: silence one head after the other and ask again; and see where a head looks.

    python -m gptlib.course.stories.heads --run RUN [--n 200] [--out data/runs/story-heads]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.command import answer, at_least_one
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import collect_probes, held_out
from gptlib.course.stories.writing import story_loss
from gptlib.errors import ConfigError
from gptlib.evaluation import score_probes
from gptlib.grammar import Probe
from gptlib.model import GPT, CausalSelfAttention, evaluating
from gptlib.tokenizers import Tokenizer

KINDS = ("name", "owner", "gone")
Head = tuple[int, int]  # layer and head, from 0


def _attention(model: GPT, head: Head) -> CausalSelfAttention:
    layers, heads = model.config.n_layer, model.config.n_head
    if not (0 <= head[0] < layers and 0 <= head[1] < heads):
        raise ConfigError(
            f"layer and head are {head}; the model has {layers} layers of {heads} heads, counted "
            "from 0"
        )
    attention = model.transformer.h[head[0]].attn
    assert isinstance(attention, CausalSelfAttention)
    return attention


@contextmanager
def silenced(model: GPT, *heads: Head) -> Generator[None]:
    """Inside the block, these heads (layer, head) say nothing: zeros enter the product c_proj.

    Raises:
        ConfigError: the model has no such head.
    """
    D = model.config.head_size
    hooks = []
    for head in heads:
        start = head[1] * D

        def mute(_: object, args: tuple[Tensor], start: int = start) -> tuple[Tensor]:
            y = args[0].clone()  # (B, T, C), heads side by side
            y[..., start : start + D] = 0
            return (y,)

        hooks.append(_attention(model, head).c_proj.register_forward_pre_hook(mute))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def where_it_looks(model: GPT, ids: Sequence[int], head: Head) -> Tensor:
    """A head's attention over a text: (T, T), row t the weights that position t gives.

    Raises:
        ConfigError: the model has no such head.
    """
    attention, kept = _attention(model, head), []
    hook = attention.c_attn.register_forward_hook(lambda _m, _a, out: kept.append(out))
    try:
        with evaluating(model):
            model.hidden(torch.tensor([list(ids)], device=model.device))
    finally:
        hook.remove()
    D, C, T = model.config.head_size, model.config.n_embd, len(ids)
    q, k = (kept[0][:, :, at * C + head[1] * D :][..., :D] for at in (0, 1))  # (1, T, D)
    if attention.qk_norm:
        q, k = (F.rms_norm(part, part.shape[-1:]) for part in (q, k))
    if attention.rotary is not None:
        q, k = (attention.rotary(part[:, None], 0)[:, 0] for part in (q, k))
    scores = (q @ k.transpose(-2, -1))[0] / math.sqrt(D)  # (T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)


def ablate_heads(
    model: GPT,
    tokenizer: Tokenizer,
    probes: dict[str, list[Probe]],
    documents: Sequence[str],
) -> dict:
    """Silence each head by itself, and measure.

    Args:
        probes: questions by kind. documents: stories whose loss is measured too.

    Returns:
        base and, in `heads`, a line for each head with `layer` and `head`: by kind of probe what
        `score_probes` gives, and `loss`, nats a token.
    """
    ids = [tokenizer.encode(text) for text in documents]

    def measured() -> dict:
        nats, tokens = story_loss(model, ids)
        scores = {kind: score_probes(model, tokenizer, asked) for kind, asked in probes.items()}
        return {"loss": nats / tokens, **scores}

    base, lines = measured(), []
    for layer in range(model.config.n_layer):
        for head in range(model.config.n_head):
            with silenced(model, (layer, head)):
                lines.append({"layer": layer, "head": head, **measured()})
    return {"base": base, "heads": lines}


def by_harm(
    found: dict, kind: str, against: str = "", measure: str = "log_ratio"
) -> list[tuple[Head, float]]:
    """Of what `ablate_heads` found, the heads that a kind of probe needs, the most needed first.

    Args:
        against: another kind; what that loses is subtracted, so that a head comes first that this
            kind needs and the other does not.
        measure: "log_ratio", nats, or "accuracy".

    Returns:
        ((layer, head), what is lost without it), in that order.
    """

    def lost(line: dict, of: str) -> float:
        return found["base"][of][measure] - line[of][measure]

    pairs = [
        ((x["layer"], x["head"]), lost(x, kind) - (lost(x, against) if against else 0.0))
        for x in found["heads"]
    ]
    return sorted(pairs, key=lambda pair: -pair[1])


def looks_from(
    model: GPT, tokenizer: Tokenizer, probe: Probe, head: Head
) -> tuple[list[str], list[float]]:
    """The tokens before a probe's answer, and how much the head looks at each from the last one.

    Raises:
        ConfigError: the model has no such head.
    """
    ids = tokenizer.encode(probe.prefix)[-model.config.block_size :]
    weights = where_it_looks(model, ids, head)[-1]
    return [tokenizer.decode([token]) for token in ids], weights.tolist()


def share_on(words: Sequence[str], weights: Sequence[float], word: str) -> float:
    """How much of the looking goes to tokens that say a word."""
    return sum(w for token, w in zip(words, weights, strict=True) if token.strip() == word.strip())


def story_heads(run: str | Path = "stories", n: int = 200) -> Record:
    """Ablate every head of a run's best model, and follow the one that `gone` needs most.

    Raises:
        DataError: the run has no tokenizer.
    """
    model, tokenizer, manifest = load_with_tokenizer(run)
    probes = collect_probes(n, kinds=KINDS)
    found = ablate_heads(model, tokenizer, probes, held_out(60, seed=3))
    needed = by_harm(found, "gone")
    chosen = needed[0][0]
    looked = [(p, *looks_from(model, tokenizer, p, chosen)) for p in probes["gone"]]
    on = {
        which: sum(share_on(w, a, getattr(p, which)) for p, w, a in looked) / len(looked)
        for which in ("right", "wrong")
    }
    together = {}
    for count in (2, 3):
        some = [head for head, _ in needed[:count]]
        with silenced(model, *some):
            scores = {kind: score_probes(model, tokenizer, probes[kind]) for kind in KINDS}
        together[str(count)] = {"heads": some, **scores}
    probe, words, weights = max(looked, key=lambda x: share_on(x[1], x[2], x[0].right))
    result = {
        **found,
        "needed": needed[:5],
        "needed_more_than_by_name": by_harm(found, "gone", against="name")[:5],
        "carries": {"layer": chosen[0], "head": chosen[1], "looks_on": on},
        "together": together,
        "example": {
            "right": probe.right, "wrong": probe.wrong, "tokens": words,
            "weights": [round(weight, 4) for weight in weights],
        },
    }  # fmt: skip
    config = {"step": manifest["step"], "model": model.config.to_dict(), "probes": n}
    command = f"python -m gptlib.course.stories.heads --run RUN --n {n}"
    return make_record("story-heads", config, result, command)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.heads")
    parser.add_argument("--run", required=True, help="a finished run folder, or `stories`")
    parser.add_argument("--n", type=at_least_one, default=200, help="probes of each kind")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-heads"))
    options = parser.parse_args(arguments)
    save_record(story_heads(options.run, options.n), options.out)


if __name__ == "__main__":
    answer(main)
