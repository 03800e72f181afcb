"""A larger model tuned in four bits: NF4 below, LoRA beside, over transformers and bitsandbytes."""

from gptlib.qlora.answering import answer
from gptlib.qlora.base import (
    add_adapter,
    load_adapter,
    load_base,
    look_at_base,
    save_adapter,
    save_base,
)
from gptlib.qlora.config import LINEAR, QLoRAConfig
from gptlib.qlora.memory import LLAMAS, LlamaShape, Tuning, tuning_memory
from gptlib.qlora.merging import WAYS, Difference, differences, logits_of, merge_adapter
from gptlib.qlora.pairs import PLAIN, EncodedPair, collate, encode_file, encode_pair, read_pairs
from gptlib.qlora.training import answer_loss, held_out_loss, train_adapter

__all__ = [
    "LINEAR",
    "LLAMAS",
    "PLAIN",
    "WAYS",
    "Difference",
    "EncodedPair",
    "LlamaShape",
    "QLoRAConfig",
    "Tuning",
    "add_adapter",
    "answer",
    "answer_loss",
    "collate",
    "differences",
    "encode_file",
    "encode_pair",
    "held_out_loss",
    "load_adapter",
    "load_base",
    "logits_of",
    "look_at_base",
    "merge_adapter",
    "read_pairs",
    "save_adapter",
    "save_base",
    "train_adapter",
    "tuning_memory",
]
