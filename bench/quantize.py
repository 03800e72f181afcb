"""What do fewer bits cost and save: bytes, loss, stories that hold together, tokens a second?

    python bench/quantize.py --run FOLDER [--samples 200] [--large] [--llama FOLDER] [--record]

Five forms of one model: float32, int8 by hand (`gptlib.quantization`), and GGUF files in float32,
q8_0 and q4_0. Of a file, the loss and the stories are of its very bytes, turned back into floats
and read by gptlib: exact up to rounding, and a little kinder than llama.cpp, which also rounds to
eight bits what flows into a quantized matrix. The loss is that of `gptlib eval`, windows side by
side; stories begin with `<|start|>` and are drawn at temperature 0.8, with the same seeds for all
forms. `--large` adds GPT-2's 124M, random, for its bytes and its speed alone.

Speed is greedy, at batch 1, prompt and new tokens as in `Speed`: by gptlib for the first two forms,
and for the files by llama.cpp, where FOLDER has node-llama-cpp (see `export.py`); contenders take
turns. `alike` counts llama.cpp's tokens before the first that gptlib does not write with the file's
weights, `gap` is by how much gptlib's likeliest token led there, and `endings` counts the prompts,
one for each genre, whose stories it ends with `<|end|>` where gptlib does.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import safetensors.torch
import torch
from timing import arguments, interleaved, report

from gptlib import GPT, BPETokenizer, GPTConfig, generate, load_corpus, load_run
from gptlib.batches import document_starts
from gptlib.course.records import make_record, save_record
from gptlib.evaluation import judge_story, measure_split, parse_rate, wilson
from gptlib.grammar import Grammar
from gptlib.hub import from_gguf
from gptlib.hub.gguf_file import MODEL, write_gguf
from gptlib.hub.subject import Subject
from gptlib.quantization import quantize_model
from gptlib.stories import END, START, TITLE, special_tokens
from gptlib.tokenizers import END_OF_TEXT

RECORD = "story-bits"
FILES = {"GGUF float32": None, "GGUF q8_0": "q8_0", "GGUF q4_0": "q4_0"}
CHARACTERS = 700_000  # of validation text, a thousand stories
PROMPT, NEW, ROUNDS = 64, 256, 5  # tokens, fewer new ones where the context is shorter
TEMPERATURE, AT_ONCE, SEED = 0.8, 50, 0
QUALITY = ("loss", "parse", "simulator", "ci95")


class Llama:
    """llama.cpp with a file, in a process of its own that sleeps until it is asked."""

    def __init__(self, folder: str, model: Path, threads: int) -> None:
        program = str(Path(__file__).parent / "llama_rate.mjs")
        self.process = subprocess.Popen(
            ["node", program, folder, str(model), str(threads)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def write(self, ids: list[int], tokens: int, stop: bool = False) -> list[int]:
        """The likeliest `tokens` after `ids`, or fewer where the model ends its text."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"ids": ids, "tokens": tokens, "stop": stop}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["written"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def large() -> Subject:
    """GPT-2's 124M with random weights, and as many tokens: pairs of bytes."""
    torch.manual_seed(0)
    single = [bytes([n]) for n in range(256)]
    pairs = [a + b for a, b in product(single, single)][: 50_256 - 256]
    tokenizer = BPETokenizer(single + pairs, [END_OF_TEXT])
    return Subject("124M", GPT(GPTConfig()).eval(), tokenizer, END_OF_TEXT, END_OF_TEXT, 0)


@functools.cache
def validation(size: int | None) -> str:
    """The first part of the validation text of a corpus of this size."""
    return load_corpus("stories", size=size).val[:CHARACTERS]


def quality(model: GPT, tokenizer: BPETokenizer, about: dict, samples: int) -> dict:
    """Loss on the run's validation text, and what became of its stories."""
    ids = torch.tensor(tokenizer.encode(validation(about.get("note", {}).get("corpus_size"))))
    starts = document_starts(ids, tokenizer.encode(START))
    texts = stories(model, tokenizer, samples)
    good = sum(judge_story(text).ok for text in texts)
    return {
        "loss": measure_split(model, ids, starts=starts).loss,
        "parse": parse_rate(Grammar.load("stories"), texts),
        "simulator": good / samples,
        "ci95": [round(end, 3) for end in wilson(good, samples)],
    }


def stories(model: GPT, tokenizer: BPETokenizer, samples: int) -> list[str]:
    """So many texts of the model, from `<|start|>` to `<|end|>` or to the end of the context."""
    prompt, stop = tokenizer.encode(START), tokenizer.special_tokens[END]
    texts = []
    for begin in range(0, samples, AT_ONCE):
        seeds = [SEED + n for n in range(begin, min(samples, begin + AT_ONCE))]
        rows = generate(
            model, torch.tensor([prompt] * len(seeds)), model.config.block_size - len(prompt),
            temperature=TEMPERATURE, stop=[stop], seed=seeds,
        )  # fmt: skip
        for row in rows.tolist():
            row = row[: row.index(stop) + 1] if stop in row else row
            texts.append(tokenizer.decode(row))
    return texts


