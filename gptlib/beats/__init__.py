"""Scene beats and the prose that tells them: pairs from a novel, from stories, and what leaks."""

from gptlib.beats.asked import read_answers, write_prompts
from gptlib.beats.chapters import Chapter, Chunk, chapters_of, chunks_of, cut
from gptlib.beats.leaks import Leak, find_leaks, known_names
from gptlib.beats.outline import beats_of, covered, told
from gptlib.beats.overlap import overlap
from gptlib.beats.pairs import Pair, read_pairs, split_by_chapter, write_pairs
from gptlib.beats.squality import squality_pairs
from gptlib.beats.stories import marked, pair_of, story_pairs

__all__ = [
    "Chapter",
    "Chunk",
    "Leak",
    "Pair",
    "beats_of",
    "chapters_of",
    "chunks_of",
    "covered",
    "cut",
    "find_leaks",
    "known_names",
    "marked",
    "overlap",
    "pair_of",
    "read_answers",
    "read_pairs",
    "split_by_chapter",
    "squality_pairs",
    "story_pairs",
    "told",
    "write_pairs",
    "write_prompts",
]
