"""Stories that people wrote: recorded runs of up to an hour.

One job: the records `story-fairy-tales`, a small GPT that reads a few hundred fairy tales eight
times, once from scratch and once from weights that had read other books before;
`story-fairy-tenth`, the same on a tenth of them, forty-seven times, without dropout; and
`story-tinystories`, one that reads short stories that a larger model wrote for this. The texts are
those of `gptlib.course.stories.texts`, and `pretraining.jsonl` (GPTLIB_DATA).

    python -m gptlib.course.stories.collected fairy-tales SCRATCH PRETRAINED
    python -m gptlib.course.stories.collected fairy-tenth RUN
    python -m gptlib.course.stories.collected tinystories RUN
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gptlib import checkpoint
from gptlib.corpora import Corpus, load_corpus
from gptlib.corpora.downloads import cache_folder
from gptlib.course.command import answer
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.pretraining.runs import END as END_OF_TEXT
from gptlib.course.pretraining.runs import TEXTS, read_texts, seconds_and_pauses
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.writing import write_stories
from gptlib.course.tokens.texts import cached
from gptlib.errors import DataError
from gptlib.evaluation.diversity import longest_shared_runs
from gptlib.evaluation.loss import measure_split
from gptlib.files import read_jsonl
from gptlib.sampling import Sampling
from gptlib.shards import prepare
from gptlib.stories import END, START
from gptlib.stories.marks import TITLE, TITLE_END
from gptlib.tokenizers import BPETokenizer

FAIRY_TALES = "stories/fairytaleqa_stories.jsonl"
TINY_TRAIN = ("stories/tinystories_train.jsonl", "stories/tinystories_train_recased.jsonl")
TINY_VAL = "stories/tinystories_valid_v2.jsonl"
TINY_VAL_STORIES = 1000
EPOCHS = 8  # the published run made twelve, and was best after four

#: Steps of one pass over the fairy tales' 724,017 tokens, 8 windows of 512 at a time, rounded up.
EPOCH_STEPS = 178
FAIRY_TRAIN = (
    "--batch-size 8 --lr 1e-3 --warmup 50 --schedule constant --dropout 0.1 --compile --threads 1 "
    f"--dtype float32 --steps {EPOCHS * EPOCH_STEPS} --eval-every {EPOCH_STEPS} "
    f"--eval-windows 150 --save-every {EPOCH_STEPS}"
).split()
SMALL = "--n-layer 4 --n-head 4 --n-embd 160 --block-size 512".split()  # 2.0 million with 4,096 ids
#: A tenth of the fairy tales: every tenth one, whose 68,648 tokens are read once in 17 steps.
TENTH_STEPS = 17
TENTH_TRAIN = (
    "--batch-size 8 --lr 1e-3 --warmup 50 --schedule constant --dropout 0 --threads 1 "
    "--dtype float32 --steps 800 --eval-every 40 --eval-windows 60 --save-every 40"
).split()
TINY = (
    "--tokenizer bpe-4096 --n-layer 4 --n-head 4 --n-embd 160 --block-size 512 --batch-size 8 "
    "--steps 2700 --lr 3e-3 --min-lr 1e-4 --warmup 100 --beta2 0.99 --optimizer muon --dtype fast "
    "--compile --eval-every 300 --eval-windows 300 --save-every 100 --threads 1"
).split()

TITLES = ("The Snow Queen", "The Fox and the Bear", "The Poor Miller's Son")
SAMPLE = Sampling(max_new_tokens=400, temperature=0.8, top_k=50)


def by_epoch(log: Sequence[dict], epoch_steps: int) -> list[dict]:
    """The lines of a log as one line an epoch: its validation, and the mean loss of its steps."""
    vals = {line["step"]: line["val"] for line in log if "val" in line}
    losses = {line["step"]: line["loss"] for line in log if "loss" in line}
    found = []
    for step, val in sorted(vals.items()):
        read = [losses[n] for n in range(step - epoch_steps + 1, step + 1) if n in losses]
        train = statistics.fmean(read) if read else None
        found.append({"epoch": step / epoch_steps, "val": val, "train": train})
    return found


def longest_copy(texts: Sequence[str], documents: Sequence[str]) -> int:
    """Words in the longest run that one of the texts shares with one of the documents."""
    return max(run.length for run in longest_shared_runs(texts, documents))


def measure_run(run: Path, corpus: Corpus, beginnings: Sequence[str]) -> tuple[dict, list[dict]]:
    """Measure a run's best and its last weights on the validation part, and let both write.

    Returns:
        (numbers, samples): the numbers of each of `best` and `latest`, and what both have in
        common; a sample tells whose it is, how it began and what came.
    """
    result: dict = {}
    samples: list[dict] = []
    for which in ("best", "latest"):
        model, tokenizer, manifest = load_with_tokenizer(run, which)
        train, val = corpus.encode(tokenizer)
        measured = measure_split(model, val, tokenizer)
        texts = write_stories(model, tokenizer, beginnings, SAMPLE, seed=1)
        result[which] = {
            "step": manifest["step"], "val": measured.loss, "bits_per_byte": measured.bits_per_byte,
            "ended": sum(text.endswith(END) for text in texts), "written": len(texts),
            "longest_copy": longest_copy(texts, corpus.train_documents),
        }  # fmt: skip
        samples += [{"prompt": head, "which": which, "text": text}
                    for head, text in zip(beginnings, texts, strict=True)]  # fmt: skip
        result |= {
            "params": model.num_params(), "vocab_size": tokenizer.vocab_size,
            "tokens": manifest["step"] * manifest["train"]["batch_size"] * model.config.block_size,
            "train_tokens": len(train), "bytes_per_token": len(corpus.val.encode()) / len(val),
        }  # fmt: skip
    speed = read_jsonl(run / "speed.jsonl")
    result["seconds"] = seconds_and_pauses(speed)[0] if speed else None
    return result, samples


def _config(run: Path) -> dict:
    manifest = checkpoint.load_model(checkpoint.folder_of(run, _last(run)))[1]
    return {key: manifest[key] for key in ("model", "train", "note", "data")}


def _last(run: Path) -> int:
    return max(checkpoint.saved_steps(run))


def fairy_tales_of(scratch: Path, pretrained: Path, epoch_steps: int = EPOCH_STEPS) -> Record:
    """Put two finished runs on the fairy tales side by side.

    Args:
        scratch, pretrained: run folders, from fresh weights and from those of a pretrained model.
        epoch_steps: steps of one pass over the text.
    """
    corpus = load_corpus(cached(FAIRY_TALES))
    heads = [f"{START}{TITLE}{title}{TITLE_END}" for title in TITLES]
    result, config, samples = {}, {}, []
    for name, run in (("from scratch", scratch), ("pretrained", pretrained)):
        measured, written = measure_run(run, corpus, heads)
        curve = by_epoch(read_jsonl(run / "log.jsonl"), epoch_steps)
        best = min(curve, key=lambda point: point["val"])
        result[name] = measured | {"curve": curve, "best_epoch": best["epoch"]}
        config[name] = _config(run)
        samples += [{"run": name, **sample} for sample in written]
    result["stories"] = {"train": len(corpus.train_documents), "val": len(corpus.val_documents)}
    return make_record("story-fairy-tales", config, result, samples=samples)


def fairy_tenth(path: Path) -> Path:
    """Write every tenth of the fairy tales to train on, and all of those that validate."""
    lines = cached(FAIRY_TALES).read_text("utf-8").splitlines(keepends=True)
    train, val = ([line for line in lines if json.loads(line)["split"] == split]
                  for split in ("train", "val"))  # fmt: skip
    path.write_text("".join(train[::10] + val), "utf-8")
    return path


def fairy_tenth_of(run: Path, epoch_steps: int = TENTH_STEPS) -> Record:
    """Measure a finished run on a tenth of the fairy tales; see `fairy_tales_of`."""
    with tempfile.TemporaryDirectory() as home:
        corpus = load_corpus(fairy_tenth(Path(home) / "tenth.jsonl"))
    heads = [f"{START}{TITLE}{title}{TITLE_END}" for title in TITLES]
    result, samples = measure_run(run, corpus, heads)
    curve = by_epoch(read_jsonl(run / "log.jsonl"), epoch_steps)
    result |= {"curve": curve, "best_epoch": min(curve, key=lambda point: point["val"])["epoch"]}
    result["stories"] = {"train": len(corpus.train_documents), "val": len(corpus.val_documents)}
    config = _config(run)
    config["note"] |= {"corpus": "tenth.jsonl"}  # wherever it was written
    return make_record("story-fairy-tenth", config, result, samples=samples)


def tinystories_of(run: Path) -> Record:
    """Measure a finished run on TinyStories."""
    with tempfile.TemporaryDirectory() as home:
        corpus = load_corpus(tinystories(Path(home) / "tinystories.jsonl"))
    result, samples = measure_run(run, corpus, [START] * 50)
    result["curve"] = by_epoch(read_jsonl(run / "log.jsonl"), 1)
    result["stories"] = {"train": len(corpus.train_documents), "val": len(corpus.val_documents)}
    shown = [sample for sample in samples if sample["which"] == "best"][:6]
    return make_record("story-tinystories", _config(run), result, samples=shown)


def tinystories(path: Path) -> Path:
    """Write the TinyStories at hand as one file: all of the training parts, and the first thousand
    of the part that none of them holds."""

    def lines(name: str, split: str) -> Iterable[str]:
        with cached(name).open(encoding="utf-8") as file:
            for line in file:
                yield json.dumps({"text": json.loads(line)["text"], "split": split}) + "\n"

    with path.open("w", encoding="utf-8") as out:
        for name in TINY_TRAIN:
            out.writelines(lines(name, "train"))
        out.writelines(itertools.islice(lines(TINY_VAL, "val"), TINY_VAL_STORIES))
    return path


def _train(*flags: str | Path) -> None:
    command = [sys.executable, "-m", "gptlib", "train", *map(str, flags)]
    if subprocess.run(command, check=False).returncode:
        raise DataError("the run did not come to its end; what it said stands above")


def train_start(
    home: Path, vocab_size: int = 8192, steps: int = 1200, flags: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Train a small model that fairy tales or places begin with: without more arguments the one of
    places, forty minutes on one thread.

    Args:
        vocab_size, steps, flags: of its tokenizer, of its training, and what else is not as in the
            preset gpt2-5m.

    Returns:
        (run, tokenizer): both folders in `home`.
    """
    texts = cache_folder() / TEXTS
    everything = END_OF_TEXT.join(text for _, text in read_texts(texts))
    tokenizer = BPETokenizer.train(everything, vocab_size, [END_OF_TEXT])
    tokenizer.save(home / "tokenizer")
    prepare(texts, tokenizer, home / "shards", val_fraction=0.02)
    _train("--corpus", home / "shards", "--preset", "gpt2-5m", "--steps", str(steps),
           *flags, "--compile", "--threads", "1", "--out", home / "start")  # fmt: skip
    return home / "start", home / "tokenizer"


