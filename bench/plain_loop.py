"""A step of nanoGPT's training loop at its CPU setting, and ours at the preset that repeats it.

    python bench/plain_loop.py [--nanogpt FOLDER] [--threads 2]

"nanogpt-cpu" and "speedrun-cpu" are whole steps of `Trainer` at those presets: the batch, forward,
backward, clipping, the optimizer, a line in the log. "plain loop" is the first one's model in a
loop as nanoGPT's `train.py` has it: windows at random places of a memory map that is opened anew
for every batch, float32, AdamW as torch makes it by default, the loss read after every step.
"nanoGPT" is that loop around the `model.py` in FOLDER, a checkout of github.com/karpathy/nanoGPT,
and the optimizer which that file configures. It prints nothing, which favors it.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from timing import arguments, interleaved, report
from torch import Tensor, nn

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.optim import decay_groups
from gptlib.presets import preset

VOCAB, TOKENS = 65, 1_003_854  # Shakespeare's alphabet, and its first 90%
LR, BETAS, DECAY = 1e-3, (0.9, 0.99), 0.1
STEPS = 10  # a turn: caches are as warm as in a run


def random_windows(file: Path, batch_size: int, T: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (B, T) int64, from random places in a file of uint16 ids."""
    tokens = np.memmap(file, dtype=np.uint16, mode="r")
    starts = torch.randint(len(tokens) - T, (batch_size,)).tolist()
    pairs = (
        torch.stack([torch.from_numpy(tokens[i : i + T].astype(np.int64)) for i in begins])
        for begins in (starts, [i + 1 for i in starts])
    )
    return tuple(pairs)


def load_nanogpt(folder: Path, config: GPTConfig) -> nn.Module:
    """nanoGPT's own model in the shape of `config`, from the `model.py` in a folder."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "dropout", "bias")
    with redirect_stdout(io.StringIO()):  # it tells its size
        return module.GPT(module.GPTConfig(**{name: getattr(config, name) for name in names}))


def plain_adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that nanoGPT's model makes itself, or the same for ours: not fused."""
    if hasattr(model, "configure_optimizers"):
        with redirect_stdout(io.StringIO()):
            return model.configure_optimizers(DECAY, LR, BETAS, "cpu")
    return torch.optim.AdamW(decay_groups([*model.parameters()], DECAY), lr=LR, betas=BETAS)


def plain_step(model: nn.Module, read: Callable[[], tuple]) -> Callable[[], float]:
    """A function that does one update in nanoGPT's order and returns the loss before it."""
    optimizer, batch = plain_adamw(model.train()), read()

    def step() -> float:
        nonlocal batch
        for group in optimizer.param_groups:
            group["lr"] = LR
        loss = model(*batch)[1]
        batch = read()  # ahead of the next step: a GPU would be busy now
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def trainer_step(name: str, tokens: np.ndarray, run_dir: Path) -> Callable[[], float]:
    """The same at a preset, by the methods that `Trainer.fit` calls between validations."""
    settings = preset(name)
    run_dir.mkdir()
    model = GPT(GPTConfig(vocab_size=VOCAB, **settings.model))
    trainer = Trainer(model, tokens, tokens[:1000], TrainConfig(**settings.train), run_dir)
    trainer._begin(resume=False, override=False)

    def step() -> float:
        loss, norm = trainer._update()
        trainer.state.step += 1
        trainer._agree(loss, norm, asked_to_stop=False)
        return loss

    return step


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a folder with nanoGPT's model.py")
    parser.add_argument("--repeats", type=int, default=20, help=f"turns of {STEPS} steps")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(VOCAB, size=TOKENS).astype(np.uint16)
    plain = preset("nanogpt-cpu")
    config, batch_size = GPTConfig(vocab_size=VOCAB, **plain.model), plain.train["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.bin"
        tokens.tofile(file)

        def read() -> tuple[Tensor, Tensor]:
            return random_windows(file, batch_size, config.block_size)

        presets = ("nanogpt-cpu", "speedrun-cpu")
        steps = {name: trainer_step(name, tokens, Path(folder) / name) for name in presets}
        steps["plain loop"] = plain_step(GPT(config), read)
        if args.nanogpt:
            steps["nanoGPT"] = plain_step(load_nanogpt(args.nanogpt, config), read)
        turns = {name: lambda step=s: [step() for _ in range(STEPS)] for name, s in steps.items()}
        seconds = interleaved(turns, args.repeats)
    rows = []
    for name, s in seconds.items():
        B = preset(name).train["batch_size"] if name in presets else batch_size
        count = B * config.block_size
        rows.append(
            {
                "contender": name,
                "batch": f"{B} x {config.block_size}",
                "ms_per_step": s / STEPS * 1000,
                "tokens_per_s": STEPS * count / s,
            }
        )
    plain = rows[-1]
    for row in rows:
        row["speed_vs_plain"] = row["tokens_per_s"] / plain["tokens_per_s"]
    report("plain_loop", rows, args.out, plain=plain["contender"])


if __name__ == "__main__":
    main()
