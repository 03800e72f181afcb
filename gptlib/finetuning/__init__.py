"""A trained model for something of one's own: a style, a format, another voice."""

from gptlib.finetuning.lora import LoRALinear, add_lora, merge_lora, trainable, tune_last
from gptlib.finetuning.peft_format import load_lora, save_lora

__all__ = [
    "LoRALinear",
    "add_lora",
    "load_lora",
    "merge_lora",
    "save_lora",
    "trainable",
    "tune_last",
]