def story_fairy_tales() -> Record:
    """An hour and a half on one slow thread: a pretrained start, then eight passes from each."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        start, tokenizer = train_start(at, 4096, 600, [*SMALL, "--dtype", "float32"])
        tales = ["--corpus", cached(FAIRY_TALES), *FAIRY_TRAIN]
        _train(*tales, "--init-from", start, "--out", at / "pretrained")
        _train(*tales, "--tokenizer", tokenizer, *SMALL, "--out", at / "scratch")
        return fairy_tales_of(at / "scratch", at / "pretrained")


def story_fairy_tenth() -> Record:
    """Twenty minutes on one thread."""
    with tempfile.TemporaryDirectory() as home:
        texts, run = fairy_tenth(Path(home) / "tenth.jsonl"), Path(home) / "run"
        _train("--corpus", texts, "--tokenizer", "bpe-4096", *SMALL, *TENTH_TRAIN, "--out", run)
        return fairy_tenth_of(run)


def story_tinystories() -> Record:
    """Half an hour on one thread."""
    with tempfile.TemporaryDirectory() as home:
        texts, run = tinystories(Path(home) / "tinystories.jsonl"), Path(home) / "run"
        _train("--corpus", texts, *TINY, "--out", run)
        return tinystories_of(run)


MEASURED: dict[str, Callable[..., Record]] = {
    "fairy-tales": fairy_tales_of,
    "fairy-tenth": fairy_tenth_of,
    "tinystories": tinystories_of,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.collected")
    parser.add_argument("what", choices=list(MEASURED))
    parser.add_argument("runs", type=Path, nargs="+", help="finished: SCRATCH PRETRAINED, or RUN")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    a = parser.parse_args(arguments)
    record = MEASURED[a.what](*a.runs)
    save_record(record, a.out / record.name)
    print(record)


if __name__ == "__main__":
    answer(main)
