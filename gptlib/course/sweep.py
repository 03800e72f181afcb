"""Sweeps: a grid of settings x seeds, read from a file, run one after another and recorded.

One job: `python -m gptlib.course.sweep NAME` trains every run that `data/sweeps/NAME.toml` plans
and that `data/runs/NAME` does not hold yet. A finished run is one line of `log.jsonl` there; an
unfinished one goes on from its last checkpoint, through `Trainer`, and its folder is deleted when
its line is on the disk. So the same command, given again after any interruption, ends with the
same record. A sweep file has

    corpus, corpus_size, val_characters   the text; validation uses only so many characters of it
    seeds, prompt                         one run a seed (a value may have `seeds` of its own); a
                                          text to continue, if there is one
    [settings]                            what all runs share
    [grid.AXIS.VALUE]                     the settings of each value; the grid is all combinations
    [extra.NAME]                          single runs beside the grid

A setting is a field of `GPTConfig` or of `TrainConfig`, or one of `OWN`.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import shutil
import statistics
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from gptlib.corpora import Corpus, load_corpus
from gptlib.course.command import answer, at_least_one
from gptlib.course.jobs import results
from gptlib.course.records import Record, make_record, read_record, save_record, this_machine
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import split_loss
from gptlib.files import append_line, mend_jsonl, read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.progress import TrainingProgress, progress
from gptlib.resources import data_path
from gptlib.runs import load_run
from gptlib.sampling import generate
from gptlib.status_line import aside
from gptlib.tokenizers import CharTokenizer, Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: Settings that are the sweep's own. tokens: read in training, in place of `steps`. characters: of
#: the training text, from its beginning. pieces: cut those characters out of so many places, evenly
#: spread over the training text. evals: validations on the way, the last step's included.
#: test_characters: cut off the training text's end, and measured once, when the run is over.
OWN = ("tokens", "characters", "pieces", "evals", "test_characters")
_SHAPE = {f.name for f in fields(GPTConfig)} - {"vocab_size"}
_TRAIN = {f.name for f in fields(TrainConfig)} - {"seed", "eval_every"}
_PARTS = {"corpus", "corpus_size", "val_characters", "seeds", "prompt", "settings"}


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its name is the grid's values and the seed, such as "2x32-1M-s0"."""

    name: str
    seed: int
    settings: dict


@dataclass(frozen=True)
class Sweep:
    """A sweep file: `about` as it stands there, and the runs that it plans, in order."""

    name: str
    about: dict
    points: tuple[Point, ...]


