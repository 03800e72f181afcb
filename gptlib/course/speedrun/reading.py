"""What the ablation's record says, as the chapter asks it.

One job: turn the record's variants into what a reader looks at: what each change saved, seed by
seed, how far the means may be off, and what can be said at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptlib.course.speedrun.ablation import OTHERS, PARTS

#: (change, nats saved by seed when added alone, nats saved by seed when added last).
Row = tuple[str, Sequence[float], Sequence[float]]
Variants = Mapping[str, Mapping[str, Any]]


def pooled(variants: Variants, key: str) -> float:
    """Scatter over seeds of what is under `key`, the variances of all single changes averaged."""
    found = [variants[f"plus-{part}"][key] for part in (*PARTS, *OTHERS)]
    return float(np.sqrt(np.mean([one["sd"] ** 2 for one in found if len(one["values"]) > 1])))


def savings(variants: Variants) -> list[Row]:
    """What each change saved, the best first: alone against `tuned`, last against `all`.

    `rmsnorm` and `compile` were not taken into `all`: their last is what they save on top of it.
    """
    rows = []
    for part in (*PARTS, *OTHERS):
        alone = [-gap for gap in variants[f"plus-{part}"]["val_minus_tuned"]["values"]]
        if part in PARTS:
            last = list(variants[f"without-{part}"]["val_minus_all"]["values"])
        else:
            last = [-gap for gap in variants[f"all-plus-{part}"]["val_minus_all"]["values"]]
        rows.append((part, alone, last))
    return sorted(rows, key=lambda row: -np.mean(row[1]))


def mean_errors(rows: Sequence[Row]) -> tuple[float, float]:
    """Standard error of a mean alone and of a mean last, each column's variances averaged."""

    def error(columns: Sequence[Sequence[float]]) -> float:
        several = [np.var(c, ddof=1) / len(c) for c in columns if len(c) > 1]
        return float(np.sqrt(np.mean(several)))

    return error([alone for _, alone, _ in rows]), error([last for *_, last in rows])


def verdicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Which changes save and which lose, and of how many two errors do not allow to say either."""
    found = []
    for column, (head, error) in enumerate(zip(("alone", "last"), mean_errors(rows), strict=True)):
        gains = {name: (alone, last)[column] for name, alone, last in rows}
        means = {name: np.mean(each) for name, each in gains.items() if len(each)}
        saves = [name for name, mean in means.items() if mean > 2 * error]
        loses = [name for name, mean in means.items() if mean < -2 * error]
        found.append(
            {
                "added": head,
                "saves": ", ".join(saves) or "–",
                "loses": ", ".join(loses) or "–",
                "nobody can say": len(means) - len(saves) - len(loses),
            }
        )
    return found
