"""A network on pictures of digits, its gradients written by hand, and the files of MNIST.

One job: in one place what chapter 0 builds step by step, so that its recorded runs use the same
lines. A network is a list of numpy arrays, a matrix and a row of biases for each layer: two arrays
are softmax regression, four a network with one hidden layer of tanh units. B pictures of C pixels
are an array (B, C); there are V = 10 digits.
"""

from __future__ import annotations

import gzip
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptlib.corpora.downloads import fetch
from gptlib.errors import DataError

Array = NDArray[np.floating]
Labels = NDArray[np.integer]
Positions = NDArray[np.integer]
_KINDS = {2051: 3, 2049: 1}  # an idx file's first number, and how many axes it then has


def softmax(z: Array) -> Array:
    """Turn rows of scores (B, V) into rows of probabilities; the largest score goes to exp(0)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(p: Array, y: Labels) -> float:
    """Return the mean of −ln p at the right digit, in nats: p (B, V), y (B,)."""
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def initial_weights(sizes: Sequence[int], seed: int) -> list[Array]:
    """Return random weights of spread 1/√inputs and zero biases for layers of these sizes.

    `(64, 10)` is softmax regression on 64 pixels, `(64, 32, 10)` has 32 hidden units.
    """
    rng = np.random.default_rng(seed)
    weights = []
    for inputs, outputs in itertools.pairwise(sizes):
        weights += [rng.standard_normal((inputs, outputs)) / math.sqrt(inputs), np.zeros(outputs)]
    return weights


def forward(x: Array, weights: Sequence[Array]) -> list[Array]:
    """Return what each layer hands on: x (B, C), the hidden layers (B, U), probabilities (B, V)."""
    layers = [x]
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        layers.append(np.tanh(layers[-1] @ w + b))
    return [*layers, softmax(layers[-1] @ weights[-2] + weights[-1])]


def gradients(x: Array, y: Labels, weights: Sequence[Array]) -> list[Array]:
    """Return the slope of the mean cross-entropy for each array of `weights`, in its shape.

    Backpropagation (Rumelhart, Hinton and Williams 1986): from p − y at the end, back through each
    matrix and each tanh.
    """
    *layers, p = forward(x, weights)
    slope = (p - np.eye(p.shape[1], dtype=p.dtype)[y]) / len(y)  # of the loss, for the scores
    found: list[Array] = []
    for n in reversed(range(len(layers))):
        found = [layers[n].T @ slope, slope.sum(axis=0), *found]
        slope = slope @ weights[2 * n].T * (1 - layers[n] ** 2)
    return found


def train(
    x: Array, y: Labels, weights: Sequence[Array], lr: float, steps: int, batch: int, seed: int = 0
) -> list[Array]:
    """Return the weights after `steps` steps, each on `batch` pictures drawn at random."""
    rng = np.random.default_rng(seed)
    weights = [w.copy() for w in weights]
    for _ in range(steps):
        drawn = rng.integers(len(y), size=batch)
        for w, slope in zip(weights, gradients(x[drawn], y[drawn], weights), strict=True):
            w -= lr * slope
    return weights


def folds(
    count: int, parts: int = 5, seed: int | None = None
) -> Iterator[tuple[Positions, Positions]]:
    """Yield (train, test) positions: each of `parts` parts of `count` pictures is tested once.

    Shuffled by `seed`, or cut from the file as it stands where there is none.
    """
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    for test in np.array_split(order, parts):
        yield np.setdiff1d(order, test), test


def calibration_error(sure: Array, right: NDArray[np.bool_], edges: Sequence[float]) -> float:
    """Return the mean distance between confidence and accuracy (Guo et al. 2017, eq. 3).

    Args:
        sure: (B,), from 0 to 1. right: (B,). edges: the inner borders of the groups, ascending;
            each group's distance weighs as much as its share of the answers.
    """
    group = np.digitize(sure, edges)
    total = 0.0
    for n in np.unique(group):
        members = group == n
        total += members.mean() * abs(right[members].mean() - sure[members].mean())
    return float(total)


def load_mnist(part: str, registry: str | Path | None = None) -> tuple[Array, Labels]:
    """Return MNIST's pictures (N, 784), 0 paper to 1 ink, and labels (N,), downloading them once.

    Args:
        part: "train", 60,000 pictures, or "test", 10,000.
        registry: as for `gptlib.corpora.downloads.fetch`, which says what can go wrong on the way.

    Raises:
        DataError: there is no such part, or the files cannot be had or read.
    """
    if part not in ("train", "test"):
        raise DataError(f"MNIST has no part {part!r}; it has 'train' and 'test'")
    images = read_idx(fetch(f"mnist-{part}-images", registry))
    labels = read_idx(fetch(f"mnist-{part}-labels", registry))
    if len(images) != len(labels):
        raise DataError(f"MNIST's {part} part has {len(images)} pictures, {len(labels)} labels")
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped idx file of bytes: pictures (N, rows, columns) or labels (N,).

    The file begins with a number that says which of the two it is and with the length of each axis,
    four bytes each, the highest first.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} is not a gzipped file ({error}); fetch it again") from error
    kind = int.from_bytes(raw[:4], "big")
    axes = _KINDS.get(kind)
    if axes is None:
        raise DataError(
            f"{path.name} begins with {kind}; an idx file of bytes begins with 2051 (pictures) or "
            "2049 (labels)"
        )
    shape = [int.from_bytes(raw[4 * n : 4 * n + 4], "big") for n in range(1, axes + 1)]
    start = 4 * (axes + 1)
    if len(raw) != start + math.prod(shape):
        raise DataError(
            f"{path.name} promises {math.prod(shape):,} bytes and holds {len(raw) - start:,}; "
            "fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
