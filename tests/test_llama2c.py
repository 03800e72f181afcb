"""A Llama from llama2.c's file: its logits, its tokens, and what is no such file."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from small_llama import SHAPE, write_model, write_tokenizer

from gptlib.errors import CheckpointError, TokenizerError
from gptlib.hub.llama2c import from_llama2c

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    vocab = write_tokenizer(folder / "tok.bin")
    weights = write_model(folder / "model.bin", vocab)
    return folder / "model.bin", folder / "tok.bin", weights


def reference(w: dict, ids: list[int], shape=SHAPE) -> np.ndarray:
    """The logits (T, V) as run.c computes them: one position after another, neighbors rotated."""
    dim, _, layers, heads, kv_heads, _ = shape
    size, group = dim // heads, heads // kv_heads
    w = {name: weight.astype(np.float64) for name, weight in w.items()}

    def norm(x, gain):
        return x / np.sqrt((x * x).mean() + 1e-5) * gain

    def rotated(x, at):
        x = x.reshape(-1, size // 2, 2)
        angle = at / 10000.0 ** (2 * np.arange(size // 2) / size)
        a, b, cos, sin = x[..., 0], x[..., 1], np.cos(angle), np.sin(angle)
        return np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(-1, size)

    keys, values, out = [[] for _ in range(layers)], [[] for _ in range(layers)], []
    for at, token in enumerate(ids):
        x = w["table"][token]
        for n in range(layers):
            h = norm(x, w["att_norm"][n])
            q = rotated(w["wq"][n] @ h, at)
            keys[n].append(rotated(w["wk"][n] @ h, at))
            values[n].append((w["wv"][n] @ h).reshape(kv_heads, size))
            heard = []
            for head in range(heads):
                score = np.array([k[head // group] @ q[head] for k in keys[n]]) / np.sqrt(size)
                share = np.exp(score - score.max())
                heard.append(share / share.sum() @ np.array(values[n])[:, head // group])
            x = x + w["wo"][n] @ np.concatenate(heard)
            h = norm(x, w["ffn_norm"][n])
            gate = w["w1"][n] @ h
            x = x + w["w2"][n] @ (gate / (1 + np.exp(-gate)) * (w["w3"][n] @ h))
        out.append(w.get("head", w["table"]) @ norm(x, w["norm"]))
    return np.array(out)


@pytest.mark.parametrize("own_head", [False, True])
def test_the_logits_are_those_of_run_c(tmp_path, own_head):
    weights = write_model(tmp_path / "m.bin", 300, own_head)
    model, tokenizer = from_llama2c(tmp_path / "m.bin")
    assert tokenizer is None and not model.training
    ids = np.random.default_rng(1).integers(300, size=20).tolist()
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0].double().numpy()
    np.testing.assert_allclose(ours, reference(weights, ids), atol=1e-3, rtol=1e-4)
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert tied is not own_head


def joined(text: str, pieces: list[tuple[str, float]]) -> list[int]:
    """The ids of a text as run.c finds them."""
    known = {piece: n for n, (piece, _) in enumerate(pieces)}
    ids = []
    for char in " " + text:
        ids += [known[char]] if char in known else [byte + 3 for byte in char.encode()]
    while True:
        best, place = -1e10, None
        for n in range(len(ids) - 1):
            pair = known.get(pieces[ids[n]][0] + pieces[ids[n + 1]][0])
            if pair is not None and pieces[pair][1] > best:
                best, place = pieces[pair][1], n
        if place is None:
            return ids
        ids[place : place + 2] = [known[pieces[ids[place]][0] + pieces[ids[place + 1]][0]]]


def pieces_of(path: Path) -> list[tuple[str, float]]:
    data, at, pieces = path.read_bytes(), 4, []
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append((data[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    return pieces


@pytest.mark.parametrize(
    "text", ["the cold hour", "a  cold\n\nlice", "Über 日本 cold", "thou hold the lantern", "r"]
)
def test_the_ids_are_those_of_run_c(files, text):
    _, tokenizer = from_llama2c(files[0], files[1])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == joined(text, pieces_of(files[1]))
    assert tokenizer.decode(ids) == text


def test_a_text_begins_and_ends_with_one_token(files):
    model, tokenizer = from_llama2c(files[0], files[1])
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 1 == model.config.eos_token_id
    assert tokenizer("<s>the cold")["input_ids"][0] == 1


def test_what_is_no_such_file_is_refused(files, tmp_path):
    model, tokens, _ = files
    data = model.read_bytes()
    odd, no_head = struct.pack("<7i", *[7] * 7), struct.pack("<7i", 64, 128, -2, 4, 2, 300, 96)
    wrong = [b"", data[:20], data[:-4], data + b"\0", odd, no_head + data[28:]]
    for n, bad in enumerate(wrong):
        (tmp_path / f"{n}.bin").write_bytes(bad)
        with pytest.raises(CheckpointError, match="no model of llama2.c"):
            from_llama2c(tmp_path / f"{n}.bin")
    with pytest.raises(CheckpointError, match="cannot read"):
        from_llama2c(tmp_path / "none.bin")
    (tmp_path / "t.bin").write_bytes(tokens.read_bytes()[:-1])
    with pytest.raises(TokenizerError, match="no tokenizer of llama2.c"):
        from_llama2c(model, tmp_path / "t.bin")
    write_model(tmp_path / "other.bin", 300)
    with pytest.raises(TokenizerError, match="and the model 300"):
        from_llama2c(tmp_path / "other.bin", tokens)


def test_a_model_that_was_trained_tells_the_story_it_is_known_for():
    """stories260K (Karpathy 2023, MIT): the beginning that its page prints for temperature 0."""
    place = Path(os.environ.get("GPTLIB_DATA") or "nowhere")
    found = next((p for p in (place, place / "models") if (p / "stories260K.bin").exists()), None)
    if found is None:
        pytest.skip("GPTLIB_DATA names no folder with stories260K.bin and tok512.bin")
    model, tokenizer = from_llama2c(found / "stories260K.bin", found / "tok512.bin")
    out = model.generate(torch.tensor([[1]]), max_new_tokens=60, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. One day, she saw a big, red ball."
    )
