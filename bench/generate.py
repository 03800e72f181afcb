"""Generation with gptlib's cache, without it or oneDNN, with transformers' cache, and by nanoGPT.

    python bench/generate.py [--nanogpt FOLDER] [--threads 2]

Same weights, same prompts, greedy; the tokens must agree, or nothing is reported. "MKL" is gptlib
with oneDNN switched off (see `gptlib/products.py`): the two are alike in models of small layers and
differ by how much oneDNN gains on this processor in large ones. With `--nanogpt` the model in
FOLDER (see `plain_loop.py`) takes part, with gptlib's weights in it and GPT-2's approximate GELU;
it has no cache. GPT-2 124M writes fewer tokens, since without a cache they take long; it also
writes sixteen texts at once, of which each prompt is another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from plain_loop import load_nanogpt
from timing import arguments, interleaved, peak_memory_mb, report

from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate

PROMPT_LENGTH = 8


@dataclass(frozen=True)
class Size:
    """A model, how many tokens a row it writes, how often that is timed, and how many rows."""

    config: GPTConfig
    new_tokens: int
    rounds: int
    batch_size: int = 1


SIZES = {
    "0.8M": Size(GPTConfig(512, 65, 4, 4, 128), new_tokens=256, rounds=5),
    "10.7M": Size(GPTConfig(512, 65, 6, 6, 384), new_tokens=256, rounds=3),
    "124M": Size(GPTConfig(), new_tokens=32, rounds=3),
    "124M, 16 texts": Size(GPTConfig(), new_tokens=32, rounds=3, batch_size=16),
}


def make_run(contender: str, size: Size, threads: int, nanogpt: Path | None = None) -> Callable:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, n = GPT(size.config).eval(), size.new_tokens
    idx = torch.arange(1, 1 + PROMPT_LENGTH) + torch.arange(size.batch_size).unsqueeze(1)
    for p in model.parameters():  # untrained logits are nearly tied; spread them
        torch.nn.init.normal_(p, std=0.1)
    if contender in ("gptlib", "uncached"):
        cached = contender == "gptlib"
        return lambda: generate(model, idx, n, temperature=0, use_cache=cached)
    if contender == "MKL":

        def by_mkl() -> torch.Tensor:
            with torch.backends.mkldnn.flags(enabled=False):
                return generate(model, idx, n, temperature=0)

        return by_mkl
    if contender == "nanoGPT":
        theirs = load_nanogpt(nanogpt, size.config).eval()
        theirs.load_state_dict(model.state_dict())
        for block in theirs.transformer.h:
            block.mlp.gelu = torch.nn.GELU(approximate="tanh")
        return lambda: theirs.generate(idx, n, top_k=1)
    hf = to_hf(model)
    return lambda: hf.generate(
        idx, attention_mask=torch.ones_like(idx), max_new_tokens=n, min_new_tokens=n,
        do_sample=False, use_cache=True, pad_token_id=0,
    )  # fmt: skip


def compare(name: str, size: Size, threads: int, nanogpt: Path | None) -> list[dict]:
    """Check that one size's contenders agree and time them; returns a row for each."""
    contenders = ["gptlib", "MKL", "uncached", "transformers"] + ["nanoGPT"] * bool(nanogpt)
    made = {c: (c, size, threads, nanogpt) for c in contenders}
    runs = {c: make_run(*args) for c, args in made.items()}
    outputs = {c: run() for c, run in runs.items()}
    for contender, output in outputs.items():
        if not torch.equal(output, outputs["gptlib"]):
            raise SystemExit(f"{name}: {contender} wrote other tokens than gptlib")
    seconds = interleaved(runs, size.rounds)
    return [
        {
            "model": name,
            "contender": contender,
            "batch": size.batch_size,
            "new_tokens": size.new_tokens,
            "tokens_per_s": size.batch_size * size.new_tokens / s,
            "gptlib_is_faster_by": s / seconds["gptlib"],
            "peak_mb": peak_memory_mb(make_run, *made[contender]),
        }
        for contender, s in seconds.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a folder with nanoGPT's model.py")
    args = parser.parse_args()
    rows = []
    for name, size in SIZES.items():
        rows += compare(name, size, args.threads, args.nanogpt)
    report("generate", rows, args.out)


if __name__ == "__main__":
    main()
