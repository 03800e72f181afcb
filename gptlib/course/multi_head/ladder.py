"""The build-up of chapter 3: from a bigram table to three transformer blocks, one change a rung.

One job: `ladder` trains every rung of one small model family on one corpus, over several seeds,
and returns the losses and a sample of each. The parts are those of `gptlib.model`; the settings
are the build-up's usual ones: 32 windows of 8 characters a step, 32 channels, AdamW at 1e-3,
5,000 steps, torch's default initial weights.

    python -m gptlib.course.multi_head.ladder tales data/runs/ladder-tales
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.corpora import load_corpus
from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, save_record, this_machine
from gptlib.errors import ConfigError, DataError
from gptlib.model import MLP, CausalSelfAttention, GPTConfig
from gptlib.tokenizers import CharTokenizer

BATCH_SIZE, BLOCK_SIZE, N_EMBD, LEARNING_RATE = 32, 8, 32, 1e-3
EVAL_BATCHES = 200


@dataclass(frozen=True)
class Rung:
    """What one rung has. `n_head` 0 is the bigram table: no attention, no positions."""

    n_head: int = 0
    feed_forward: bool = False
    n_block: int = 1
    residual: bool = False
    layer_norm: bool = False


#: From the third on, each rung changes one thing in the rung before it; the second brings
#: embeddings of tokens and positions along with its head.
RUNGS = {
    "bigram": Rung(),
    "one head": Rung(1),
    "multi-head": Rung(4),
    "feed-forward": Rung(4, True),
    "three blocks": Rung(4, True, 3),
    "residual": Rung(4, True, 3, True),
    "layer norm": Rung(4, True, 3, True, True),
}


class RungBlock(nn.Module):
    """A transformer block from which parts can be missing."""

    def __init__(self, rung: Rung) -> None:
        super().__init__()
        shape = GPTConfig(BLOCK_SIZE, n_head=rung.n_head, n_embd=N_EMBD)
        self.sublayers = nn.ModuleList([CausalSelfAttention(shape)])
        if rung.feed_forward:
            self.sublayers.append(MLP(shape))
        self.norms = nn.ModuleList(
            nn.LayerNorm(N_EMBD) if rung.layer_norm else nn.Identity() for _ in self.sublayers
        )
        self.residual = rung.residual

    def forward(self, x: Tensor) -> Tensor:
        for norm, sublayer in zip(self.norms, self.sublayers, strict=True):
            found = sublayer(norm(x))  # (B, T, C)
            x = x + found if self.residual else found
        return x


class RungModel(nn.Module):
    """The model of one rung: ids (B, T) int64 in, logits (B, T, V) out."""

    def __init__(self, rung: Rung, vocab_size: int) -> None:
        super().__init__()
        if rung.n_head == 0:
            self.network = nn.Embedding(vocab_size, vocab_size)
            return
        self.position = nn.Embedding(BLOCK_SIZE, N_EMBD)
        self.token = nn.Embedding(vocab_size, N_EMBD)
        self.network = nn.Sequential(
            *(RungBlock(rung) for _ in range(rung.n_block)),
            nn.LayerNorm(N_EMBD) if rung.layer_norm else nn.Identity(),
            nn.Linear(N_EMBD, vocab_size),
        )

    def forward(self, idx: Tensor) -> Tensor:
        if isinstance(self.network, nn.Embedding):
            return self.network(idx)  # a row of the table is the logits
        return self.network(self.token(idx) + self.position.weight[: idx.size(1)])


def windows(tokens: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the windows (B, T) that begin at `starts` (B,), and the tokens that follow each."""
    at = starts[:, None] + torch.arange(BLOCK_SIZE)
    return tokens[at], tokens[at + 1]


@torch.no_grad()
def mean_loss(model: nn.Module, tokens: Tensor, starts: Tensor) -> float:
    """Mean cross-entropy, in nats a token, over the windows that begin at `starts`."""
    total = 0.0
    for part in starts.split(4096):
        x, y = windows(tokens, part)
        total += F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / (len(starts) * BLOCK_SIZE)


@torch.no_grad()
def continue_text(model: nn.Module, prompt: Sequence[int], length: int, seed: int) -> list[int]:
    """Sample `length` tokens after the prompt; each sees at most the `BLOCK_SIZE` before it."""
    dice = torch.Generator().manual_seed(seed)
    ids = list(prompt)
    for _ in range(length):
        logits = model(torch.tensor([ids[-BLOCK_SIZE:]]))[0, -1]
        ids.append(int(torch.multinomial(logits.softmax(-1), 1, generator=dice)))
    return ids[len(prompt) :]


def train_rung(
    name: str, tokens: Tensor, vocab_size: int, seed: int, steps: int = 5000
) -> tuple[RungModel, torch.Generator]:
    """Train one rung on tokens (N,) int64; returns it, and the dice that drew its windows.

    Raises:
        ConfigError: no rung has that name.
    """
    if name not in RUNGS:
        raise ConfigError(f"no rung is called {name!r}; choose from {', '.join(RUNGS)}")
    torch.manual_seed(seed)
    model = RungModel(RUNGS[name], vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    dice = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - BLOCK_SIZE, (BATCH_SIZE,), generator=dice)
        x, y = windows(tokens, starts)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, dice


