"""What a model of stories learned when: form, names, possessions, the turn. The record
`story-learning`.

One job: `look` at a model, and `story_learning`, which looks at the checkpoints that a run kept.

    python -m gptlib.course.stories.learning --run RUN [--out data/runs/story-learning]
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from gptlib import checkpoint
from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import collect_probes, held_out, nearer_is_right
from gptlib.course.stories.replay import grammar
from gptlib.course.stories.trained import train_stories
from gptlib.course.stories.verdicts import judge_all
from gptlib.course.stories.writing import begin_with, story_loss, write_stories
from gptlib.errors import DataError
from gptlib.evaluation import score_probes
from gptlib.grammar import Probe
from gptlib.model import GPT, GPTConfig
from gptlib.stories import START, TITLE_END
from gptlib.stories.kinds import storybook
from gptlib.tokenizers import Tokenizer, load_tokenizer

LOOKS = (
    0, 50, 100, 150, 200, 300, 400, 600, 800, 1000, 1250, 1500, 2000, 2500, 3000, 4000, 5000, 6000,
    7000,
)  # fmt: skip


def keeps_names(text: str) -> bool:
    """Whether the first person whom a story names, after its title, is named in it again."""
    body = text.partition(TITLE_END)[2]
    named = re.findall(r"\b(?:" + "|".join(storybook().words("person", "name")) + r")\b", body)
    return named[:1] != [] and named[0] in named[1:]


def look(
    model: GPT,
    tokenizer: Tokenizer,
    documents: Sequence[str],
    probes: dict[str, list[Probe]],
    n: int = 40,
    seed: int = 1,
) -> dict:
    """Everything that is measured at one step.

    Args:
        documents: stories that the model was not trained on. probes: questions by kind.
        n: how many stories it writes, at temperature 0.8.

    Returns:
        loss: nats a token of the documents. form, names, holds: shares of its own stories that are
        well formed, name the first person whom they name again, and hold together. By kind of
        probe, the `accuracy` and `log_ratio` of `score_probes`. sample: its first story.
    """
    nats, tokens = story_loss(model, [tokenizer.encode(text) for text in documents])
    written = judge_all(write_stories(model, tokenizer, [begin_with()] * n, seed=seed))
    first = written.stories[0]
    return {
        "loss": nats / tokens,
        "form": written.rate("well_formed").share,
        "names": sum(keeps_names(story.text) for story in written.stories) / n,
        "holds": written.rate("holds").share,
        "sample": {"text": first.text, "sentence": first.sentence, "reason": first.reason},
        **{kind: score_probes(model, tokenizer, asked) for kind, asked in probes.items()},
    }


def model_at(run: Path, step: int) -> GPT:
    """The model of a run after so many steps; at step 0 one of its shape that has read nothing.

    Raises:
        DataError: no checkpoint of that step is there.
    """
    steps = checkpoint.saved_steps(run)
    if step not in steps and (step or not steps):
        raise DataError(f"{run} has no checkpoint of step {step}; it has those of {steps}")
    weights, manifest = checkpoint.load_model(checkpoint.folder_of(run, step or steps[0]))
    torch.manual_seed(manifest["train"]["seed"])
    model = GPT(GPTConfig.from_dict(manifest["model"])).eval()
    if step:
        checkpoint.load_weights(model, weights)
    return model


def story_learning(run: Path | None = None, n: int = 100, looks: Sequence[int] = LOOKS) -> Record:
    """Look at each of the steps that the run kept: `n` probes of each kind, n // 2 stories.

    Args:
        run: its folder; None trains one anew, which takes an hour.

    Raises:
        DataError: the run kept none of them.
    """
    if run is None:
        with tempfile.TemporaryDirectory() as home:
            return story_learning(train_stories(Path(home)), n, looks)
    tokenizer, probes = load_tokenizer(run / "tokenizer"), collect_probes(n)
    kept = [step for step in looks if step == 0 or step in checkpoint.saved_steps(run)]
    if len(kept) < 2:
        raise DataError(f"{run} kept no checkpoint of the steps {looks}; train with keep_last=200")
    documents = held_out(200, seed=3)
    lines, samples = [], []
    for step in kept:
        seen = look(model_at(run, step), tokenizer, documents, probes, max(1, n // 2))
        samples.append({"prompt": START, "step": step, **seen.pop("sample")})
        lines.append({"step": step, **seen})
        print(lines[-1], flush=True)
    tokens = sum(len(tokenizer.encode(text)) - 1 for text in documents)
    result = {
        "steps": lines,
        "floor": -sum(map(grammar().score, documents)) / tokens,
        "nearer_is_right": {kind: nearer_is_right(probes[kind]) for kind in ("owner", "gone")},
        "examples": {
            kind: {"prefix": p.prefix, "right": p.right, "wrong": p.wrong}
            for kind, (p, *_) in probes.items()
        },
    }
    shape = model_at(run, kept[-1]).config.to_dict()
    config = {"model": shape, "probes": n, "stories": max(1, n // 2)}
    command = f"python -m gptlib.course.stories.learning --run RUN --n {n}"
    return make_record("story-learning", config, result, command, samples)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.learning")
    parser.add_argument("--run", type=Path, required=True, help="a run that kept its checkpoints")
    parser.add_argument("--n", type=at_least_one, default=100, help="probes of each kind")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-learning"))
    options = parser.parse_args(arguments)
    save_record(story_learning(options.run, options.n), options.out)


if __name__ == "__main__":
    answer(main)
