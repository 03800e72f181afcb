"""HellaSwag by gptlib and by lm-eval: the same answers, item by item, and the time that each takes.

    python bench/hellaswag.py --items FILE --run RUN [--official FILE] [--limit 500] [--threads 1]

Needs lm-eval (`pip install "lm_eval[hf]"`), in an environment of its own if need be. Same weights,
by way of `gptlib.hub.to_hf`, and the same tokenizer, inside a wrapper that lm-eval takes. A model
of random weights, spread out so that no two endings are nearly tied, answers FILE; RUN's answers
the official records where they are given, and FILE where not. Of a file, `--limit` items take part,
spread evenly over it, since its first third is of one kind. What is timed is the scoring of
`--timed` of these, texts in and log-probabilities out, in seconds of processor time of this
process; what lm-eval does before and after it (reading, tables) is left out. Of the official
records all are then scored in three forms, to see what the tags and the activity label change.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from timing import arguments, interleaved, report

from gptlib.evaluation import compare, hellaswag, read_items
from gptlib.evaluation.hellaswag import MEASURES, Item, Result, clean
from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig
from gptlib.runs import load_run
from gptlib.tokenizers import Tokenizer

CLOSE = 1e-3  # nats by which the two may differ on an ending


def wrap(tokenizer: Tokenizer) -> object:
    """A tokenizer of transformers' kind, which encodes as ours does."""
    from transformers import PreTrainedTokenizer

    class Wrapped(PreTrainedTokenizer):
        vocab_size = tokenizer.vocab_size

        def get_vocab(self) -> dict[str, int]:
            return {str(i): i for i in range(tokenizer.vocab_size)}

        def encode(self, text: str, **options: object) -> list[int]:
            return tokenizer.encode_ordinary(text)

        def decode(self, ids: object, **options: object) -> str:
            return tokenizer.decode([ids] if isinstance(ids, int) else ids)

    return Wrapped(eos_token="0", pad_token="0")


def lm_eval_model(model: GPT, tokenizer: Tokenizer, batch_size: int) -> object:
    """lm-eval's model with the weights of ours."""
    from lm_eval.models.huggingface import HFLM

    length = model.config.block_size
    return HFLM(
        pretrained=to_hf(model), tokenizer=wrap(tokenizer), batch_size=batch_size,
        max_length=length, device=str(model.device),
    )  # fmt: skip


def lm_eval_task(path: Path, form: str) -> dict:
    """lm-eval's own task `hellaswag` on a file of this machine, or its form for plain records."""
    from lm_eval.tasks.hellaswag.utils import process_docs

    fields = {
        "lm-eval": {
            "process_docs": process_docs,
            "doc_to_text": "{{query}}",
            "doc_to_choice": "choices",
        },
        "plain": {"doc_to_text": "{{ctx}}", "doc_to_choice": "endings"},
    }
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ]
    return {
        "task": "hellaswag_here", "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(path.resolve())}},
        "validation_split": "validation", "output_type": "multiple_choice",
        "doc_to_target": "{{label}}", "metric_list": metrics, **fields[form],
    }  # fmt: skip


def lm_eval_answers(lm: object, path: Path, form: str) -> list[dict]:
    """lm-eval's own run of its task: its samples, in the order of the file."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model=lm, tasks=[lm_eval_task(path, form)], bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )  # fmt: skip
    samples = found["samples"]["hellaswag_here"]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def agreement(ours: Result, theirs: list[dict]) -> dict:
    """On how many items the two agree, and how far apart their log-probabilities are."""
    if len(theirs) != ours.n:
        raise SystemExit(f"gptlib scored {ours.n} items and lm-eval {len(theirs)}")
    logprobs = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in theirs]
    apart = max(
        abs(p - q)
        for item, other in zip(ours.items, logprobs, strict=True)
        for p, q in zip(item.logprobs, other, strict=True)
    )
    same = {
        f"same_{name}": sum(
            a == bool(b[name]) for a, b in zip(ours.right(name), theirs, strict=True)
        )
        for name in ("acc", "acc_norm")
    }
    if apart > CLOSE or any(n != ours.n for n in same.values()):
        raise SystemExit(f"gptlib and lm-eval differ: {same} of {ours.n}, by {apart:.2g} nats")
    return {"items": ours.n, **same, "nats_apart": apart}


def requests(items: list[Item]) -> list:
    """What lm-eval's task asks its model: a context and an ending each."""
    from lm_eval.api.instance import Instance

    return [
        Instance("loglikelihood", {}, (item.context, f" {ending}"), i)
        for i, item in enumerate(items)
        for ending in item.endings
    ]


