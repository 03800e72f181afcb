"""The tokenizers: nothing is lost, special tokens are one id, other libraries agree."""

import base64
import hashlib
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import TokenizerError
from gptlib.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer
from gptlib.tokenizers import bpe as tokenizers
from gptlib.tokenizers.bpe import GPT2_PATTERN, byte_characters

TEXT = (
    "The fox sat. The hen sat. The fox ran.\n\nDer Fuchs saß, die Henne lief: straße, größe! "
    "It's 1,234 geese; they've honked 99 times 🪿🪿 — naïve café, 日本語, \t tabs.  Two spaces.\n"
) * 20
SPECIAL = ("<|start|>", "<|end|>")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # all of Unicode but half characters
WORDLIKE = st.lists(
    st.sampled_from(
        ["the", " the", " fox", "The", "  ", "\n", "ß", "🪿", "'s", "12", "<|end|>", "e"]
    )
).map("".join)


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train(TEXT, 340, SPECIAL)


@pytest.fixture(scope="module")
def gpt2() -> BPETokenizer:
    _gpt2_file("vocab.bpe")
    return BPETokenizer.gpt2()


def _gpt2_file(name: str) -> Path:
    """GPT-2's own file, if the machine has it; the tests never download it."""
    for place in ("gpt2-bpe/" + name, name):
        path = Path(os.environ.get("GPTLIB_DATA", "no-such-folder")) / place
        if path.is_file():
            return path
    pytest.skip(f"GPTLIB_DATA holds no {name}")


# Characters


def test_char_ids_follow_code_points():
    tokenizer = CharTokenizer.train("hello")
    assert tokenizer.characters == "ehlo"
    assert tokenizer.encode("hole") == [1, 3, 2, 0]
    assert tokenizer.decode([1, 3, 2, 0]) == "hole"
    assert tokenizer.vocab_size == 4


