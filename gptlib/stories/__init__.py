"""The corpus of stories: every sentence says what it needs and what it changes."""

from gptlib.stories.kinds import Kind, Storybook
from gptlib.stories.marks import END, START, TITLE, TITLE_END, special_tokens
from gptlib.stories.world import World

__all__ = [
    "END",
    "START",
    "TITLE",
    "TITLE_END",
    "Kind",
    "Storybook",
    "World",
    "special_tokens",
]
