"""A trained model for something of one's own: a style, a format, another voice."""

from gptlib.finetuning.answers import AnswerBatches, AnswerLoss
from gptlib.finetuning.asking import ask, ask_many
from gptlib.finetuning.dpo import dpo_loss, sequence_logprobs
from gptlib.finetuning.examples import Example, deal, make_examples, read_examples
from gptlib.finetuning.lora import LoRALinear, add_lora, merge_lora, trainable, tune_last
from gptlib.finetuning.new_rows import train_new_rows
from gptlib.finetuning.peft_format import load_lora, save_lora
from gptlib.finetuning.rehearsal import Rehearsed, weighted_loss

__all__ = [
    "AnswerBatches",
    "AnswerLoss",
    "Example",
    "LoRALinear",
    "Rehearsed",
    "add_lora",
    "ask",
    "ask_many",
    "deal",
    "dpo_loss",
    "load_lora",
    "make_examples",
    "merge_lora",
    "read_examples",
    "save_lora",
    "sequence_logprobs",
    "train_new_rows",
    "trainable",
    "tune_last",
    "weighted_loss",
]
