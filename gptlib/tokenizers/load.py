"""The tokenizer that a folder holds, of either kind.

One job: `load_tokenizer`.
"""

import base64
from pathlib import Path

from gptlib.errors import TokenizerError
from gptlib.tokenizers.base import FORMAT, read_content
from gptlib.tokenizers.bpe import GPT2_PATTERN, BPETokenizer
from gptlib.tokenizers.characters import CharTokenizer


def load_tokenizer(folder: str | Path) -> CharTokenizer | BPETokenizer:
    """Read the tokenizer that `save` wrote to `folder`, or to `folder`/tokenizer (a run folder).

    Raises:
        TokenizerError: no tokenizer there, one of another program or version, or a damaged one.
    """
    path, content = read_content(folder)
    try:
        if content["format"] == FORMAT and content["kind"] == "char":
            return CharTokenizer(content["characters"])
        if (content["format"], content["kind"], content["pattern"]) == (
            FORMAT,
            "bpe",
            GPT2_PATTERN,
        ):
            pieces = [base64.b64decode(piece) for piece in content["pieces"]]
            return BPETokenizer(pieces, content["special_tokens"])
    except (KeyError, TypeError, ValueError):
        pass  # not what this version writes
    raise TokenizerError(
        f"{path} was not written by this version of gptlib; "
        "update gptlib, or train the tokenizer again from the same text"
    )
