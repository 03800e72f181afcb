"""How long are real stories? The record `story-texts`.

One job: to count, in GPT-2's tokens, what a window of 512 or of 1,024 sees of them.
"""

from __future__ import annotations

import json

from gptlib.course.records import Record, make_record
from gptlib.course.tokens.texts import cached
from gptlib.tokenizers import BPETokenizer

TEXTS = {
    "fairy tales (FairytaleQA)": "stories/fairytaleqa_stories.jsonl",
    "TinyStories": "stories/tinystories_valid_v2.jsonl",
}
WINDOWS = (512, 1024)


def story_texts() -> Record:
    """Count stories, tokens, and how many have their end beyond a window of each length."""
    tokenizer = BPETokenizer.gpt2()
    rows = []
    for name, file in TEXTS.items():
        with cached(file).open(encoding="utf-8") as lines:
            lengths = [len(tokenizer.encode_array(json.loads(line)["text"])) for line in lines]
        row = {"name": name, "stories": len(lengths), "tokens": sum(lengths)}
        row |= {"median": sorted(lengths)[len(lengths) // 2]}
        rows.append(row | {f"beyond_{T}": sum(n > T for n in lengths) for T in WINDOWS})
    return make_record("story-texts", {"files": TEXTS, "windows": list(WINDOWS)}, {"texts": rows})
