"""A tokenizer as `tokenizer.json`, the file of Hugging Face's `tokenizers`, and back.

One job: `fast_tokenizer` and `read_fast`, which give the same ids or refuse. A piece of a
`BPETokenizer` is known by its rank alone; the file wants the two halves that it was merged from,
which are found by encoding the piece with the merges that came before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptlib.errors import TokenizerError
from gptlib.tokenizers import BPETokenizer, CharTokenizer, Tokenizer
from gptlib.tokenizers.bpe import byte_characters

if TYPE_CHECKING:
    import tokenizers

FILE = "tokenizer.json"
_BYTE_OF = byte_characters()
_CHARACTER_OF = {byte: character for character, byte in _BYTE_OF.items()}
_ANY = r"[\s\S]"  # one character, a newline too


def as_characters(piece: bytes) -> str:
    """A piece as files show it: a printable character for each byte."""
    return "".join(_CHARACTER_OF[byte] for byte in piece)


def merges(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The two halves of every piece of more than one byte, in the order of the pieces.

    Raises:
        TokenizerError: a piece cannot be merged from two pieces before it.
    """
    rank = {piece: number for number, piece in enumerate(pieces)}
    found = []
    for number, piece in enumerate(pieces):
        if len(piece) == 1:
            continue
        parts = [bytes([byte]) for byte in piece]
        while len(parts) > 2:
            ranks = [rank.get(a + b, number) for a, b in pairwise(parts)]
            if (lowest := min(ranks)) >= number:
                break
            at = ranks.index(lowest)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) != 2:
            raise TokenizerError(
                f"the piece {piece!r} is no merge of two pieces before it, and other programs know "
                "a piece by its merge; train the tokenizer with BPETokenizer.train"
            )
        found.append((parts[0], parts[1]))
    return found


def fast_tokenizer(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """The same tokenizer for Hugging Face's `tokenizers`: the ids of every text are equal.

    Of characters that a `CharTokenizer` does not know, it refuses the text, as ours does.

    Raises:
        TokenizerError: a kind of tokenizer that the library does not have.
    """
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Fast

    if isinstance(tokenizer, CharTokenizer):
        numbers = {character: n for n, character in enumerate(tokenizer.characters)}
        # It asks for the id of the token for what is unknown, and fails where there is none.
        fast = Fast(models.WordLevel(numbers, unk_token=""))
        fast.pre_tokenizer = pre_tokenizers.Split(Regex(_ANY), "isolated")
        fast.decoder = decoders.Fuse()
        return fast
    if not isinstance(tokenizer, BPETokenizer):
        raise TokenizerError(
            f"a {type(tokenizer).__name__} cannot be written for other programs; expected a "
            "BPETokenizer or a CharTokenizer"
        )
    names = {as_characters(piece): n for n, piece in enumerate(tokenizer.pieces)}
    halves = [(as_characters(a), as_characters(b)) for a, b in merges(tokenizer.pieces)]
    fast = Fast(models.BPE(vocab=names, merges=halves))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in tokenizer.special_tokens]
    )
    return fast


def read_fast(folder: Path) -> Tokenizer:
    """The tokenizer that a folder of Hugging Face's holds, as `tokenizer.json` or, as of old, as
    `vocab.json` and `merges.txt`.

    Raises:
        TokenizerError: none is there, it is damaged, or it is none that gptlib has: a byte-level
            BPE cut as GPT-2's, or one of characters.
    """
    path = folder / FILE
    try:
        if path.is_file():
            return _from_content(json.loads(path.read_bytes()))
        path = folder / "vocab.json"
        if path.is_file():
            lines = (folder / "merges.txt").read_text("utf-8").splitlines()
            pairs = [line for line in lines if line and not line.startswith("#version")]
            return bpe_of_merges(json.loads(path.read_bytes()), pairs, None)
    except TokenizerError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TokenizerError(
            f"{path} cannot be read as a tokenizer ({type(error).__name__}: {str(error)[:100]}); "
            "copy it again from where it came"
        ) from error
    raise TokenizerError(
        f"{folder} has no tokenizer: expected {FILE}, or vocab.json and merges.txt; copy them from "
        "where the model came"
    )


def _from_content(content: dict[str, Any]) -> Tokenizer:
    model, cut = content["model"], content["pre_tokenizer"] or {}
    added = content["added_tokens"]
    kind = model.get("type") or ("BPE" if "merges" in model else "")  # as of old, it is not said
    if content.get("normalizer") or _adds_tokens(content.get("post_processor") or {}):
        raise _foreign("it changes the text, or adds tokens to it")
    if kind == "WordLevel" and cut == _EACH_CHARACTER and not added:
        tokenizer = CharTokenizer("".join(model["vocab"]))
        if [model["vocab"][c] for c in tokenizer.characters] != [*range(tokenizer.vocab_size)]:
            raise _foreign("its characters are not in the order of their code points")
        return tokenizer
    if kind != "BPE":
        raise _foreign(f"it is of the kind {str(kind)[:40]!r}")
    as_gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if any(cut.get(key, True) != value for key, value in as_gpt2.items()):
        raise _foreign("it cuts the text in another way than GPT-2")
    odd = [key for key in _PARTS_OF_OTHERS if model.get(key)]
    odd += [key for key in ("lstrip", "rstrip", "single_word") if any(a.get(key) for a in added)]
    if odd:
        raise _foreign(f"it has {', '.join(odd)}")
    return bpe_of_merges(model["vocab"], model["merges"], added)


_PARTS_OF_OTHERS = ("dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
_EACH_CHARACTER = {
    "type": "Split", "pattern": {"Regex": _ANY}, "behavior": "Isolated", "invert": False,
}  # fmt: skip


def _adds_tokens(post_processor: dict[str, Any]) -> bool:
    """Whether what is done after the merges puts tokens around a text."""
    kind = post_processor.get("type")
    if kind == "TemplateProcessing":
        return bool(post_processor.get("special_tokens"))
    return kind not in (None, "ByteLevel")  # which moves offsets only


def bpe_of_merges(
    vocab: dict[str, int], pairs: Iterable[str | list[str]], added: list[dict] | None
) -> BPETokenizer:
    """The tokenizer of which other programs' files know the merges.

    Args:
        vocab: each token's id, as files show tokens. pairs: the merges, in order. added: `content`
            and `id` of each special token, or None where the file does not say which they are.

    Raises:
        TokenizerError: it has an order that a `BPETokenizer` cannot have.
    """
    halves = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in pairs]
    special = {token["content"]: token["id"] for token in added or ()}
    if added is None:  # vocab.json does not say which they are: what no merge makes
        made = {*_BYTE_OF, *map("".join, halves)}
        special = {text: number for text, number in vocab.items() if text not in made}
    numbers = {text: n for text, n in vocab.items() if text not in special}
    names = sorted(numbers, key=numbers.__getitem__)
    tokens = sorted(special, key=special.__getitem__)
    if [numbers[n] for n in names] + [special[t] for t in tokens] != [
        *range(len(names) + len(tokens))
    ]:
        raise _foreign("its special tokens do not have the last ids")
    pieces = [bytes(_BYTE_OF[c] for c in name) for name in names]
    if halves != [(as_characters(a), as_characters(b)) for a, b in merges(pieces)]:
        raise _foreign("its merges are not in the order of its ids")
    return BPETokenizer(pieces, tokens)


def _foreign(reason: str) -> TokenizerError:
    return TokenizerError(
        f"the tokenizer is none that gptlib could read exactly: {reason}; expected a byte-level "
        "BPE cut as GPT-2's, or one that `gptlib export` wrote"
    )
