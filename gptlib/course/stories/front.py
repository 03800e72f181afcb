"""One title, told by one model at several steps of its training. The record `story-front`.

One job: the samples of the book's first page.

    python -m gptlib.course.stories.front --run RUN [--seed N] [--out data/runs/story-front]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from gptlib.course.command import answer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.learning import model_at
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.trained import train_stories
from gptlib.course.stories.writing import begin_with, story_loss, write_stories
from gptlib.sampling.marked import readable
from gptlib.tokenizers import load_tokenizer

TITLE = "The Bet for the Goose"
STEPS = (0, 50, 100, 150, 200, 300, 1000, 2000, 7000)


def story_front(run: Path | None = None, seed: int = 3) -> Record:
    """What the run's model tells at each step, and its loss in nats for each character of stories
    that it was not trained on.

    Args:
        run: its folder; None trains one anew, which takes an hour. seed: of the stories; the
            default is one whose last story holds together.

    Raises:
        DataError: the run kept no checkpoint of a step.
    """
    if run is None:
        with tempfile.TemporaryDirectory() as home:
            return story_front(train_stories(Path(home)), seed)
    tokenizer, documents = load_tokenizer(run / "tokenizer"), held_out(100, seed=3)
    ids, characters = [tokenizer.encode(text) for text in documents], sum(map(len, documents))
    samples = []
    for step in STEPS:
        model = model_at(run, step)
        (story,) = write_stories(model, tokenizer, [begin_with(title=TITLE)], seed=seed)
        text = tokenizer.decode(readable(tokenizer, tokenizer.encode(story)))
        nats, _ = story_loss(model, ids)
        samples.append({"prompt": TITLE, "step": step, "val": nats / characters, "text": text})
    config = {"title": TITLE, "seed": seed, "temperature": 0.8}
    command = f"python -m gptlib.course.stories.front --run RUN --seed {seed}"
    return make_record("story-front", config, {"steps": list(STEPS)}, command, samples)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.front")
    parser.add_argument("--run", type=Path, required=True, help="a run that kept its checkpoints")
    parser.add_argument("--seed", type=int, default=3, help="of the stories")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-front"))
    options = parser.parse_args(arguments)
    save_record(story_front(options.run, options.seed), options.out)


if __name__ == "__main__":
    answer(main)
