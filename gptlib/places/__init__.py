"""The corpus of places: what each says of itself can be read from its text, and asked for."""

from gptlib.places.instructions import (
    ask,
    held_out_pairs,
    instruction,
    instruction_pairs,
    read_instruction,
    split_of,
)
from gptlib.places.judge import PlaceVerdict, judge_place
from gptlib.places.marks import LOC, LOC_END, special_tokens
from gptlib.places.place import Asked, Place
from gptlib.places.reading import parse_place, read_place

__all__ = [
    "LOC",
    "LOC_END",
    "Asked",
    "Place",
    "PlaceVerdict",
    "ask",
    "held_out_pairs",
    "instruction",
    "instruction_pairs",
    "judge_place",
    "parse_place",
    "read_instruction",
    "read_place",
    "special_tokens",
    "split_of",
]
