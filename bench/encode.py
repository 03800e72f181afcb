"""How fast text becomes ids: gptlib, tiktoken alone, tokenizers, and plain Python.

    GPTLIB_DATA=FOLDER python bench/encode.py

Encodes OpenStax text (`edu/openstax_sample.jsonl` in GPTLIB_DATA) with GPT-2's vocabulary on one
thread; plain Python gets the start of it. Writes data/runs/encode-speed/record.json.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # before tokenizers is imported

from timing import interleaved

from gptlib import BPETokenizer
from gptlib.course.records import make_record, save_record
from gptlib.course.tokens import own
from gptlib.course.tokens.texts import cached, openstax

PLAIN = 50_000  # characters for plain Python


def measure(gpt2: BPETokenizer, text: str, vocabulary: Path, merges: Path, repeats: int) -> dict:
    """Median speed of each way to encode `text`, after it was shown that all agree."""
    import tiktoken
    from tokenizers import ByteLevelBPETokenizer

    ranks = {piece: rank for rank, piece in enumerate(gpt2.pieces)}
    alone = tiktoken.Encoding(
        "alone", pat_str=gpt2.content()["pattern"], mergeable_ranks=ranks, special_tokens={}
    )
    learner = ByteLevelBPETokenizer(str(vocabulary), str(merges))
    start, pieces = text[:PLAIN], gpt2.pieces
    ways = {
        "gptlib": (text, lambda: gpt2.encode_array(text)),
        "tiktoken alone": (text, lambda: alone.encode_to_numpy(text, disallowed_special=())),
        "tokenizers": (text, lambda: learner.encode(text).ids),
        "plain Python": (start, lambda: own.encode(start, pieces)),
    }
    count = {name: len(run()) for name, (_, run) in ways.items()}
    assert len({count[name] for name in ("gptlib", "tiktoken alone", "tokenizers")}) == 1
    assert own.encode(start, pieces) == gpt2.encode_ordinary(start)
    seconds = interleaved({name: run for name, (_, run) in ways.items()}, repeats)
    return {
        name: {
            "tokens_per_s": round(count[name] / seconds[name]),
            "megabytes_per_s": round(len(given.encode()) / seconds[name] / 1e6, 4),
        }
        for name, (given, _) in ways.items()
    }


def main(repeats: int = 5) -> None:
    text = "\n\n".join(openstax())
    vocabulary, merges = cached("gpt2-bpe/encoder.json"), cached("gpt2-bpe/vocab.bpe")
    found = measure(BPETokenizer.gpt2(), text, vocabulary, merges, repeats)
    for name, row in found.items():
        print(f"{name:>15} {row['tokens_per_s']:>12,} tokens/s {row['megabytes_per_s']:>8.3f} MB/s")
    config = {"bytes": len(text.encode()), "vocabulary": "GPT-2", "threads": 1, "plain": PLAIN}
    command = "python bench/encode.py"
    record = make_record("encode-speed", config, {"ways": found}, command=command)
    save_record(record, Path(__file__).parent.parent / "data" / "runs" / "encode-speed")


if __name__ == "__main__":
    main()
