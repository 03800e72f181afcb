"""Chapter 0's network: its slopes against pushing and torch; MNIST's files, read and refused.

The download comes from a server on the loopback address; no test leaves the machine.
"""

import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch

from gptlib.course.digits import networks as digits
from gptlib.course.digits import runs as digits_runs
from gptlib.errors import DataError

SIZES = [(6, 4), (6, 5, 4), (6, 5, 3, 4)]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return rng.random((7, 6)), rng.integers(4, size=7)


def loss(x, y, weights):
    return digits.cross_entropy(digits.forward(x, weights)[-1], y)


@pytest.mark.parametrize("sizes", SIZES)
def test_slopes_are_those_that_pushing_finds(sizes, pictures):
    x, y = pictures
    weights = digits.initial_weights(sizes, seed=1)
    for w, slope in zip(weights, digits.gradients(x, y, weights), strict=True):
        assert slope.shape == w.shape
        for place in np.ndindex(w.shape):
            before, ends = w[place], []
            for push in (1e-5, -1e-5):
                w[place] = before + push
                ends.append(loss(x, y, weights))
            w[place] = before
            assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("sizes", SIZES)
def test_slopes_are_those_of_autograd(sizes, pictures):
    x, y = pictures
    weights = digits.initial_weights(sizes, seed=2)
    theirs = [torch.tensor(w, requires_grad=True) for w in weights]
    z = torch.tensor(x)
    for n in range(0, len(theirs), 2):
        z = (torch.tanh(z) if n else z) @ theirs[n] + theirs[n + 1]
    torch.nn.functional.cross_entropy(z, torch.tensor(y)).backward()
    for w, slope in zip(theirs, digits.gradients(x, y, weights), strict=True):
        assert np.allclose(w.grad.numpy(), slope, atol=1e-14)


def test_training_lowers_the_loss_and_leaves_its_start_alone(pictures):
    x, y = pictures
    start = digits.initial_weights((6, 5, 4), seed=0)
    copies = [w.copy() for w in start]
    trained = digits.train(x, y, start, lr=0.5, steps=200, batch=4, seed=3)
    assert loss(x, y, trained) < loss(x, y, start) / 2
    assert all(np.array_equal(a, b) for a, b in zip(start, copies, strict=True))
    again = digits.train(x, y, start, lr=0.5, steps=200, batch=4, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(trained, again, strict=True))


def test_float32_stays_float32(pictures):
    x, y = pictures
    weights = [w.astype(np.float32) for w in digits.initial_weights((6, 5, 4), seed=0)]
    for slope in digits.gradients(x.astype(np.float32), y, weights):
        assert slope.dtype == np.float32


@pytest.mark.parametrize("seed", [None, 4])
def test_folds_test_each_picture_once(seed):
    parts = list(digits.folds(23, parts=5, seed=seed))
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(23))
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(23))
    in_order = [list(test) for _, test in parts] == [
        list(part) for part in np.array_split(range(23), 5)
    ]
    assert in_order == (seed is None)


def test_reliability_by_hand():
    p = np.array([[0.6, 0.4], [0.45, 0.55], [0.98, 0.02], [1.0, 0.0]])
    low, high, highest = digits_runs.reliability(p, np.array([0, 0, 0, 1]))
    assert low == {"count": 2, "confidence": pytest.approx(0.575), "accuracy": 0.5}
    assert high == {"count": 1, "confidence": pytest.approx(0.98), "accuracy": 1.0}
    assert highest == {"count": 1, "confidence": 1.0, "accuracy": 0.0}


def test_calibration_error_by_hand():
    """Two modest answers, one too sure, and a group that is empty; the gaps do not cancel."""
    sure, right = np.array([0.6, 0.6, 0.96, 0.96]), np.array([True, True, True, False])
    assert digits.calibration_error(sure, right, [0.7, 0.9]) == pytest.approx((0.4 + 0.46) / 2)


def test_neighbors_by_hand():
    """Two writers, a hundred pictures each of one digit, and each like the writer's others."""
    x = np.concatenate([np.linspace(0, 0.1, 100), np.linspace(5, 5.1, 100)])[:, None]
    found, chance = digits_runs.neighbors(x, np.zeros(200, dtype=int), places=99)
    assert found == 1 and 0.7 < chance < 0.8


# MNIST


def idx(array, kind=None) -> bytes:
    """A gzipped idx file of bytes, written as MNIST's page describes it."""
    kind = kind or {3: 2051, 1: 2049}[array.ndim]
    numbers = [kind, *array.shape]
    return gzip.compress(b"".join(n.to_bytes(4, "big") for n in numbers) + array.tobytes())


IMAGES = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], dtype=np.uint8)


def test_idx_files_are_read(tmp_path):
    for array in (IMAGES, LABELS):
        (tmp_path / "file.gz").write_bytes(idx(array))
        assert np.array_equal(digits.read_idx(tmp_path / "file.gz"), array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"not gzip at all", "not a gzipped file"),
        (idx(IMAGES)[:-9], "not a gzipped file"),
        (idx(LABELS, kind=2050), "begins with 2050; an idx file of bytes begins with 2051"),
        (gzip.compress(b""), "begins with 0"),
        (gzip.compress(gzip.decompress(idx(LABELS))[:-1]), "promises 3 bytes and holds 2"),
        (gzip.compress(gzip.decompress(idx(IMAGES))[:9]), "promises"),
    ],
    ids=["no gzip", "cut gzip", "no idx", "empty", "a byte short", "no pictures"],
)
def test_damaged_idx_files_are_refused(tmp_path, raw, message):
    (tmp_path / "file.gz").write_bytes(raw)
    with pytest.raises(DataError, match=message):
        digits.read_idx(tmp_path / "file.gz")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry whose MNIST has three pictures, served on the loopback address."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "GPTLIB_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path / "cache"))
    files = {"/images.gz": idx(IMAGES), "/labels.gz": idx(LABELS), "/few.gz": idx(LABELS[:2])}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[self.path])))
            self.end_headers()
            self.wfile.write(files[self.path])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        entries = []
        for part, labels in (("train", "labels"), ("test", "few")):
            for what, file in (("images", "images"), ("labels", labels)):
                body = files[f"/{file}.gz"]
                entries.append(
                    f'[mnist-{part}-{what}]\nkind = "dataset"\nabout = "x"\nlicence = "x"\n'
                    f'file = "mnist/{part}-{what}.gz"\nbytes = {len(body)}\n'
                    f'sha256 = "{hashlib.sha256(body).hexdigest()}"\n'
                    f'url = "http://127.0.0.1:{server.server_port}/{file}.gz"\n'
                )
        table = tmp_path / "registry.toml"
        table.write_text("\n".join(entries))
        yield table
        server.shutdown()
        thread.join()


def test_mnist_is_downloaded_and_read(registry):
    x, y = digits.load_mnist("train", registry)
    assert x.shape == (3, 784) and x.dtype == np.float32 and y.tolist() == [7, 0, 9]
    assert x.min() == 0 and x.max() == 1
    assert np.allclose(x[0] * 255, IMAGES[0].ravel())


def test_mnist_that_does_not_fit_together_is_refused(registry):
    with pytest.raises(DataError, match="3 pictures, 2 labels"):
        digits.load_mnist("test", registry)
    with pytest.raises(DataError, match="no part 'validation'; it has 'train' and 'test'"):
        digits.load_mnist("validation", registry)
