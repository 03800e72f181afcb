"""How good a model is: its loss, its choices between endings, the texts it writes."""

from gptlib.evaluation.choices import score_endings, score_pairs, score_probes
from gptlib.evaluation.delta import burrows_delta
from gptlib.evaluation.diversity import (
    copied_share,
    distinct_n,
    longest_shared_run,
    longest_shared_runs,
    repetition,
    self_bleu,
)
from gptlib.evaluation.hellaswag import hellaswag, read_items
from gptlib.evaluation.intervals import compare, sign_test, wilson
from gptlib.evaluation.loss import (
    bits_per_byte,
    loss_by_position,
    measure_split,
    split_loss,
    token_losses,
)
from gptlib.evaluation.stories import Verdict, judge_prefix, judge_story
from gptlib.evaluation.telling import Telling, telling
from gptlib.evaluation.texts import parse_rate

__all__ = [
    "Telling",
    "Verdict",
    "bits_per_byte",
    "burrows_delta",
    "compare",
    "copied_share",
    "distinct_n",
    "hellaswag",
    "judge_prefix",
    "judge_story",
    "longest_shared_run",
    "longest_shared_runs",
    "loss_by_position",
    "measure_split",
    "parse_rate",
    "read_items",
    "repetition",
    "score_endings",
    "score_pairs",
    "score_probes",
    "self_bleu",
    "sign_test",
    "split_loss",
    "telling",
    "token_losses",
    "wilson",
]