def read_sweep(name_or_path: str | Path, corpus: str | None = None) -> Sweep:
    """Read a sweep that ships with gptlib, or a file of one's own; `corpus` replaces its text.

    Raises:
        DataError: there is none. ConfigError: a part or a setting that nobody knows.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = data_path(f"sweeps/{name_or_path}.toml")
    elif not path.is_file():
        raise DataError(f"there is no sweep file {path}; give a path, or the name of a shipped one")
    try:
        about = tomllib.loads(path.read_text("utf8"))
    except ValueError as error:  # no UTF-8, or no TOML
        raise DataError(f"{path.name} is no sweep file ({error}); mend it, or copy it again") from (
            error
        )
    about |= {"corpus": corpus} if corpus else {}
    unknown = set(about) - _PARTS - {"grid", "extra"}
    if unknown or "corpus" not in about:
        known = ", ".join(sorted(_PARTS | {"grid", "extra"}))
        found = ", ".join(sorted(unknown)) or "no corpus"
        raise ConfigError(f"{path.name} has {found}; a sweep needs a corpus and may have {known}")
    runs = [("", {})] if "grid" in about else []
    for axis in about.get("grid", {}).values():
        runs = [
            (f"{name}-{value}".lstrip("-"), settings | own)
            for name, settings in runs
            for value, own in axis.items()
        ]
    runs += about.get("extra", {}).items()
    points = []
    for name, own in runs:
        settings = about.get("settings", {}) | own
        seeds = settings.pop("seeds", about.get("seeds", [0]))
        unknown = set(settings) - _SHAPE - _TRAIN - set(OWN)
        if unknown:
            raise ConfigError(
                f"{path.name} sets {', '.join(sorted(unknown))} for {name}; a setting is a field "
                f"of GPTConfig or of TrainConfig, or one of {', '.join(OWN)}"
            )
        points += [Point(f"{name}-s{seed}", seed, settings) for seed in seeds]
    return Sweep(path.stem, about, tuple(points))


# --- one run --------------------------------------------------------------------------------------


@functools.cache
def _texts(corpus: str, size: int | None, val_characters: int | None) -> tuple:
    """(corpus, tokenizer, train ids, val ids, floor of that validation text or None)."""
    loaded = load_corpus(corpus, size=size)
    val, floor = _validation(loaded, val_characters)
    tokenizer = CharTokenizer.train(loaded.text)
    train, val = (torch.tensor(tokenizer.encode(text)) for text in (loaded.train, val))
    return loaded, tokenizer, train, val, floor


def _validation(corpus: Corpus, characters: int | None) -> tuple[str, float | None]:
    """The first `characters` of the validation text, in whole documents if it has any."""
    if characters is None or characters >= len(corpus.val):
        return corpus.val, corpus.val_floor
    if corpus.grammar is None:
        return corpus.val[:characters], None
    text, nats = "", 0.0
    for document in corpus.val_documents:
        if len(text) >= characters:
            break
        text += document + corpus.grammar.separator
        nats -= corpus.grammar.score(document)
    return text, nats / len(text)


def train_config(point: Point, block_size: int) -> TrainConfig:
    """The `TrainConfig` of a run, with `tokens` and `evals` turned into steps."""
    own = {key: value for key, value in point.settings.items() if key in _TRAIN}
    config = TrainConfig(seed=point.seed, **own)
    if "tokens" in point.settings:
        per_step = config.batch_size * block_size
        own["steps"] = max(1, round(point.settings["tokens"] / per_step))
    steps = own.get("steps", config.steps)
    own["eval_every"] = max(1, steps // point.settings.get("evals", 1))
    return TrainConfig(seed=point.seed, **own)


def mean_rate(speed: list[dict]) -> float:
    """Tokens/s of a whole run from the lines of its `speed.jsonl`, compilation included.

    A line stands for the stretch since the one before it; the clock of a resumed run begins anew.
    """
    tokens = seconds = clock = 0.0
    for line in speed:
        took = line["seconds"] - (clock if clock < line["seconds"] else 0.0)
        clock = line["seconds"]
        tokens, seconds = tokens + took * line["tokens_per_s"], seconds + took
    return tokens / seconds


def load_texts(about: dict) -> tuple:
    """(corpus, tokenizer, train ids, val ids, floor of that validation text or None) of a sweep."""
    return _texts(about["corpus"], about.get("corpus_size"), about.get("val_characters"))


def model_and_config(point: Point, vocab_size: int) -> tuple[GPT, TrainConfig]:
    """The untrained model of a run, drawn from its seed, and how it will be trained."""
    torch.manual_seed(point.seed)
    shape = {key: value for key, value in point.settings.items() if key in _SHAPE}
    model = GPT(GPTConfig(vocab_size=vocab_size, **shape))
    return model, train_config(point, model.config.block_size)


def part(ids: torch.Tensor, characters: int | None, pieces: int = 1) -> torch.Tensor:
    """So many characters of a text: its beginning, or as many pieces evenly spread over it.

    Raises:
        ConfigError: pieces of no whole number of characters, or more characters than there are.
    """
    if pieces == 1:
        return ids[:characters]
    if characters is None or characters % pieces or not 0 < characters <= len(ids):
        raise ConfigError(
            f"{characters} of {len(ids)} characters in {pieces} pieces; give as `characters` a "
            "multiple of `pieces`, and no more than the training text has"
        )
    starts = [k * len(ids) // pieces for k in range(pieces)]
    return torch.cat([ids[start : start + characters // pieces] for start in starts])


def run_point(about: dict, point: Point, folder: Path) -> dict | None:
    """Train one run in `folder`, or go on with it; returns its line of the record.

    None if a signal stopped it; the folder then holds a checkpoint. That of a finished run is the
    caller's to delete, once the line is safe.
    """
    corpus, tokenizer, train, val, floor = load_texts(about)
    train = part(train, point.settings.get("characters"), point.settings.get("pieces", 1))
    end = len(train) - point.settings.get("test_characters", 0)
    train, test = train[:end], train[end:]
    model, config = model_and_config(point, tokenizer.vocab_size)
    alone = multiprocessing.parent_process() is None  # others would write over each other's line
    shown = [TrainingProgress(lines=False, in_notebooks=False)] if alone else []
    trainer = Trainer(model, train, val, config, folder, tokenizer, callbacks=shown)
    run = trainer.fit()
    if not run.finished:
        return None
    T = model.config.block_size
    tokens = config.steps * config.batch_size * T
    rate = mean_rate(read_jsonl(folder / "speed.jsonl"))
    autocast = trainer.runtime.autocast
    hardware, _ = this_machine()
    line = {
        "name": point.name,
        "seed": point.seed,
        "settings": point.settings,
        "params": model.num_params(),
        "steps": config.steps,
        "tokens": tokens,
        "passes": tokens / len(train),
        "flops": tokens * model.flops_per_token(T),
        "seconds": tokens / rate,
        "tokens_per_s": rate,
        "val": run.last_val,
        "train": split_loss(model, train[: len(val)], autocast=autocast),
        "best_val": run.best_val,
        "best_step": run.best_step,
        "curve": [[entry["step"], entry["val"]] for entry in run.log if "val" in entry],
        "floor": floor,
        "sha256": corpus.sha256,
        "machine": hardware["gpu"] or hardware["cpu"],
    }
    if len(test):
        line["test"] = split_loss(model, test, autocast=autocast)
    if about.get("prompt"):
        line["samples"] = list(_samples(folder, tokenizer, about["prompt"]))
    return line


def _samples(folder: Path, tokenizer: Tokenizer, prompt: str) -> Iterator[dict]:
    """How the best and the last model of a run go on from a prompt, with the same dice."""
    for which in ("best", "latest"):
        model, _, _ = load_run(folder, which)
        ids = generate(model, tokenizer.encode(prompt), 300, temperature=0.8, seed=0)[0]
        yield {"which": which, "prompt": prompt, "text": tokenizer.decode(ids.tolist())}


# --- all of them ----------------------------------------------------------------------------------


def run_sweep(
    sweep: Sweep,
    record: Path,
    work: Path,
    only: str = "",
    jobs: int = 1,
    report: Callable[[str], object] = print,
) -> bool:
    """Run what is planned and not recorded yet; True if a run was stopped by a signal.

    Derived in chapter 4, *Is 1.4772 less than 1.4810?*

    Args:
        record: the record's folder; `log.jsonl` in it gets a line for each run, when it ends.
        work: where unfinished runs keep their checkpoints.
        only: leave out runs whose name does not contain this.
        jobs: processes at a time.

    Raises:
        DataError: a run of that name was recorded with other settings.
        ConfigError: no run's name contains `only`; fewer than one process.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; give the number of processes, 1 or more")
    if not any(only in point.name for point in sweep.points):
        names = [point.name for point in sweep.points]
        raise ConfigError(
            f"no run's name contains {only!r}; {len(names)} are planned, such as "
            f"{', '.join(names[:3])}"
        )
    log = record / "log.jsonl"
    done = {line["name"]: line for line in mend_jsonl(log)}
    for point in sweep.points:
        line = done.get(point.name)
        if line and line["settings"] != point.settings:
            raise DataError(
                f"{log} holds {point.name} with other settings ({line['settings']}, now "
                f"{point.settings}); delete that line to run it again, or give the run a new name"
            )
    for point in sweep.points:
        if point.name in done:  # a kill may have come between its line and the end of its folder
            shutil.rmtree(work / point.name, ignore_errors=True)
    todo = [p for p in sweep.points if p.name not in done and only in p.name]
    tasks = [(sweep.about, point, work / point.name) for point in todo]
    stopped, number = False, 0
    with progress("sweep", len(todo), "runs", in_notebooks=False) as bar:
        for line in results(run_point, tasks, jobs):
            if line is None:
                stopped = True
                continue
            number += 1
            append_line(log, line)
            shutil.rmtree(work / line["name"])
            _write_record(sweep, record)
            bar.at(number)
            with aside():
                report(
                    f"{number}/{len(todo)} {line['name']}: val {line['val']:.4f}, best "
                    f"{line['best_val']:.4f} at step {line['best_step']}, {line['seconds']:.0f} s"
                )
    if done and not todo:
        _write_record(sweep, record)
    return stopped


