"""What a model's own texts are like.

One job: `parse_rate`, which asks whether they are sentences of the grammar that wrote the corpus.
"""

from collections.abc import Sequence

from gptlib.errors import DataError, GrammarError
from gptlib.grammar import Grammar


def parse_rate(grammar: Grammar, texts: Sequence[str]) -> float:
    """Share of texts that the grammar could have written, letter by letter.

    Raises:
        DataError: no texts.
    """
    if not texts:
        raise DataError("there are no texts to parse; a share needs at least one")
    parsed = 0
    for text in texts:
        try:
            grammar.score(text)
            parsed += 1
        except GrammarError:
            pass
    return parsed / len(texts)