@given(ANY_TEXT.filter(bool))
def test_char_roundtrip(text):
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text) and set(ids) == set(range(tokenizer.vocab_size))
    assert all(type(i) is int for i in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_ordinary(text) == ids


@given(ANY_TEXT.filter(bool))
def test_each_id_says_how_many_bytes_it_stands_for(bpe, text):
    for tokenizer in (CharTokenizer.train(text), bpe):
        lengths = tokenizer.byte_lengths
        assert len(lengths) == tokenizer.vocab_size
        assert sum(lengths[i] for i in tokenizer.encode_ordinary(text)) == len(text.encode())
    assert [bpe.byte_lengths[i] for i in bpe.special_tokens.values()] == [0, 0]


@pytest.mark.parametrize("stranger", ["ß", "🪿", "\x00", "A", "z"])
def test_char_unknown_character_is_shown_with_its_place(stranger):
    tokenizer = CharTokenizer.train("abc ")
    with pytest.raises(TokenizerError) as error:
        tokenizer.encode("abc abc cab " + stranger + "ab" + stranger)
    message = str(error.value)
    assert f"{stranger!r} at position 12" in message and "4 characters" in message
    assert "BPETokenizer" in message


def test_char_encodes_a_megabyte_without_a_loop():
    text = "".join(random.Random(0).choices(TEXT, k=1_000_000))
    tokenizer = CharTokenizer.train(text)
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        ids = tokenizer.encode(text)
    finally:
        sys.setprofile(None)
    assert len(calls) < 1000, "a call for every character takes seconds for a book"
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("characters", ["", "aba"])
def test_char_needs_each_character_once(characters):
    with pytest.raises(TokenizerError, match="each of its characters once"):
        CharTokenizer(characters)


# Byte pairs


@given(st.one_of(ANY_TEXT, WORDLIKE))
@settings(deadline=None)
def test_bpe_roundtrip(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.decode(bpe.encode_ordinary(text)) == text
    assert all(i < bpe.vocab_size - len(SPECIAL) for i in bpe.encode_ordinary(text))


def _huggingface(bpe: BPETokenizer):
    """The same tokenizer, built for HF `tokenizers` from the pieces: a merge is named by its two
    halves, which are found by encoding the piece with the merges that came before it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    character = {byte: char for char, byte in byte_characters().items()}
    ranks = {piece: rank for rank, piece in enumerate(bpe._pieces)}
    merges = []
    for piece in bpe._pieces[256:]:
        parts = [bytes([b]) for b in piece]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, 10**9) for a, b in itertools.pairwise(parts)]
            i = min(range(len(pairs)), key=lambda i: pairs[i])
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        merges.append(tuple("".join(character[b] for b in part) for part in parts))
    vocabulary = {"".join(character[b] for b in piece): rank for piece, rank in ranks.items()}
    other = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    other.decoder = decoders.ByteLevel()
    return other


def test_bpe_agrees_with_huggingface(bpe):
    other = _huggingface(bpe)
    assert len(bpe.encode_ordinary(TEXT)) < len(TEXT.encode()) * 0.6  # it did learn merges
    assert other.encode(TEXT).ids == bpe.encode_ordinary(TEXT)
    rng = random.Random(1)
    for _ in range(300):
        text = "".join(rng.choices(TEXT, k=rng.randrange(60)))
        assert other.encode(text).ids == bpe.encode_ordinary(text)


def test_bpe_trained_by_huggingface_alone_gives_the_same_ids():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    other = Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    other.train_from_iterator([TEXT], trainer)
    ours = BPETokenizer.train(TEXT, 340)
    assert ours.vocab_size == other.get_vocab_size()
    assert ours.encode(TEXT) == other.encode(TEXT).ids


def test_bpe_training_repeats_in_another_process(bpe):
    code = (
        "import sys; from gptlib.tokenizers import BPETokenizer\n"
        "text = sys.stdin.buffer.read().decode()\n"
        f"print(BPETokenizer.train(text, 340, {SPECIAL!r}).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=TEXT.encode(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == bpe.sha256


def test_bpe_sizes(bpe):
    assert bpe.vocab_size == 340
    assert BPETokenizer.train("abab", 258, SPECIAL).vocab_size == 258
    assert BPETokenizer.train("abab", 257).vocab_size == 257
    assert BPETokenizer.train("xy", 1000).vocab_size == 256  # no pair occurs twice


BLANK = ["a", "b!", " ", "  ", "\n", "\t \t", "\u3000", "\x1c", "7", "é", *SPECIAL]


@given(st.lists(st.sampled_from(BLANK)).map("".join), st.integers(1, 4))
def test_long_runs_of_blanks_have_the_ids_of_the_whole(bpe, text, length):
    """Runs are long here at a few blanks, where the pattern can still search the whole text."""
    spaced = BPETokenizer(bpe._pieces, ["<|end|>", "  \t"])  # a special token that begins in a run
    methods = ("encode", "encode_ordinary", "encode_array")
    whole = [list(getattr(t, m)(text)) for t in (bpe, spaced) for m in methods]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizers, "LONG_RUN", length)
        assert [list(getattr(t, m)(text)) for t in (bpe, spaced) for m in methods] == whole


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000"])
def test_a_million_blanks(bpe, blank):
    """More than the pattern's search can hold: it would panic, which no `except Exception` sees."""
    text = "a" + blank * 1_000_000 + "b"
    run = bpe.encode_ordinary(blank * 999_999)  # at the end of a text it needs no search
    expected = [*bpe.encode("a"), *run, *bpe.encode_ordinary(blank + "b")]
    assert bpe.encode_ordinary(text) == expected
    assert bpe.encode_array(text).tolist() == expected
    assert bpe.encode(text + "<|end|>") == [*expected, 339]


def test_gpt2_encodes_a_million_blanks(gpt2):
    ids = gpt2.encode_ordinary("a" + " " * 1_000_000 + "b")
    assert ids[0] == 64 and ids[-1] == 275 and gpt2.decode(ids) == "a" + " " * 1_000_000 + "b"


def test_a_word_without_end_is_learned_from_in_parts(monkeypatch):
    """The learner's time grows with the square of a word: 400,000 letters would take hours."""
    assert BPETokenizer.train("fox " + "ab" * 200_000, 262).vocab_size == 262
    assert BPETokenizer.train("fox" + " " * 400_000 + "x", 262).vocab_size == 262
    text = TEXT + "ab" * 64
    whole = BPETokenizer.train(text, 500)
    assert max(map(len, whole._pieces)) > 16
    monkeypatch.setattr(tokenizers, "LONG_WORD", 16)
    parts = BPETokenizer.train(text, 500)
    assert max(map(len, parts._pieces)) == 16 and b"ab" * 8 in parts._pieces
    assert parts.decode(parts.encode(text)) == text


def test_special_tokens_are_one_id(bpe):
    assert bpe.special_tokens == {"<|start|>": 338, "<|end|>": 339}
    assert bpe.encode("<|start|>") == [338]
    ids = bpe.encode("<|start|>The fox<|end|><|end|>")
    assert ids[0] == 338 and ids[-2:] == [339, 339] and len(ids) == ids.index(339) + 2
    assert ids[1:-2] == bpe.encode("The fox")
    assert bpe.decode(ids) == "<|start|>The fox<|end|><|end|>"
    spelled = bpe.encode_ordinary("<|end|>")
    assert len(spelled) > 1 and 339 not in spelled
    assert bpe.decode(spelled) == "<|end|>"


def test_special_tokens_take_no_part_in_merges():
    tokenizer = BPETokenizer.train("<|end|>fox" * 50, 300, SPECIAL)
    pieces = [tokenizer.decode([i]) for i in range(256, tokenizer.vocab_size - 2)]
    assert sorted(pieces) == ["fox", "ox"] or sorted(pieces) == ["fo", "fox"]


def test_special_token_of_another_tokenizer_is_text(bpe):
    assert len(bpe.encode("<|endoftext|>")) > 1


def test_half_a_character_decodes_to_the_replacement(bpe):
    [first, *_] = bpe.encode("日")
    assert "\ufffd" in bpe.decode([first])


# GPT-2


def test_gpt2_equals_tiktoken(gpt2, tmp_path, monkeypatch):
    import tiktoken
    from tiktoken_ext.openai_public import gpt2 as definition

    # tiktoken looks for its two files under the sha1 of their addresses.
    for name, address in {
        "vocab.bpe": "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
        "encoder.json": "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",
    }.items():
        (tmp_path / address).write_bytes(_gpt2_file(name).read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tiktoken.Encoding(**definition())
    assert definition()["pat_str"] == GPT2_PATTERN
    rng = random.Random(2)
    texts = [TEXT] + ["".join(chr(rng.randrange(0x250)) for _ in range(200)) for _ in range(50)]
    for text in texts:
        assert gpt2.encode(text) == theirs.encode_ordinary(text)
    assert gpt2.vocab_size == theirs.n_vocab == 50257
    assert gpt2.encode("<|endoftext|>") == [theirs.eot_token] == [50256]


def test_gpt2_ids_are_those_of_its_table(gpt2):
    table = json.loads(_gpt2_file("encoder.json").read_text(encoding="utf-8"))
    byte_of = byte_characters()
    for token, i in table.items():
        if i < 50256:
            assert gpt2._pieces[i] == bytes(byte_of[c] for c in token)


def test_gpt2_special_tokens_come_after_its_own():
    _gpt2_file("vocab.bpe")
    tokenizer = BPETokenizer.gpt2(["<LOC>", "</LOC>"])
    assert tokenizer.encode("<LOC>a</LOC><|endoftext|>") == [50257, 64, 50258, 50256]
    assert tokenizer.vocab_size == 50259
    with pytest.raises(TokenizerError, match="twice"):
        BPETokenizer.gpt2(["<|endoftext|>"])


def test_gpt2_known_ids(gpt2):
    assert gpt2.encode("Hello world") == [15496, 995]


# What both do


@pytest.fixture(params=["char", "bpe"])
def tokenizer(request, bpe):
    return bpe if request.param == "bpe" else CharTokenizer.train(TEXT)


def test_saved_and_read_again(tokenizer, tmp_path):
    path = tokenizer.save(tmp_path / "run" / "tokenizer")
    assert [p.name for p in path.parent.iterdir()] == ["tokenizer.json"]
    for folder in (path.parent, tmp_path / "run", str(path.parent)):
        again = load_tokenizer(folder)
        assert again == tokenizer and again.sha256 == tokenizer.sha256
        assert type(again) is type(tokenizer) and again.special_tokens == tokenizer.special_tokens
        assert again.encode(TEXT + "".join(tokenizer.special_tokens)) == tokenizer.encode(
            TEXT + "".join(tokenizer.special_tokens)
        )


def test_save_replaces_an_older_one(tmp_path):
    CharTokenizer("ab").save(tmp_path)
    CharTokenizer("abc").save(tmp_path)
    assert load_tokenizer(tmp_path).vocab_size == 3


def test_save_where_nothing_can_be_saved(tokenizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TokenizerError, match="choose a folder that can be written"):
        tokenizer.save(tmp_path / "file" / "tokenizer")


def test_a_failed_save_keeps_the_old_file_and_leaves_no_litter(tmp_path, monkeypatch):
    CharTokenizer("ab").save(tmp_path)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(TokenizerError, match="No space left"):
        CharTokenizer("abc").save(tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    assert load_tokenizer(tmp_path) == CharTokenizer("ab")


def test_no_flipped_bit_changes_a_tokenizer_unseen(tokenizer, tmp_path):
    path = tokenizer.save(tmp_path)
    good = path.read_bytes()
    rng = random.Random(3)
    refused = []
    for _ in range(200):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:  # "\\u00df" and "\\u00dF" are the same character: that flip may pass
            assert load_tokenizer(tmp_path) == tokenizer
        except TokenizerError as error:
            refused.append(error)
        path.write_bytes(good[: rng.randrange(len(good))])
        with pytest.raises(TokenizerError):
            load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{}", b"\xff", b'{"model": {}}', b"[" * 10**5]
)
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError, match="not a tokenizer that gptlib saved"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    [{"kind": "bpe"}, {"format": "gptlib tokenizer 9", "kind": "char", "characters": "ab"}],
)
def test_a_later_version_is_refused(tmp_path, content):
    from gptlib.tokenizers.base import content_hash

    stated = {**content, "sha256": content_hash(content)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    with pytest.raises(TokenizerError, match="not written by this version"):
        load_tokenizer(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path / "nowhere")


def test_equality_is_of_content(bpe):
    assert CharTokenizer.train("abc") == CharTokenizer.train("cabbac")
    assert CharTokenizer("abc") != CharTokenizer("abd")
    assert len({CharTokenizer("abc"), CharTokenizer("cba")}) == 1
    assert bpe != BPETokenizer.train(TEXT, 340, SPECIAL[::-1])
    assert bpe != BPETokenizer.train(TEXT, 339, SPECIAL) and bpe != "a string"


def test_hash_of_a_known_tokenizer():
    # Run folders state it, so other machines and later versions must give the same.
    canonical = b'{"characters":"abc","format":"gptlib tokenizer 1","kind":"char"}'
    assert CharTokenizer("bca").sha256 == hashlib.sha256(canonical).hexdigest()


def test_pickles(tokenizer):
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


@pytest.mark.parametrize("convert", [list, tuple, np.array, iter])
def test_decode_takes_any_flat_sequence(tokenizer, convert):
    ids = tokenizer.encode("The fox")
    assert tokenizer.decode(convert(ids)) == "The fox"


def test_decode_takes_a_tensor(tokenizer):
    import torch

    assert tokenizer.decode(torch.tensor(tokenizer.encode("The fox"))) == "The fox"


def test_nothing_is_nothing(tokenizer):
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    assert tokenizer.decode(np.array([])) == ""


@pytest.mark.parametrize("wrong", [-1, 10**6, 10**30])
def test_decode_names_an_id_out_of_range(tokenizer, wrong):
    with pytest.raises(TokenizerError, match=r"decode was given|at position 2"):
        tokenizer.decode([0, 1, wrong])


def test_the_first_id_past_the_vocabulary(tokenizer):
    tokenizer.decode([tokenizer.vocab_size - 1])
    with pytest.raises(TokenizerError, match=f"token id {tokenizer.vocab_size} at position 0"):
        tokenizer.decode([tokenizer.vocab_size])


@pytest.mark.parametrize(
    "ids", [3, None, [1.5], ["a"], [[1, 2]], [[1], [2, 3]], [None], [True], "12"]
)
def test_decode_refuses_what_are_no_ids(tokenizer, ids):
    with pytest.raises(TokenizerError, match="flat sequence of whole numbers"):
        tokenizer.decode(ids)


@pytest.mark.parametrize("method", ["encode", "encode_ordinary"])
def test_encode_refuses_what_is_no_text(tokenizer, method):
    encode = getattr(tokenizer, method)
    with pytest.raises(TokenizerError, match="bytes; expected str; decode"):
        encode(b"The fox")
    with pytest.raises(TokenizerError, match="NoneType; expected str"):
        encode(None)
    with pytest.raises(TokenizerError, match=r"'\\ud83e' at position 3, half of a surrogate"):
        encode("The\ud83e")


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda text: BPETokenizer.train(text, 300)])
def test_training_refuses_empty_text(train):
    with pytest.raises(TokenizerError, match="training text is empty"):
        train("")
    with pytest.raises(TokenizerError, match="expected str"):
        train(None)


@pytest.mark.parametrize("size", [0, -1, 257, 300.0, "300", True, None])
def test_vocabulary_too_small(size):
    with pytest.raises(TokenizerError, match="at least 258: 256 bytes, 2 special tokens"):
        BPETokenizer.train(TEXT, size, SPECIAL)


@pytest.mark.parametrize(
    ("special", "message"),
    [
        ([""], "special token 0 is empty"),
        (["<a>", "<a>"], "there twice"),
        (["<a", "<a>"], "begin alike"),
        (["<a>", "<a"], "begin alike"),
        ("<a>", "expected a list"),
        ([7], "special token 0 is of type int"),
        (["\ud800"], "half of a surrogate pair"),
    ],
)
def test_special_tokens_that_cannot_be_used(special, message):
    with pytest.raises(TokenizerError, match=message):
        BPETokenizer.train(TEXT, 340, special)


def test_pieces_that_make_no_tokenizer():
    every = [bytes([b]) for b in range(256)]
    for pieces in (every[1:], [*every, b"a"], []):
        with pytest.raises(TokenizerError, match="all 256 single bytes"):
            BPETokenizer(pieces)


def test_saved_pieces_are_readable(bpe, tmp_path):
    content = json.loads(bpe.save(tmp_path).read_text())
    assert base64.b64decode(content["pieces"][256]) == bpe.decode([256]).encode()
    assert content["special_tokens"] == list(SPECIAL)


def test_importing_costs_none_of_the_libraries():
    code = (
        "import sys, gptlib.tokenizers, gptlib.corpora\n"
        "heavy = ('tokenizers', 'tiktoken', 'platformdirs', 'requests')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
