"""Generation with gptlib's cache, without it, and with transformers' cache.

    python bench/generate.py [--threads 2] [--new-tokens 256]

Same weights, same prompt, greedy, batch of one; the tokens must agree, or nothing is reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from timing import interleaved, peak_memory_mb, report

from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate

SHAPES = {"0.8M": GPTConfig(512, 65, 4, 4, 128), "10.7M": GPTConfig(512, 65, 6, 6, 384)}
PROMPT = [1, 2, 3, 4, 5, 6, 7, 8]


def make_run(contender: str, shape: str, new_tokens: int, threads: int) -> Callable:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = GPT(SHAPES[shape]).eval()
    for p in model.parameters():  # untrained logits are nearly tied; spread them
        torch.nn.init.normal_(p, std=0.1)
    if contender != "transformers":
        cached = contender == "gptlib"
        return lambda: generate(model, PROMPT, new_tokens, temperature=0, use_cache=cached)
    hf, idx = to_hf(model), torch.tensor([PROMPT])
    return lambda: hf.generate(
        idx, attention_mask=torch.ones_like(idx), max_new_tokens=new_tokens,
        min_new_tokens=new_tokens, do_sample=False, use_cache=True, pad_token_id=0,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    rows = []
    for shape in SHAPES:
        runs = {
            name: make_run(name, shape, args.new_tokens, args.threads)
            for name in ("gptlib", "uncached", "transformers")
        }
        outputs = [run() for run in runs.values()]
        if not all(torch.equal(outputs[0], other) for other in outputs):
            raise SystemExit(f"{shape}: the contenders wrote different tokens")
        seconds = interleaved(runs, args.repeats)
        for name, s in seconds.items():
            rows.append(
                {
                    "model": shape,
                    "contender": name,
                    "tokens_per_s": args.new_tokens / s,
                    "gptlib_is_faster_by": s / seconds["gptlib"],
                    "peak_mb": peak_memory_mb(make_run, name, shape, args.new_tokens, args.threads),
                }
            )
    report("generate", rows, args.out)


if __name__ == "__main__":
    main()
