"""Token shards against tiktoken alone: the same documents, the same threads, in turns.

    python bench/prepare.py FILE.jsonl [--threads 2] [--copies 4]

tiktoken's side is `encode_ordinary_batch` over documents that are in memory already; `prepare` also
reads and parses the file, hashes it, splits it, and writes shards that survive a power cut. The
median of the ratios, pair by pair, is what counts on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from timing import report

from gptlib.shards import prepare
from gptlib.tokenizers import BPETokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    tokenizer = BPETokenizer.gpt2()
    encoding = tokenizer._encoding
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "documents.jsonl"
        source.write_bytes(args.file.read_bytes() * args.copies)
        documents = [json.loads(line)["text"] for line in source.open("rb")]
        rates: dict[str, list[float]] = {"tiktoken": [], "prepare": []}
        cpu: dict[str, list[float]] = {"tiktoken": [], "prepare": []}
        for repeat in range(args.repeats):
            for name in rates:
                began, worked = time.perf_counter(), time.process_time()
                if name == "tiktoken":
                    lists = encoding.encode_ordinary_batch(documents, num_threads=args.threads)
                    tokens = sum(map(len, lists))
                    del lists
                else:
                    out = Path(folder) / f"shards{repeat}"
                    manifest = prepare(source, tokenizer, out, workers=args.threads)
                    tokens = sum(s["tokens"] - s["documents"] for s in manifest["shards"])
                rates[name].append(tokens / (time.perf_counter() - began))
                cpu[name].append(tokens / (time.process_time() - worked))
    ratios = [ours / bare for bare, ours in zip(*rates.values(), strict=True)]
    rows = [
        {
            "contender": name,
            "threads": args.threads,
            "tokens_per_s": statistics.median(rates[name]),
            "tokens_per_cpu_s": statistics.median(cpu[name]),
            "of_tiktoken": statistics.median(ratios) if name == "prepare" else 1.0,
        }
        for name in rates
    ]
    report("prepare", rows, args.out)


if __name__ == "__main__":
    main()
