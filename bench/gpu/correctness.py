"""What must be true on a GPU before any number from it is believed.

    python bench/gpu/correctness.py --out FILE [--device cuda]

Kernels equal to the written-out formulas, number types that train, cached generation equal to
uncached, and a run that is killed and resumed equal, bit for bit, to one that was left alone.
Each check gives the number that was measured and whether it is good enough.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from gptlib import GPT, GPTConfig, TrainConfig, Trainer, checkpoint, generate, load_corpus
from gptlib.course.records import this_machine
from gptlib.model import naive_attention
from gptlib.runs import read_jsonl
from gptlib.tokenizers import CharTokenizer

SMALL = dict(n_layer=4, n_head=4, n_embd=128)


def attention(device: str) -> dict:
    """Fused against naive, forward and backward, in each number type."""
    found = {}
    for name, dtype, enough in (
        ("float32", torch.float32, 1e-4), ("bfloat16", torch.bfloat16, 3e-2),
        ("float16", torch.float16, 5e-3),
    ):  # fmt: skip
        if device == "cpu" and name == "float16":
            continue
        torch.manual_seed(0)
        q, k, v = (torch.randn(4, 8, 256, 64, device=device) for _ in range(3))
        exact = [x.clone().requires_grad_() for x in (q, k, v)]
        fused = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        a = naive_attention(*exact)
        b = F.scaled_dot_product_attention(*fused, is_causal=True)
        a.sum().backward()
        b.sum().backward()
        pairs = [(a, b), *((x.grad, y.grad) for x, y in zip(exact, fused, strict=True))]
        apart = max((x - y.float()).abs().max().item() for x, y in pairs)
        found[name] = {"largest_difference": apart, "enough": enough, "good": apart < enough}
    return found


def logits(device: str) -> dict:
    """The same weights on the CPU and on the device."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(64, 65, **SMALL)).eval()
    idx = torch.randint(65, (8, 64))
    with torch.no_grad():
        here, _ = model(idx)
        there, _ = model.to(device)(idx.to(device))
    apart = (here - there.cpu()).abs().max().item()
    return {"largest_difference": apart, "enough": 1e-4, "good": apart < 1e-4}


def generation(device: str) -> dict:
    """200 greedy tokens, with the cache and without, past the end of the context."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, 65, **SMALL)).double().eval().to(device)
    rows = [generate(model, [1, 2, 3], 200, temperature=0, use_cache=use) for use in (True, False)]
    same = (rows[0] == rows[1]).sum().item()
    return {"tokens_equal": same, "of": rows[0].numel(), "good": same == rows[0].numel()}


def train(folder: Path, device: str, dtype: str, steps: int, stop_after: int | None = None):
    corpus = load_corpus("tales", size=200_000)
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = (tokenizer.encode(part) for part in (corpus.train, corpus.val))
    torch.manual_seed(0)
    model = GPT(GPTConfig(128, tokenizer.vocab_size, dropout=0.1, **SMALL))
    config = TrainConfig(
        steps=steps, batch_size=32, accumulate=2, lr=2e-3, warmup=20, eval_every=50,
        eval_windows=100, save_every=20, save_minutes=0, device=device, dtype=dtype,
    )  # fmt: skip
    return Trainer(model, train, val, config, folder, tokenizer).fit(stop_after=stop_after)


def number_types(device: str) -> dict:
    """Validation loss after the same 200 steps in each type; float16 goes with a scaler."""
    found = {}
    types = ("float32", "bfloat16") + (("float16",) if device != "cpu" else ())
    for dtype in types:
        with tempfile.TemporaryDirectory() as folder:
            found[dtype] = train(Path(folder), device, dtype, 200).last_val
    apart = max(found.values()) - min(found.values())
    return {**found, "apart": apart, "enough": 0.05, "good": apart < 0.05}


def resume(device: str) -> dict:
    """Two runs left alone, and one killed twice, under deterministic algorithms."""
    with tempfile.TemporaryDirectory() as root:
        endings = {}
        for name, deaths in (("alone", ()), ("again", ()), ("killed", (33, 71))):
            folder = Path(root) / name
            for step in (*deaths, 0):
                words = [sys.executable, __file__, "--child", str(folder), "--die-at", str(step)]
                died = subprocess.run([*words, "--device", device], check=False).returncode
                assert died == (-signal.SIGKILL if step else 0), died
            place = checkpoint.folder_of(folder, 100)
            weights, state, _ = checkpoint.load(place)
            endings[name] = (read_jsonl(folder / "log.jsonl"), weights, state)
        found = {}
        for name in ("again", "killed"):
            log, weights, state = endings[name]
            first_log, first_weights, first_state = endings["alone"]
            moments = zip(_tensors(state["optimizers"]), _tensors(first_state["optimizers"]),
                          strict=True)  # fmt: skip
            found[name] = {
                "log_equal": log == first_log,
                "weights_equal": all(torch.equal(w, first_weights[n]) for n, w in weights.items()),
                "moments_equal": all(torch.equal(a, b) for a, b in moments),
            }
        found["good"] = all(all(checks.values()) for checks in found.values())
        return found


def _tensors(value) -> list:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    nested = isinstance(value, dict | list | tuple)
    return [t for item in items for t in _tensors(item)] if nested else []


def child(folder: Path, die_at: int, device: str) -> None:
    torch.use_deterministic_algorithms(True)
    update = Trainer._update

    def fatal(trainer):
        if trainer.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(trainer)

    if die_at:
        Trainer._update = fatal
    train(folder, device, "auto", 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--die-at", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.die_at, args.device)
        return
    checks = (attention, logits, generation, number_types, resume)
    result = {check.__name__: check(args.device) for check in checks}
    hardware, versions = this_machine()
    for name, found in result.items():
        print(name, found, flush=True)
    about = {"hardware": hardware, "versions": versions, "result": result}
    args.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
