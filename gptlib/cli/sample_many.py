"""`gptlib sample --prompts`: many prompts, read some at a time, and a record of each text.

One job: a file of prompts to a file of texts, which grows by whole lines. Text number i has the
seed `--seed` + i, and is what its prompt gives alone with that seed. So a run that was killed goes
on after its last whole line and writes what it would have written; that the lines there are its own
is seen from the prompts and seeds in them and from a hash of the model and the settings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
from pathlib import Path

import torch

from gptlib.cli.arguments import plain_text
from gptlib.cli.writer import Writer
from gptlib.errors import DataError
from gptlib.files import append_line, mend_jsonl, way_out
from gptlib.progress import progress
from gptlib.sampling import generate
from gptlib.sampling.settings import More


def run(args: argparse.Namespace, writer: Writer) -> int:
    prompts = read_prompts(args.prompts)
    ids = [writer.ids(prompt) for prompt in prompts]  # refused before anything is written
    made_by = _made_by(args, writer)
    done = [] if args.out is None else _done(args.out)
    first = done[0].get("seed") if done and args.seed is None else args.seed
    first = secrets.randbelow(2**32) if first is None else first
    for number, record in enumerate(done):
        place = number // args.samples
        own = place < len(prompts) and record.get("made_by") == made_by
        if not own or (record.get("prompt"), record.get("seed")) != (
            prompts[place],
            first + number,
        ):
            raise DataError(
                f"line {number + 1} of {args.out} is not what this command writes there (another "
                "model, prompt, seed or setting); give another --out, or remove that file"
            )
    # Batches are those of a run that was not killed, so that even roundings are the same.
    size = 8 if args.batch_size is None else args.batch_size
    begin = len(done) // args.samples // size * size
    total = len(prompts) * args.samples
    with progress("writing", total, "texts", done=len(done)) as bar:
        for place in range(begin, len(prompts), size):
            batch = ids[place : place + size]
            numbers = range(place * args.samples, (place + len(batch)) * args.samples)
            new = _write(writer, batch, args.samples, [first + number for number in numbers])
            for number, tokens in zip(numbers, new, strict=True):
                if number < len(done):
                    continue
                prompt = prompts[number // args.samples]
                record = writer.record(prompt, tokens, seed=first + number)
                if args.out is not None:
                    _append(args.out, record | {"made_by": made_by})
                if args.json:
                    print(json.dumps(record), flush=True)
            bar.at(numbers[-1] + 1)
    return 0


def _write(writer: Writer, ids: list[list[int]], samples: int, seeds: list[int]) -> list[list[int]]:
    """The new tokens of each text, up to those that end it; a prompt is read once."""
    stop = [*writer.stops, *([] if writer.end is None else [writer.end])]
    more: More = {**writer.more, "num_samples": samples, "tokenizer": writer.tokenizer}
    found = generate(
        writer.model, ids, writer.max_new_tokens, writer.temperature, stop=stop, seed=seeds, **more
    )
    rows = found[0] if isinstance(found, tuple) else found
    begun = [len(prompt) for prompt in ids for _ in range(samples)]
    new = [row[n:] for row, n in zip(rows.tolist(), begun, strict=True)]
    return [writer.until_end(tokens[: writer.max_new_tokens]) for tokens in new]


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: its lines, or what JSON in them says, where its name ends in .jsonl.

    Raises:
        DataError: it cannot be read, has no line, or one that is no prompt.
    """
    try:
        text = plain_text(path.read_bytes().decode("utf-8-sig")).removesuffix("\n")
    except OSError as error:
        raise DataError(
            f"the prompts in {path} cannot be read ({error.strerror}); give a file"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start:,}; save it as UTF-8"
        ) from error
    lines = text.split("\n") if text else []
    if path.suffix == ".jsonl":
        lines = [_prompt(line, f"line {number} of {path}") for number, line in enumerate(lines, 1)]
    if not lines:
        raise DataError(f"{path} has no prompts; give a file with one in each line")
    return lines


def _prompt(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    prompt = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(prompt, str):
        raise DataError(f'{where} is no prompt; give a JSON string, or an object with "prompt"')
    return prompt


def _done(out: Path) -> list[dict]:
    """The records that an earlier call left."""
    try:
        return mend_jsonl(out)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _append(out: Path, record: dict) -> None:
    try:
        append_line(out, record)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {out} ({error.strerror}); {way_out(error)}")


def _made_by(args: argparse.Namespace, writer: Writer) -> str:
    """A hash of all that decides a text beside its prompt and its seed."""
    digest = hashlib.sha256()
    settings = [writer.begin, writer.stops, writer.max_new_tokens, writer.temperature]
    about = [*settings, dict(writer.more), args.samples, writer.tokenizer.sha256]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for name, weights in writer.model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
