"""What follows from a text's marks for a run on it: where windows begin, and how it is sampled.

One job: `where_windows_begin`, `sampling` and `with_marks`. A story or a place is seen best from
its beginning. But where stories are much longer than the context, windows that begin at one never
see the rest of it, so there they begin anywhere.
"""

from __future__ import annotations

from gptlib.corpora import Corpus
from gptlib.places.marks import LOC, LOC_END
from gptlib.stories.marks import END, START
from gptlib.tokenizers import BPETokenizer, Tokenizer

SEEN = 0.9  # of the text, that windows from `<|start|>` must see
LOOKED_AT = 200  # stories, to estimate that
ANYWHERE = (
    "many documents are longer than the context: windows begin anywhere, not at their first mark "
    "(--separator says otherwise)"
)
ENDS = {START: END, LOC: LOC_END}  # by the mark that a document begins with


def where_windows_begin(corpus: Corpus, tokenizer: Tokenizer, block_size: int) -> str | None:
    """`<|start|>` or `<LOC>` for documents that fit the context; None where windows begin
    anywhere."""
    if corpus.marks and share_seen(corpus, tokenizer, block_size) >= SEEN:
        return corpus.marks[0]
    return None


def sampling(corpus: Corpus) -> dict[str, str]:
    """What a run on marked text notes for `gptlib sample`: where a text begins and stops."""
    return {"begin": corpus.marks[0], "stop": ENDS[corpus.marks[0]]}


def share_seen(corpus: Corpus, tokenizer: Tokenizer, block_size: int) -> float:
    """The share of the training text that lies at most `block_size` tokens after a story's start,
    by up to 200 of its stories, spread evenly over it."""
    stories = corpus.train_documents[:: -(-len(corpus.train_documents) // LOOKED_AT)]
    lengths = [len(tokenizer.encode(story + corpus.separator)) for story in stories]
    return sum(min(length, block_size) for length in lengths) / sum(lengths)


def with_marks(corpus: Corpus | None, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, with those marks of a text as ids that a byte-pair tokenizer would spell."""
    if corpus is None or not isinstance(tokenizer, BPETokenizer):
        return tokenizer
    missing = [mark for mark in corpus.marks if mark not in tokenizer.special_tokens]
    return tokenizer.with_special(missing) if missing else tokenizer
