"""Does bfloat16 learn what float32 learns? The 10.7M model, step by step, in both.

    python bench/loss_curve.py [--steps 40] [--corpus tales]

Same first weights and same batches; beside them a float32 run with another order of batches says
how far two good runs lie apart. Writes bench/results/loss_curve.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from timing import report

from gptlib import GPT, CharTokenizer, GPTConfig, TrainConfig, Trainer, load_corpus

LAST = 10  # steps whose mean loss is compared


def losses(corpus, tokenizer, dtype: str, seed: int, steps: int) -> list[float]:
    """Training loss of every step."""
    train, val = (tokenizer.encode(part) for part in (corpus.train, corpus.val))
    torch.manual_seed(0)
    model = GPT(GPTConfig(256, tokenizer.vocab_size, 6, 6, 384))
    config = TrainConfig(
        steps=steps, batch_size=16, lr=1e-3, warmup=steps // 8, eval_every=steps, eval_windows=1,
        save_minutes=0, seed=seed, dtype=dtype,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(model, train, val, config, folder, tokenizer).fit()
    return [line["loss"] for line in run.log if "loss" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--corpus", default="tales")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = load_corpus(args.corpus)
    tokenizer = CharTokenizer.train(corpus.text)
    first = losses(corpus, tokenizer, "float32", 0, args.steps)
    rows = []
    for name, dtype, seed in (
        ("bfloat16, same batches", "bfloat16", 0), ("float32, other batches", "float32", 1),
    ):  # fmt: skip
        other = losses(corpus, tokenizer, dtype, seed, args.steps)
        ends = [statistics.fmean(run[-LAST:]) for run in (first, other)]
        apart = [abs(a - b) for a, b in zip(first, other, strict=True)]
        rows.append(
            {
                "against_float32": name, "steps": args.steps, "end_float32": ends[0],
                "end": ends[1], "ends_apart": abs(ends[0] - ends[1]),
                "mean_apart": statistics.fmean(apart), "most_apart": max(apart),
            }
        )  # fmt: skip
    report("loss_curve", rows, args.out)


if __name__ == "__main__":
    main()