def run_rung(
    name: str,
    tokens_train: Tensor,
    tokens_val: Tensor,
    vocab_size: int,
    seed: int,
    steps: int = 5000,
    prompt: Sequence[int] = (0,),
    sample_length: int = 240,
) -> dict:
    """Train one rung.

    Args:
        name: a key of `RUNGS`. tokens_train, tokens_val: (N,) int64.
        prompt: the ids that every rung continues, with the same dice.

    Returns:
        `val`: the mean over 200 random batches of the validation split, as the published figures
        were taken; `full_val`: the mean over all of it (both in nats a token); `params`; and
        `sample`, the continuation as ids.

    Raises:
        ConfigError: no rung has that name.
    """
    model, dice = train_rung(name, tokens_train, vocab_size, seed, steps)
    last = len(tokens_val) - BLOCK_SIZE
    random_starts = torch.randint(last, (EVAL_BATCHES * BATCH_SIZE,), generator=dice)
    return {
        "val": mean_loss(model, tokens_val, random_starts),
        "full_val": mean_loss(model, tokens_val, torch.arange(0, last, BLOCK_SIZE)),
        "params": sum(p.numel() for p in model.parameters()),
        "sample": continue_text(model, prompt, sample_length, seed),
    }


def ladder(
    corpus_name_or_path: str, seeds: int = 5, steps: int = 5000, prompt_length: int = 60
) -> dict:
    """Train every rung on a corpus with seeds 0, 1, …; the same seeds on every rung.

    The prompt is the opening of the validation split.

    Returns:
        `config`; `result`: `rungs` (name: val, full_val and their mean and sd over the seeds,
        params, and what the rung has), and `floor` where the corpus has one; `samples` of seed 0,
        one for each rung.

    Raises:
        DataError: the text is too short to be read in windows.
    """
    corpus = load_corpus(corpus_name_or_path)
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = corpus.encode(tokenizer)
    if len(val) <= BLOCK_SIZE + 1:
        raise DataError(
            f"{corpus.name} has {len(val)} characters for validation; a rung reads "
            f"{BLOCK_SIZE + 2} at least: give a longer text"
        )
    opening = corpus.val[:prompt_length]
    prompt = tokenizer.encode(opening)
    rungs, samples = {}, []
    for name, rung in RUNGS.items():
        runs = [
            run_rung(name, train, val, tokenizer.vocab_size, seed, steps, prompt)
            for seed in range(seeds)
        ]
        rungs[name] = {"params": runs[0]["params"], **asdict(rung)}
        for key in ("val", "full_val"):
            rungs[name] |= _summary(key, [run[key] for run in runs])
        text = tokenizer.decode(runs[0]["sample"])
        samples.append({"rung": name, "seed": 0, "prompt": opening, "text": text})
    config = {
        "corpus": corpus.name,
        "sha256": corpus.sha256,
        "characters": len(corpus.text),
        "vocab_size": tokenizer.vocab_size,
        "batch_size": BATCH_SIZE,
        "block_size": BLOCK_SIZE,
        "n_embd": N_EMBD,
        "steps": steps,
        "optimizer": "AdamW",
        "lr": LEARNING_RATE,
        "eval_batches": EVAL_BATCHES,
        "seeds": list(range(seeds)),
    }
    result: dict[str, object] = {"rungs": rungs}
    if corpus.val_floor is not None:
        result["floor"] = corpus.val_floor
    return {"config": config, "result": result, "samples": samples}


def _summary(key: str, losses: list[float]) -> dict:
    """The losses of all seeds, their mean and their standard deviation (0 for one seed)."""
    spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
    return {
        key: [round(loss, 5) for loss in losses],
        f"{key}_mean": round(statistics.mean(losses), 5),
        f"{key}_sd": round(spread, 5),
    }


def ladder_record(name: str, corpus: str, seeds: int = 5, steps: int = 5000) -> Record:
    """Run a ladder on a corpus, or on the text at a path; returns its record."""
    made = ladder(corpus, seeds, steps)
    hardware, versions = this_machine()
    command = (
        f"python -m gptlib.course.multi_head.ladder {made['config']['corpus']} data/runs/{name} "
        f"--seeds {seeds} --steps {steps}"
    )
    return Record(name, command, hardware=hardware, versions=versions, **made)


def main(arguments: list[str] | None = None) -> None:
    """Run a ladder and write its record."""
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.multi_head.ladder")
    parser.add_argument("corpus", help="a corpus, or the path of a text")
    parser.add_argument("out", type=Path, help="the record's folder, e.g. data/runs/ladder-tales")
    parser.add_argument("--seeds", type=at_least_one, default=5)
    parser.add_argument("--steps", type=at_least_one, default=5000)
    options = parser.parse_args(arguments)
    record = ladder_record(options.out.name, options.corpus, options.seeds, options.steps)
    save_record(record, options.out)


if __name__ == "__main__":
    answer(main)
