"""Do other programs read a run as gptlib does: transformers, onnxruntime, llama.cpp?

    python bench/export.py [--run FOLDER] [--llama FOLDER] [--threads 1]

Each gets the run exported, opens it with its own tokenizer, encodes tales and odd texts, and
continues three prompts greedily by 100 tokens. `ids` counts the texts that have the ids that
gptlib gives them, `tokens` the greedy tokens that are the same, and `logits` is the largest
difference of a logit after a prompt; llama.cpp shows only the likeliest tokens' probabilities,
whose logits are compared as they stand to the likeliest one's. llama.cpp takes part where FOLDER
has node-llama-cpp: in a folder outside the repository,

    NODE_LLAMA_CPP_SKIP_DOWNLOAD=true npm i --ignore-scripts node-llama-cpp@3
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import arguments, report

from gptlib import GPT, CharTokenizer, generate, load_corpus, load_run
from gptlib.errors import GptlibError
from gptlib.hub import export_run

NEW = 100
PROMPTS = ("The king", "Once upon a time", "The old woman said that ")
ODD = ("", "naïve café, 日本語 🪿", "a  b\n\n \t c", "it's 1,234; WE'LL", " " * 2000 + "x")


def transformers_reads(folder: Path, texts: list[str], prompts: list[str]) -> dict:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt_ids = [tokenizer(p, return_tensors="pt")["input_ids"] for p in prompts]
    written = [
        model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, min_new_tokens=0,
            do_sample=False, eos_token_id=None, pad_token_id=0,
        )[0, ids.size(1) :].tolist()
        for ids in prompt_ids
    ]  # fmt: skip
    with torch.no_grad():
        logits = [model(ids).logits[0, -1] for ids in prompt_ids]
    return {"version": transformers.__version__, "written": written, "logits": logits,
            "ids": [tokenizer(text)["input_ids"] for text in texts]}  # fmt: skip


def onnxruntime_reads(folder: Path, texts: list[str], prompts: list[str]) -> dict:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    context = json.loads((folder / "config.json").read_text())["context"]
    written, logits = [], []
    for prompt in prompts:
        ids = tokenizer.encode(prompt).ids
        begin = len(ids)
        for n in range(NEW):
            window = np.array([ids[-context:]], dtype=np.int64)
            out = session.run(["logits"], {"input_ids": window})[0][0, -1]
            logits += [torch.tensor(out)] if n == 0 else []
            ids.append(int(out.argmax()))
        written.append(ids[begin:])
    return {"version": onnxruntime.__version__, "written": written, "logits": logits,
            "ids": [tokenizer.encode(text).ids for text in texts]}  # fmt: skip


def llama_reads(llama: str) -> Callable[[Path, list[str], list[str]], dict]:
    def read(folder: Path, texts: list[str], prompts: list[str]) -> dict:
        asked = json.dumps({"texts": texts, "prompts": prompts, "tokens": NEW})
        command = ["node", str(Path(__file__).parent / "llama.mjs"), llama, folder / "model.gguf"]
        done = subprocess.run(command, input=asked.encode(), capture_output=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        return found | {"version": f"node-llama-cpp {found['version']}"}

    return read


def largest_difference(theirs: dict, ours: list[torch.Tensor]) -> float:
    """Of a logit; where only probabilities are known, of its distance to the largest logit."""
    if "logits" in theirs:
        return max((a - b).abs().max().item() for a, b in zip(theirs["logits"], ours, strict=True))
    worst = 0.0
    for pairs, logits in zip(theirs["probabilities"], ours, strict=True):
        (top, best), *others = pairs
        for token, p in others:
            distance = (logits[token] - logits[top]).item()
            worst = max(worst, abs(math.log(p / best) - distance))
    return worst


def compare(name: str, model: GPT, tokenizer, read: Callable, to: str, run: str) -> dict | None:
    """One program's row, or None where the format does not have such a run."""
    texts = list(load_corpus("tales", size=60_000).train_documents)
    if not isinstance(tokenizer, CharTokenizer):
        texts += ODD + tuple(tokenizer.special_tokens)
    with tempfile.TemporaryDirectory() as place:
        try:
            folder = export_run(run, to, Path(place) / to)
        except GptlibError as error:
            print(f"{run}: {error}")
            return None
        theirs = read(folder, texts, list(PROMPTS))
    prompts = [tokenizer.encode(p) for p in PROMPTS]
    written = [generate(model, ids, NEW, temperature=0)[0].tolist()[len(ids) :] for ids in prompts]
    with torch.no_grad():
        logits = [model(torch.tensor([ids]))[0][0, -1] for ids in prompts]
    same = sum(a == b for one, other in zip(written, theirs["written"], strict=True)
               for a, b in zip(one, other, strict=True))  # fmt: skip
    ids = sum(tokenizer.encode(t) == i for t, i in zip(texts, theirs["ids"], strict=True))
    return {
        "run": Path(run).name,
        "parameters": model.num_params(),
        "program": name,
        "version": theirs["version"],
        "ids": f"{ids} of {len(texts)}",
        "tokens": f"{same} of {NEW * len(prompts)}",
        "logits": largest_difference(theirs, logits),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--run", action="append", default=[], help="a run folder beside tales")
    parser.add_argument("--llama", metavar="FOLDER", help="where npm put node-llama-cpp")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    programs = {
        "transformers": ("hf", transformers_reads),
        "onnxruntime": ("onnx", onnxruntime_reads),
    }
    if args.llama:
        programs["llama.cpp"] = ("gguf", llama_reads(args.llama))
    rows = []
    for run in ["tales", *args.run]:
        model, tokenizer, _ = load_run(run)
        for name, (to, read) in programs.items():
            row = compare(name, model, tokenizer, read, to, run)
            rows += [row] if row else []
    report("export", rows, args.out)


if __name__ == "__main__":
    main()