def _write_record(sweep: Sweep, folder: Path) -> None:
    """Write `record.json` from the log: the runs in the order of the plan, and what is missing."""
    lines = {line["name"]: line for line in read_jsonl(folder / "log.jsonl")}
    runs = [lines[p.name] for p in sweep.points if p.name in lines]
    result: dict[str, object] = {
        "runs": [{k: v for k, v in run.items() if k not in ("samples", "sha256")} for run in runs],
        "not_run": [p.name for p in sweep.points if p.name not in lines],
        "floor": runs[0]["floor"],
    }
    means = {k: statistics.fmean(run[k] for run in runs) for k in ("seconds", "tokens_per_s")}
    result["seconds"] = {"mean": means["seconds"], "sum": sum(run["seconds"] for run in runs)}
    result["tokens_per_s"] = {"mean": means["tokens_per_s"]}
    samples = [{"run": run["name"], **s} for run in runs for s in run.get("samples", ())]
    config = sweep.about | {"corpus": Path(sweep.about["corpus"]).name}
    config["sha256"] = sorted({run["sha256"] for run in runs})
    command = f"python -m gptlib.course.sweep {sweep.name}"
    record = make_record(sweep.name, config, result, command=command, samples=samples)
    save_record(record, folder)


def remake(name: str) -> Record:
    """Make anew, in a temporary folder, the runs of a sweep that its shipped record holds.

    All that the sweep plans where there is no record.
    """
    sweep = read_sweep(name)
    try:
        recorded = read_record(data_path(f"runs/{name}")).result["runs"]
    except DataError:
        recorded = [{"name": point.name} for point in sweep.points]
    names = {run["name"] for run in recorded}
    sweep = replace(sweep, points=tuple(p for p in sweep.points if p.name in names))
    with tempfile.TemporaryDirectory() as folder:
        if run_sweep(sweep, Path(folder) / name, Path(folder) / "work"):
            raise SystemExit("stopped before the end; nothing is kept")
        return read_record(Path(folder) / name)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.sweep")
    parser.add_argument("sweep", help="a name under data/sweeps, or the path of a .toml file")
    parser.add_argument("--corpus", help="another text than the file's: a name or a path")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="for unfinished runs")
    parser.add_argument("--only", default="", help="only runs whose name contains this")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="processes at a time")
    options = parser.parse_args(arguments)
    sweep = read_sweep(options.sweep, options.corpus)
    work = options.work / f"sweep-{sweep.name}"
    if run_sweep(sweep, options.out / sweep.name, work, options.only, options.jobs):
        raise SystemExit("stopped; the same command goes on from there")


if __name__ == "__main__":
    answer(main)
