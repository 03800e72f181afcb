"""From text to token ids and back: one character a token, or byte-pair encoding.

Two tokenizers with one interface (`base.Tokenizer`). Promises: `decode(encode(text)) == text`.
Tokenizers with the same `sha256` give the same ids.
"""

from gptlib.tokenizers.base import Tokenizer
from gptlib.tokenizers.bpe import END_OF_TEXT, BPETokenizer
from gptlib.tokenizers.characters import CharTokenizer
from gptlib.tokenizers.learn import learn_tokenizer, learned_size
from gptlib.tokenizers.load import load_tokenizer

__all__ = [
    "END_OF_TEXT",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "learn_tokenizer",
    "learned_size",
    "load_tokenizer",
]
