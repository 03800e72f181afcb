"""Named settings: a model's shape and how to train it, to start from.

One job: `PRESETS`. A preset is two dictionaries that fill `GPTConfig` and `TrainConfig`; anything
can be changed on top of it. Those named after a project repeat that project's published settings
on GPT-2's architecture; what differs is said beside them. One that belongs to a recorded run names
its text too, so that `gptlib train --preset NAME --out FOLDER` repeats that run.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """Settings under a name.

    Attributes:
        about: a line of help. model, train: keyword arguments of the two configs.
        corpus: a name of the registry, or None where any text will do. corpus_size: characters of
            it, None for all (of an embedded corpus: a million).
        tokenizer: "char" or "gpt2". separator: the text that stands after every document, where
            windows begin; None where they begin anywhere.
    """

    about: str
    model: dict
    train: dict
    corpus: str | None = None
    corpus_size: int | None = None
    tokenizer: str = "char"
    separator: str | None = None


PRESETS = {
    "cpu": Preset(
        "a minute or two on a laptop's CPU: 4 layers, 128 channels, context 128",
        dict(n_layer=4, n_head=4, n_embd=128, block_size=128),
        dict(steps=600, batch_size=16, lr=2e-3, min_lr=2e-4, warmup=50, eval_every=150),
    ),
    "tales": Preset(
        "the model that ships as `tales`: 4 layers, 128 channels, a context for a whole tale",
        dict(n_layer=4, n_head=4, n_embd=128, block_size=704),
        dict(
            steps=18_000, batch_size=3, lr=4e-3, min_lr=1e-4, warmup=200, beta2=0.99,
            optimizer="muon", dtype="fast", eval_every=500, eval_windows=200,
        ),
        corpus="tales",
        corpus_size=24_000_000,  # seen less than twice, so nothing is learned by heart
        separator="\n\n",
    ),
    # nanoGPT uses the exact GELU; its command evaluates on random batches.
    "nanogpt-cpu": Preset(
        "nanoGPT's CPU setting for Shakespeare, published validation loss 1.88",
        dict(n_layer=4, n_head=4, n_embd=128, block_size=64, bias=False),
        dict(
            steps=2000, batch_size=12, lr=1e-3, min_lr=1e-4, warmup=100, beta2=0.99,
            eval_every=250, sampling="random",
        ),
        corpus="shakespeare",
    ),
    # `nanogpt-cpu` with all the changes of `PARTS` in `gptlib.course.speedrun.ablation`. Fewer
    # `--steps` keep the schedule's shape, for a shorter race.
    "speedrun-cpu": Preset(
        "nanogpt-cpu's size and text, as fast as we know how: no learned positions, Muon, bfloat16",
        dict(
            n_layer=4, n_head=4, n_embd=128, block_size=64, bias=False, rotary=True, qk_norm=True,
            activation="relu2", tied_head=False, zero_init=True, softcap=15.0,
        ),
        dict(
            steps=1000, batch_size=24, lr=4e-3, min_lr=0.0, warmup=10, beta2=0.95, schedule="wsd",
            decay=0.6, optimizer="muon", muon_parts="heads", dtype="fast", eval_every=250,
            sampling="shuffled",
        ),
        corpus="shakespeare",
    ),
    "nanogpt-gpu": Preset(
        "nanoGPT's GPU setting for Shakespeare, published validation loss 1.4697",
        dict(
            n_layer=6, n_head=6, n_embd=384, block_size=256, bias=False,
            dropout=0.2, attn_dropout=0.2,
        ),
        dict(
            steps=5000, batch_size=64, lr=1e-3, min_lr=1e-4, warmup=100, beta2=0.99,
            eval_every=250, sampling="random",
        ),
        corpus="shakespeare",
    ),
    # The project scaled scores by sqrt(n_embd), used ReLU, no final norm and an untied head.
    "kalevala-gpt": Preset(
        "the Kalevala project's setting, published validation loss 1.479",
        dict(n_layer=3, n_head=4, n_embd=64, block_size=64),
        dict(
            steps=5000, batch_size=64, lr=1e-2, warmup=0, schedule="constant", weight_decay=0.01,
            beta2=0.999, grad_clip=0.0, eval_every=500, sampling="random",
        ),
        corpus="kalevala",
    ),
    "speedrun-kalevala": Preset(
        "kalevala-gpt's size and text by the same changes, with dropout, at half the cost or less",
        dict(
            n_layer=3, n_head=4, n_embd=64, block_size=64, bias=False, dropout=0.05, rotary=True,
            qk_norm=True, activation="relu2", tied_head=False, zero_init=True, softcap=15.0,
        ),
        dict(
            steps=3000, batch_size=32, lr=6e-3, min_lr=0.0, warmup=20, beta2=0.95, schedule="wsd",
            decay=0.6, optimizer="muon", muon_parts="heads", dtype="fast", eval_every=500,
        ),
        corpus="kalevala",
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
