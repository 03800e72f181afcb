"""Named settings: a model's shape and how to train it, to start from.

One job: `PRESETS`. A preset is two dictionaries that fill `GPTConfig` and `TrainConfig`; anything
can be changed on top of it. Those named after a project repeat that project's published settings
on GPT-2's architecture; what differs is said beside them. One that belongs to a recorded run names
its text too, so that `gptlib train --preset NAME --out FOLDER` repeats that run.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.errors import ConfigError
from gptlib.stories.marks import START


@dataclass(frozen=True)
class Preset:
    """Settings under a name.

    Attributes:
        about: a line of help. model, train: keyword arguments of the two configs.
        corpus: a name of the registry, or None where any text will do. corpus_size: characters of
            it, None for all (of an embedded corpus: a million).
        tokenizer: "char", "gpt2", or "bpe-2048" and the like, which is learned from the text.
        separator: the text that stands between documents, where windows begin; None where they
            begin anywhere, or where the text's own marks decide it.
        vocab_size: ids of the tokenizer that it is meant for, for `gptlib plan`; a run takes its
            own. pad_vocab: the multiple that they are rounded up to, or None.
    """

    about: str
    model: dict
    train: dict
    corpus: str | None = None
    corpus_size: int | None = None
    tokenizer: str = "char"
    separator: str | None = None
    vocab_size: int | None = None
    pad_vocab: int | None = None


# GPT-2's four sizes (Radford et al. 2019, table 2), each for one pass over 10 billion tokens. What
# OpenAI trained them with is not known. 124M has the settings of a published run on FineWeb-Edu
# (data/published.toml: gpt2-fineweb). The others have the batch, lr and warm-up (375M tokens)
# of the GPT-3 models of their sizes (Brown et al. 2020, table 2.1 and appendix B): 350M, 760M and
# 1.3B. A validation reads 10,485,760 tokens, as modded-nanogpt's.
_GPT2 = dict(block_size=1024)
_GPT2_TRAIN = dict(
    steps=19_073, batch_size=512, accumulate=8, weight_decay=0.1, beta1=0.9, beta2=0.95,
    grad_clip=1.0, warmup=715, compile=True, eval_every=250, eval_windows=10_240,
)  # fmt: skip
_GPT2_TEXT = dict(tokenizer="gpt2", vocab_size=50_257, pad_vocab=64)  # 50,304

# The shape of GPT-2 at the size of a course: heads of 64 channels, its parts, its schedule.
_SMALL = dict(block_size=512)
_SMALL_TRAIN = dict(
    steps=2000, batch_size=16, accumulate=2, lr=2e-3, min_lr=2e-4, warmup=100, beta2=0.95,
    dtype="fast", eval_every=100, eval_windows=120,
)  # fmt: skip


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
    "stories": Preset(
        "the first run of the model that ships as `stories`: 5 layers, 128 channels",
        dict(n_layer=5, n_head=4, n_embd=128, block_size=256),
        dict(
            steps=7000, batch_size=16, lr=4e-3, min_lr=1e-4, warmup=200, beta2=0.99,
            optimizer="muon", dtype="fast", eval_every=250, eval_windows=200,
        ),
        corpus="stories",
        corpus_size=100_000_000,  # hardly a story is seen twice, so none is learned by heart
        tokenizer="bpe-2048",
        separator=START,
        vocab_size=2048,
    ),
    "stories-on": Preset(
        "its second run, on other stories: give --init-from the first one's folder",
        dict(n_layer=5, n_head=4, n_embd=128, block_size=256),
        dict(
            steps=13_000, batch_size=16, lr=2.5e-3, min_lr=5e-5, warmup=100, beta2=0.99,
            optimizer="muon", dtype="fast", eval_every=250, eval_windows=200,
        ),
        corpus="stories",
        corpus_size=250_000_000,
        tokenizer="bpe-2048",
        separator=START,
        vocab_size=2048,
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
    "gpt2-5m": Preset(
        "GPT-2's shape at 5.4M parameters: 4 layers, 256 channels; for shards of 8,192 ids",
        dict(n_layer=4, n_head=4, n_embd=256, **_SMALL),
        dict(**_SMALL_TRAIN),
        vocab_size=8192,
    ),
    "gpt2-10m": Preset(
        "GPT-2's shape at 10.2M parameters: 6 layers, 320 channels; for shards of 8,192 ids",
        dict(n_layer=6, n_head=5, n_embd=320, **_SMALL),
        dict(**_SMALL_TRAIN),
        vocab_size=8192,
    ),
    "gpt2-124m": Preset(
        "GPT-2 124M as published on FineWeb-Edu: 10B tokens, HellaSwag 30.5%; 6.5 h on an H100",
        dict(n_layer=12, n_head=12, n_embd=768, **_GPT2),
        _GPT2_TRAIN | dict(lr=1.2e-3, min_lr=1.2e-4, warmup=200),
        **_GPT2_TEXT,
    ),
    "gpt2-350m": Preset(
        "GPT-2 of 24 layers and 1,024 channels, with GPT-3 350M's learning rate and batch",
        dict(n_layer=24, n_head=16, n_embd=1024, **_GPT2),
        _GPT2_TRAIN | dict(accumulate=16, lr=3e-4, min_lr=3e-5),
        **_GPT2_TEXT,
    ),
    "gpt2-774m": Preset(
        "GPT-2 of 36 layers and 1,280 channels, with GPT-3 760M's learning rate and batch",
        dict(n_layer=36, n_head=20, n_embd=1280, **_GPT2),
        _GPT2_TRAIN | dict(accumulate=32, lr=2.5e-4, min_lr=2.5e-5),
        **_GPT2_TEXT,
    ),
    "gpt2-1558m": Preset(
        "GPT-2 of 48 layers and 1,600 channels, with GPT-3 1.3B's learning rate and batch",
        dict(n_layer=48, n_head=25, n_embd=1600, **_GPT2),
        _GPT2_TRAIN | dict(
            steps=9536, batch_size=1024, accumulate=128, lr=2e-4, min_lr=2e-5, warmup=357,
        ),
        **_GPT2_TEXT,
    ),
    # What each part saved elsewhere, in steps of 524,288 tokens to a loss of about 3.28 on FineWeb
    # (data/published.toml: fineweb-ladder): llm.c's GPT-2 19,560; rotary positions and lr 1.8e-3
    # 9,536; Muon 6,200; ReLU^2, QK-norm, zero init and padding 5,100; an untied head 4,578, which
    # are this preset's steps. Muon here is scaled so that AdamW's lr serves both (Liu et al. 2025).
    "gpt2-124m-modern": Preset(
        "gpt2-124m with newer parts, which elsewhere reached its loss in a quarter of the steps",
        dict(
            n_layer=12, n_head=12, n_embd=768, bias=False, rotary=True, qk_norm=True,
            activation="relu2", tied_head=False, zero_init=True, **_GPT2,
        ),
        _GPT2_TRAIN | dict(
            steps=4578, lr=1.8e-3, min_lr=0.0, schedule="wsd", decay=0.3, optimizer="muon",
            muon_parts="qkv", warmup=200,
        ),
        **_GPT2_TEXT,
    ),
    # A from-scratch GPT-2 on 3,049,258 tokens of stories, called 124M by its authors, as published
    # (data/published.toml: stories): 12 epochs of 744 steps, AdamW at a constant rate, nothing
    # clipped. Its head is a table of its own: 50,257 x 768 = 38.6M weights more than GPT-2 124M
    # has. What differs here: queries, keys and values have biases (27,648 weights, 0.02%), since
    # `bias` is all or none; AdamW's betas were not published, so they are torch's; initial weights
    # are GPT-2's; and the marks of stories are ids, which there were spelled.
    "stories-162m": Preset(
        "a from-scratch GPT-2 on stories as published: an untied head, 12 epochs, no schedule",
        dict(n_layer=12, n_head=12, n_embd=768, block_size=512, dropout=0.1, tied_head=False),
        dict(
            steps=8933, batch_size=8, lr=4e-4, warmup=0, schedule="constant", weight_decay=0.1,
            beta2=0.999, grad_clip=0.0, dtype="float32", eval_every=744,
        ),
        tokenizer="gpt2", vocab_size=50_257,
    ),
    # The same text and rate, and what that run lacked: a tied head (GPT-2 124M), warm-up, a cosine,
    # clipping, float16 with a scaled loss, which a T4 has units for, and a stop. It was best after
    # 4 epochs, so the schedule ends after 6 (186 steps of 16,384 tokens each) and stops earlier
    # after two without a better validation. 8 windows at a time take about 7.7 GB of a T4's 15.
    # With a context of 1,024, as many tokens at a time: --block-size 1024 --batch-size 16.
    "stories-124m": Preset(
        "GPT-2 124M on stories for a T4: float16, cosine, clipping, dropout, early stop",
        dict(n_layer=12, n_head=12, n_embd=768, block_size=512, dropout=0.1),
        dict(
            steps=1116, batch_size=32, accumulate=4, lr=4e-4, min_lr=4e-5, warmup=60,
            weight_decay=0.1, grad_clip=1.0, dtype="float16", eval_every=93, patience=4,
        ),
        **_GPT2_TEXT,
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
