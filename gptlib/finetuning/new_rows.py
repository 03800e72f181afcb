"""The rows of new tokens, in a model of which only a part is trained.

One job: `train_new_rows`. The marks of a conversation begin as one and the same row, the mean of
all others. Full fine-tuning parts them; LoRA and the last blocks leave the table alone, and a model
cannot end an answer by a mark that looks to it like four others. So these rows are trained as well,
and no others: what the model knew of its old tokens stays, bit for bit.
"""

from __future__ import annotations

from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT

TABLES = ("transformer.wte.weight", "lm_head.weight")


def train_new_rows(model: GPT, first: int) -> GPT:
    """Let the rows from `first` on be trained too, in the token table and in a frozen head, in
    place.

    The table has one gradient, of which the old rows' part is set to zero. AdamW then leaves them
    alone, if nothing decays: train with `weight_decay=0`.

    Args:
        model: after `add_lora` or `tune_last`. first: the id of the first new token.

    Raises:
        ConfigError: all of the model is trained anyway, or it has no such rows.
    """
    if model.tuning is None:
        raise ConfigError("all of the model is trained, new rows too; call add_lora or tune_last")
    if type(first) is not int or not 0 < first < model.config.vocab_size:
        raise ConfigError(
            f"first is {first!r}; give the id of the first new token, below "
            f"{model.config.vocab_size}: the size of the tokenizer before it grew"
        )

    def only_new(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:first] = 0
        return gradient

    tables = {}
    for name, table in model.named_parameters():  # a tied head is the table, and comes once
        if name in TABLES and not table.requires_grad:
            table.requires_grad_(True).register_hook(only_new)
            tables[name] = first
    model.tuning["new_rows"] = tables
    return model
