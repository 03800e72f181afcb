"""A trained model for something of one's own: a style, a format, another voice."""

from gptlib.finetuning.answers import AnswerBatches, AnswerLoss
from gptlib.finetuning.asking import ask
from gptlib.finetuning.examples import Example, deal, read_examples
from gptlib.finetuning.rehearsal import Rehearsed, weighted_loss

__all__ = [
    "AnswerBatches",
    "AnswerLoss",
    "Example",
    "Rehearsed",
    "ask",
    "deal",
    "read_examples",
    "weighted_loss",
]