def agreement(model: GPT, tokenizer: BPETokenizer, llama: Llama, ids: list[int], new: int) -> dict:
    """How far llama.cpp writes what gptlib writes, and where the two end a story."""
    ours = generate(model, ids, new, temperature=0)[0, len(ids) :].tolist()
    pairs = zip(ours, llama.write(ids, new), strict=True)
    alike = next((n for n, (a, b) in enumerate(pairs) if a != b), new)
    found: dict = {"alike": f"{alike} of {new}", "gap": None, "endings": None}
    if alike < new:
        first, second = model(torch.tensor([ids + ours[:alike]]))[0][0, -1].topk(2).values.tolist()
        found["gap"] = first - second
    if END in tokenizer.special_tokens:
        stop = tokenizer.special_tokens[END]
        genres = [t for t in special_tokens() if t not in (START, TITLE, END, "</|title|>")]
        same, ended = 0, 0
        for genre in genres:
            prompt = tokenizer.encode(START + genre + TITLE)
            room = model.config.block_size - len(prompt)
            row = generate(model, prompt, room, temperature=0, stop=[stop])[0, len(prompt) :]
            if stop in row:
                ended += 1
                same += llama.write(prompt, room, stop=True) == row.tolist()[:-1]
        found["endings"] = f"{same} of {ended}"
    return found


def compare(
    subject: Subject, about: dict | None, samples: int, llama: str | None, threads: int
) -> list[dict]:
    """The rows of one model; without `about`, the manifest of its run, bytes and speed alone."""
    model, tokenizer = subject.model, subject.tokenizer
    assert isinstance(tokenizer, BPETokenizer)
    new = min(NEW, model.config.block_size - PROMPT)
    train = torch.tensor(tokenizer.encode(load_corpus("stories", size=20_000).train))
    ids = train[:PROMPT].tolist()
    rows: dict[str, dict] = {}
    timed: dict[str, Callable[[], object]] = {}
    programs: list[Llama] = []

    def add(form: str, form_of: GPT, size: int, more: dict) -> None:
        found: dict = dict.fromkeys(QUALITY)
        if about is not None:
            found = quality(form_of, tokenizer, about, samples)
        row = {"model": subject.name, "form": form, "megabytes": size / 1e6}
        rows[form] = row | found | {"alike": None, "gap": None, "endings": None} | more

    with tempfile.TemporaryDirectory() as place:
        for form, ours in {"float32": model, "int8": quantize_model(model)}.items():
            path = Path(place) / f"{form}.safetensors"
            safetensors.torch.save_model(ours, str(path))
            add(form, ours, path.stat().st_size, {})
            timed[form] = lambda ours=ours: generate(ours, ids, new, temperature=0)
        try:
            for form, quant in FILES.items():
                folder = Path(place) / form
                folder.mkdir()
                write_gguf(subject, folder, quant)
                path, more = folder / MODEL, {}
                read, _ = from_gguf(path)
                if llama:
                    programs.append(Llama(llama, path, threads))
                    more = agreement(read, tokenizer, programs[-1], ids, new)
                    timed[form] = lambda program=programs[-1]: program.write(ids, new)
                add(form, read, path.stat().st_size, more)
            seconds = interleaved(timed, ROUNDS)
        finally:
            for program in programs:
                program.close()
    for form, row in rows.items():
        base = rows["float32"]["loss"]
        row["more_loss"] = None if base is None else row["loss"] - base
        row["tokens_per_s"] = new / seconds[form] if form in seconds else None
        row["faster_by"] = seconds["float32"] / seconds[form] if form in seconds else None
    return list(rows.values())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", default="stories", help="a run on stories (default: stories)")
    parser.add_argument("--samples", type=int, default=200, help="stories of each form")
    parser.add_argument("--large", action="store_true", help="also 124M random weights, for speed")
    parser.add_argument("--llama", metavar="FOLDER", help="where npm put node-llama-cpp")
    parser.add_argument("--record", action="store_true", help=f"write data/runs/{RECORD} as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    subject, about = Subject.of_run(args.run), load_run(args.run)[2]
    rows = compare(subject, about, args.samples, args.llama, args.threads)
    if args.large:
        rows += compare(large(), None, 0, args.llama, args.threads)
    report("quantize", rows, args.out)
    if args.record:
        config = {"samples": args.samples, "temperature": TEMPERATURE, "seed": SEED,
                  "prompt": PROMPT, "new": NEW, "rounds": ROUNDS}  # fmt: skip
        command = f"python bench/quantize.py --run {subject.name} --large --llama FOLDER --record"
        record = make_record(RECORD, config, {"rows": rows}, command=command)
        save_record(record, Path(__file__).parent.parent / "data" / "runs" / RECORD)


if __name__ == "__main__":
    main()
