"""Every document of a large sample is parsed: has each exactly the derivation that wrote it?

    python bench/derivations.py [--documents 10000]

A document's probability by its derivation and by the parser, which sees the text alone and sums
over all derivations, must agree to 1e-9. The tests do this for two thousand. Ends with an error at
the first document that disagrees; writes `bench/results/derivations.json`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from timing import report

from gptlib.grammar import Grammar


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    grammar, rng, worst = Grammar.load("tales"), random.Random(20261121), 0.0
    for _ in range(args.documents):
        document = grammar.sample(rng)
        off = abs(grammar.parse(document.text).logprob - document.logprob)
        worst = max(worst, off)
        if off > 1e-9:
            sys.exit(f"another derivation, {off:.1e} nats off: {document.text}")
    report("derivations", [{"documents": args.documents, "worst": worst}], args.out)


if __name__ == "__main__":
    main()
