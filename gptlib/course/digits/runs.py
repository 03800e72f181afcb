"""The recorded runs of chapter 0: digits by hands met and unmet, and a part of MNIST.

One job: two recipes, each of which returns a `Record`. The networks are chapter 0's own
(`gptlib.course.digits.networks`). `gptlib.course.recipes` runs them by name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from gptlib.course.digits.networks import (
    Array,
    Labels,
    cross_entropy,
    folds,
    forward,
    initial_weights,
    load_mnist,
    train,
)
from gptlib.course.records import Record, make_record, spread

EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
MODELS = {"softmax": (), "network": (32,)}  # sizes of the hidden layers


def reliability(p: Array, y: Labels) -> list[dict]:
    """Group predictions (B, V) by the largest probability; say how sure and how right each is.

    Returns:
        For each of the intervals between `EDGES` that is not empty: `count`, `confidence` (mean
        of the largest probability) and `accuracy` (share of right answers).
    """
    sure, right = p.max(axis=1), p.argmax(axis=1) == y
    group = np.digitize(sure, EDGES[1:-1])
    return [
        {
            "count": int((group == n).sum()),
            "confidence": float(sure[group == n].mean()),
            "accuracy": float(right[group == n].mean()),
        }
        for n in range(len(EDGES) - 1)
        if (group == n).any()
    ]


def digits(seeds: int = 5, steps: int = 3000) -> Record:
    """Each of scikit-learn's digits judged by networks that did not see it, in two orders.

    "shuffled" deals the pictures to five parts at random; "in_file_order" cuts the file into five,
    so that most of a writer's digits lie in one part.
    """
    from sklearn.datasets import load_digits

    start = time.perf_counter()
    images, y = map(np.asarray, load_digits(return_X_y=True))
    x = images / 16
    result: dict = {}
    for order in ("shuffled", "in_file_order"):
        found: dict = {}
        for name, hidden in MODELS.items():
            runs = []
            for seed in range(seeds):
                p = np.zeros((len(y), 10))
                for seen, held in folds(len(y), seed=seed if order == "shuffled" else None):
                    weights = initial_weights((64, *hidden, 10), seed)
                    weights = train(x[seen], y[seen], weights, 0.3, steps, 32, seed)
                    p[held] = forward(x[held], weights)[-1]
                runs.append(p)
            found[name] = _measures(runs, y)
            if name == "network":
                found["reliability"] = reliability(np.vstack(runs), np.tile(y, seeds))
        result[order] = found
    result["nearest_within_100_places"], result["expected_within_100_places"] = neighbors(x, y)
    result["seconds"] = time.perf_counter() - start
    config = {"folds": 5, "seeds": seeds, "steps": steps, "batch": 32, "lr": 0.3, "hidden": 32}
    return _record("digits", config, result)


def neighbors(x: Array, y: Labels, places: int = 100) -> tuple[float, float]:
    """How often the most similar picture of the same digit lies near by in the file.

    Returns:
        The share of pictures whose nearest other picture of their digit is at most `places` away,
        and the share that chance would give.
    """
    near, chance = [], []
    for n in range(len(y)):
        others = np.flatnonzero((y == y[n]) & (np.arange(len(y)) != n))
        most_similar = others[((x[others] - x[n]) ** 2).sum(axis=1).argmin()]
        near.append(abs(most_similar - n) <= places)
        chance.append((abs(others - n) <= places).mean())
    return float(np.mean(near)), float(np.mean(chance))


def digits_mnist(seeds: int = 3, steps: int = 3000) -> Record:
    """MNIST's 10,000 test pictures, shuffled: up to 8,000 to train on, the other 2,000 to test.

    The 60,000 training pictures take no part. Each seed deals the pictures anew.
    """
    start = time.perf_counter()
    x, y = load_mnist("test")
    sizes = (500, 1000, 2000, 4000, 8000)
    result: dict = {"softmax": {}, "network": {}}
    halves = {"first_half": [], "second_half": []}
    for name, hidden in (("softmax", ()), ("network", (128,))):
        for size in sizes:
            runs = []
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(y))
                seen, held = order[:size], order[8000:]
                weights = initial_weights((784, *hidden, 10), seed)
                weights = [w.astype(np.float32) for w in weights]
                weights = train(x[seen], y[seen], weights, 0.1, steps, 32, seed)
                p = forward(x[held], weights)[-1]
                runs.append((p, y[held]))
                if name == "network" and size == sizes[-1]:
                    wrong = p.argmax(axis=1) != y[held]
                    halves["first_half"].append(float(wrong[held < 5000].mean()))
                    halves["second_half"].append(float(wrong[held >= 5000].mean()))
            measured = [_measures([p], labels) for p, labels in runs]
            result[name][str(size)] = {
                key: spread([m[key]["mean"] for m in measured]) for key in measured[0]
            }
    result["network_errors_by_half_of_the_file"] = {k: spread(v) for k, v in halves.items()}
    result["seconds"] = time.perf_counter() - start
    config = {
        "data": "MNIST's 10,000 test pictures, shuffled: 8,000 train, 2,000 test",
        "sizes": list(sizes),
        "seeds": seeds,
        "steps": steps,
        "batch": 32,
        "lr": 0.1,
        "hidden": 128,
    }
    return _record("digits-mnist", config, result)


def _measures(runs: Sequence[Array], y: Labels) -> dict[str, dict]:
    """Share of errors, mean confidence and loss of several runs' predictions (B, V)."""
    return {
        "errors": spread([float((p.argmax(axis=1) != y).mean()) for p in runs]),
        "confidence": spread([float(p.max(axis=1).mean()) for p in runs]),
        "loss": spread([cross_entropy(p, y) for p in runs]),
    }


def _record(name: str, config: dict, result: dict) -> Record:
    record = make_record(name, config, result)
    record.hardware["note"] = "shared with another run"
    return record
