"""How good a model is: its loss, its choices between endings, the texts it writes."""

from gptlib.evaluation.choices import score_endings, score_probes
from gptlib.evaluation.loss import bits_per_byte, loss_by_position, split_loss, token_losses
from gptlib.evaluation.texts import parse_rate

__all__ = [
    "bits_per_byte",
    "loss_by_position",
    "parse_rate",
    "score_endings",
    "score_probes",
    "split_loss",
    "token_losses",
]
