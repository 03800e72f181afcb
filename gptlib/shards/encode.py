"""Documents to token ids, in many threads at once.

One job: `Encoder`. A document is followed by the end-of-text token, or by the text that stands for
one where the tokenizer has none.
"""

from __future__ import annotations

import numpy as np

from gptlib.errors import DataError, TokenizerError
from gptlib.tokenizers.base import Tokenizer


class Encoder:
    """Encodes batches of documents as the plan of a shard folder says.

    Args:
        plan: with `vocab_size`, `dtype` and `end_of_text`. ending: text for a tokenizer without.
    """

    def __init__(self, tokenizer: Tokenizer, plan: dict, ending: str) -> None:
        self.tokenizer, self.vocab_size, self.kept_as = tokenizer, plan["vocab_size"], plan["dtype"]
        self.dtype = np.dtype(plan["dtype"]).newbyteorder("<")
        if plan["end_of_text"] is not None:
            self.ending = np.array([plan["end_of_text"]], dtype=np.uint32)
        else:
            self.ending = tokenizer.encode_array(ending)

    def __call__(self, batch: list[tuple[int, str]]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of some documents, (N,) in the shard's type, and how many each has, (D,) int64.

        Raises:
            DataError: a document that cannot be encoded, by its number in the source.
        """
        parts, lengths = [], []
        for number, text in batch:
            try:
                ids = self.tokenizer.encode_array(text)
            except TokenizerError as error:
                raise DataError(f"document {number} of the source: {error}") from error
            if ids.size and int(ids.max()) >= self.vocab_size:
                raise DataError(
                    f"document {number} of the source has the token id {int(ids.max())}, but the "
                    f"tokenizer speaks of {self.vocab_size:,} ids, kept as {self.kept_as}; it does "
                    "not fit: mend the tokenizer's vocab_size"
                )
            parts += [ids, self.ending]
            lengths.append(len(ids) + len(self.ending))
        return np.concatenate(parts).astype(self.dtype), np.array(lengths, dtype=np.int64)