def spread(path: Path, limit: int, folder: Path) -> Path:
    """A file with `limit` records of another, evenly spaced, or all where there are no more."""
    lines = path.read_bytes().splitlines(keepends=True)
    n = min(limit, len(lines))
    place = folder / path.name
    place.write_bytes(b"".join(lines[i * len(lines) // n] for i in range(n)))
    return place


def race(
    name: str, model: GPT, tokenizer: Tokenizer, path: Path, args: argparse.Namespace
) -> list[dict]:
    """Check that both give the same answers, then time them; a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        place = spread(path, args.limit, Path(folder))
        items, lm = read_items(place), lm_eval_model(model, tokenizer, args.batch_size)
        ours = hellaswag(model, tokenizer, items)
        agreed = agreement(ours, lm_eval_answers(lm, place, items[0].form))
    timed = items[:: max(1, len(items) // args.timed)]
    asked = requests(timed)
    seconds = interleaved(
        {
            "gptlib": partial(hellaswag, model, tokenizer, timed),
            "lm-eval": lambda: lm.loglikelihood(asked, disable_tqdm=True),
        },
        args.repeats,
        clock=time.process_time,
    )
    figures = {key: value for key, value in ours.to_dict().items() if key.startswith("acc")}
    return [
        {
            "model": name,
            "parameters": model.num_params(),
            "contender": contender,
            "form": items[0].form,
            **agreed,
            **figures,
            "timed": len(timed),
            "items_per_s": len(timed) / s,
            "gptlib_is_faster_by": s / seconds["gptlib"],
        }
        for contender, s in seconds.items()
    ]


def tags(model: GPT, tokenizer: Tokenizer, path: Path) -> dict:
    """What WikiHow's tags change, and what the activity label and the capital do."""
    plain = read_items(path, form="plain")
    cleaned = [
        replace(item, context=clean(item.context), endings=tuple(map(clean, item.endings)))
        for item in plain
    ]
    tagged = [a != b for a, b in zip(plain, cleaned, strict=True)]
    forms = {"plain": plain, "without tags": cleaned, "lm-eval": read_items(path)}
    found = {name: hellaswag(model, tokenizer, items) for name, items in forms.items()}
    about: dict = {"items": len(plain), "with_tags": sum(tagged)}
    for name, result in found.items():
        about[name] = {}
        for measure in MEASURES:
            right = result.right(measure)
            pair = compare(right, found["plain"].right(measure))
            about[name][measure] = {
                "right": sum(right),
                "right_of_tagged": sum(x and has for x, has in zip(right, tagged, strict=True)),
                "gained": pair.only_a,
                "lost": pair.only_b,
                "p": pair.p_value,
            }
    return about


def random_model(tokenizer: Tokenizer) -> GPT:
    """Two layers of 64 channels whose answers are far from uniform."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(512, tokenizer.vocab_size, 2, 2, 64)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return model


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=Path, required=True, help="a file of items")
    parser.add_argument("--official", type=Path, help="a file of official records, with tags")
    parser.add_argument("--run", required=True, help="a run folder")
    parser.add_argument("--which", default="latest")
    parser.add_argument("--limit", type=int, default=500, help="items that must agree")
    parser.add_argument("--timed", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16, help="lm-eval's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.set_defaults(threads=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trained, tokenizer, manifest = load_run(args.run, args.which)
    rows = race("random", random_model(tokenizer), tokenizer, args.items, args)
    rows += race("trained", trained, tokenizer, args.official or args.items, args)
    also = {"trained_steps": manifest["step"], "batch_size": args.batch_size}
    if args.official:
        also["tags"] = tags(trained, tokenizer, args.official)
    also |= {"threads": args.threads, "lm_eval": version("lm_eval")}
    report("hellaswag", rows, args.out, **also)


if __name__ == "__main__":
    main()
