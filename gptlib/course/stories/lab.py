"""The lab of chapter 7: a model of stories that keeps its promises, by three means.

One job: `promise`, which checks the lab's functions step by step. Beside it stands what the lab
hands out: titles to write for, a pen that goes on with many texts at once, and where sentences end.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, attempt, check, failed, passed
from gptlib.evaluation import judge_prefix, judge_story
from gptlib.grammar import Grammar
from gptlib.model import GPT
from gptlib.sampling import generate
from gptlib.stories import END, START, TITLE_END, special_tokens
from gptlib.tokenizers import Tokenizer

Texts = list[str]
#: Goes on with texts to their ends: for each the whole text, and how many tokens were drawn.
Draw = Callable[[Texts], list[tuple[str, int]]]

STORY = (
    "<|start|><|title|>The Lamp and the Pig</|title|>\n"
    "Omar lived at the mill with a lamp and no pig. He had never said no to anyone. "
    "At the school lived Rosa, who had a pig. So Omar walked to the school. "
    '"My lamp for your pig," said Omar. "Bring me a ladder," said Rosa, "and we can talk."\n'
    "Vera, in the barn, had a ladder and wanted a lamp. "
    "So Omar went to the barn and swapped the lamp for the ladder. "
    "He carried the ladder to the school, and Rosa handed over the pig. "
    "On the way home Vera caught up with him. "
    '"The lamp was a mistake," said Vera. "May I have the pig instead?" '
    "Omar, who could not say no, took the lamp and gave Vera the pig.\n"
    "In the evening Omar was back at the mill with the lamp, exactly as rich as in the morning.\n"
    "Moral: a no saves the shoes.<|end|>"
)
_AHEAD = STORY.replace("So Omar walked to the school. ", "")  # he speaks to Rosa from the mill
_TWICE = STORY.replace(
    "On the way", "He carried the ladder to the school, and Rosa handed over the pig. On the way"
)
_ROUNDABOUT = STORY.replace('to the school. "', 'to the forge. Omar went to the school. "')
_TWO_OWNERS = STORY.replace("a lamp and no pig", "a pig and no lamp")
_NO_MORAL = STORY[: STORY.index("\nMoral")] + END
_BROKEN_OFF = STORY[: STORY.index(", and Rosa handed")]


def titles(n: int, seed: int) -> Texts:
    """The beginnings of n stories of the grammar, marks and title."""
    grammar, dice = Grammar.load("stories"), random.Random(seed)
    return [title(grammar.sample(dice).text) for _ in range(n)]


def title(text: str) -> str:
    """What a story begins with: its text up to the end of the title."""
    head, mark, _ = text.partition(TITLE_END)
    return head + mark


def ends(text: str) -> list[int]:
    """Where a text may be cut: after its title, after each sentence, and after `<|end|>`."""
    found = [match.end() for match in re.finditer(r"[.?!]\"?(?=[ \n<]|\Z)", text)]
    start = len(title(text))
    over = [len(text)] if text.endswith(END) else []
    return [start, *(end for end in found if end > start), *over]


def pen(model: GPT, tokenizer: Tokenizer, temperature: float = 1.0, seed: int = 0) -> Draw:
    """A function that goes on with texts, up to `<|end|>` or `block_size`, all in one pass.

    Each call draws with other dice; two pens of one seed write the same, call for call.
    """
    end = tokenizer.encode(END)[0]
    calls = iter(range(seed * 1000, (seed + 1) * 1000))

    def draw(texts: Texts) -> list[tuple[str, int]]:
        prompts = [tokenizer.encode(text) for text in texts]
        room = max(1, model.config.block_size - max(map(len, prompts)))
        got = generate(model, prompts, room, temperature, stop=[end], seed=next(calls))
        rows = (got if isinstance(got, Tensor) else got[0]).tolist()
        found = []
        for prompt, row in zip(prompts, rows, strict=True):
            new = row[len(prompt) : len(prompt) + room]
            new = new[: new.index(end) + 1] if end in new else new
            found.append((tokenizer.decode(prompt + new), len(new)))
        return found

    return draw


def promise(
    mend: Callable[[Texts, Draw, int, Callable[[str], str]], tuple[Texts, int]],
    sound: Callable[[str], str] | None = None,
    lessons: Callable[[Texts, Callable[[str], list[int]]], tuple[Tensor, Tensor]] | None = None,
) -> Result:
    """Check what has been built so far: the last function given, by what it does.

    Args:
        mend: (texts, draw, rounds, keep) to the texts, of which those that the judge refuses were
            written again from what `keep` leaves of them, and the number of tokens drawn.
        sound: a text to its longest beginning that `judge_prefix` passes.
        lessons: (stories, encode) to inputs and targets of those that the judge passes.
    """
    result = _check_mend(mend)
    if result and sound is not None:
        result = _check_sound(sound)
    if result and lessons is not None:
        result = _check_lessons(lessons)
    return result


class _Script:
    """Stands in for a model: what it writes for each text is known, and what it was asked."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[Texts] = []

    def __call__(self, texts: Texts) -> list[tuple[str, int]]:
        if not texts:
            raise ValueError("draw was handed no text to go on with; stop when all stories hold")
        self.asked.append(list(texts))
        return [
            (self.answers.get(text, text + END), 100 * len(self.asked) + n)
            for n, text in enumerate(texts)
        ]

    def __deepcopy__(self, memo: object) -> _Script:
        return self  # a check hands out copies; what was asked is wanted of this one


def _mended(texts: Texts, draw: Draw, rounds: int, keep: Callable[[str], str]) -> tuple:
    """The reference of step 1."""
    texts, tokens = list(texts), 0
    for _ in range(rounds):
        bad = [i for i, text in enumerate(texts) if not judge_story(text).ok]
        if not bad:
            break
        for i, (text, n) in zip(bad, draw([keep(texts[i]) for i in bad]), strict=True):
            texts[i], tokens = text, tokens + n
    return texts, tokens


def _check_mend(fn: Callable) -> Result:
    half = _AHEAD[: _AHEAD.index("At the school")]
    for keep, kept in ((title, title(_AHEAD)), (lambda text: half, half)):
        start = [STORY, _AHEAD, _BROKEN_OFF]
        answers: dict[str, str] = {kept: _TWICE} if keep is title else {kept: STORY}
        mine, reference = _Script(answers), _Script(answers)
        got = attempt(fn, start, mine, 3, keep)
        wanted = _mended(start, reference, 3, keep)
        if isinstance(got, Result):
            return got
        if not (isinstance(got, tuple) and len(got) == 2):
            return failed("return two things, the texts and the number of tokens that were drawn")
        if verdict := _asked(mine.asked, reference.asked, start, kept):
            return failed(verdict)
        texts, tokens = got
        if texts != wanted[0]:
            return failed(
                "each story belongs in the place of the one that it takes: the order is lost, or a "
                "story that was drawn is not there"
            )
        if tokens != wanted[1]:
            drawn = [n for texts in reference.asked for n in range(len(texts))]
            few = isinstance(tokens, int) and tokens < wanted[1] and bool(drawn)
            return failed(
                "some of the tokens are missing: those of stories that were thrown away were paid "
                "for, too"
                if few
                else "that is not the sum of what every call of draw says it drew"
            )
    return passed("what fails is written again, what holds is left alone, and all of it is paid")


def _asked(mine: list[Texts], right: list[Texts], start: Texts, kept: str) -> str:
    """What is wrong with the calls of draw, or nothing."""
    if not mine:
        return "draw was never called"
    if len(mine[0]) == len(start):
        return "stories that hold were written again: ask the judge first, and draw for the others"
    if any(text in start for text in mine[0]):
        return "draw got a failed story whole: hand it what keep leaves of it"
    if any(text != kept for texts in mine for text in texts):
        return "draw got something else than what keep makes of the failed story"
    if len(mine) > len(right):
        return "more rounds than were asked for"
    if len(mine) < len(right):
        return "fewer rounds than were asked for, and stories that fail are left"
    if list(map(len, mine)) != list(map(len, right)):
        return "a story that holds after one round was drawn for again in the next"
    return ""


@functools.cache
def sound_beginning(text: str) -> str:
    """The longest beginning, cut where `ends` says, that the judge passes: step 2's reference."""
    good, *others = (text[:end] for end in ends(text))
    for beginning in others:
        if not judge_prefix(beginning).ok:
            break
        good = beginning
    return good


def _check_sound(fn: Callable) -> Result:
    def and_the_wrong_one(text: str) -> str:
        good = len(sound_beginning(text))
        return text[: next((end for end in ends(text) if end > good), good)]

    def one_less(text: str) -> str:
        good = len(sound_beginning(text))
        return text[: max([end for end in ends(text) if end < good] or [len(title(text))])]

    def without_end(text: str) -> str:
        return sound_beginning(text).removesuffix(END)

    def whole_only(text: str) -> str:
        return text if judge_story(text).ok else title(text)

    def by_first_place(text: str) -> str:
        verdict = judge_story(text)
        return text if verdict.ok else text[: text.index(verdict.sentence)].rstrip()

    def half_sentences(text: str) -> str:
        return text if judge_prefix(text).ok else sound_beginning(text)

    stories = (STORY, _AHEAD, _TWICE, _TWO_OWNERS, _NO_MORAL, _BROKEN_OFF, title(STORY))
    return check(
        fn,
        cases=[(text,) for text in stories],
        right=sound_beginning,
        wrongs=[
            Wrong(
                "a text that breaks off within a sentence was kept with half of it: cut only where "
                "lab.ends says",
                half_sentences,
            ),
            Wrong("that is the text as it was", lambda text: text),
            Wrong(
                "the sentence that contradicts is still in it: cut where the sentence before ends",
                and_the_wrong_one,
            ),
            Wrong("a story that holds stays whole, its <|end|> too", without_end),
            Wrong("one sentence too few: the last that holds may stay", one_less),
            Wrong(
                "judge_story passes whole stories only, so that nothing is left but the title: ask "
                "judge_prefix",
                whole_only,
            ),
            Wrong(
                "the verdict's sentence may stand in the text twice, and only its second place is "
                "wrong; and a story that ends too early has no wrong sentence",
                by_first_place,
            ),
            Wrong("the title was lost", lambda text: sound_beginning(text)[len(title(text)) :]),
        ],
        success="all that holds is kept, and not a word more",
    )


@functools.cache
def _numbers() -> dict[str, int]:
    words = re.findall(r"<[^>]*>|\w+|\W", STORY + _ROUNDABOUT)
    return {word: n for n, word in enumerate(dict.fromkeys([*special_tokens(), *words]))}


def _encode(text: str) -> list[int]:
    """Whole words as ids, which is tokenizer enough for a check."""
    return [_numbers()[word] for word in re.findall(r"<[^>]*>|\w+|\W", text)]


def _lessons(
    stories: Sequence[str],
    encode: Callable[[str], list[int]],
    keep: Callable[[str], bool] = lambda text: judge_story(text).ok,
) -> tuple[Tensor, Tensor]:
    """The reference of step 3, or with `keep` one that is taught by others."""
    rows = [torch.tensor(encode(text)) for text in stories if keep(text)]
    end = encode(END)[0]
    width = max(map(len, rows)) - 1
    x = torch.full((len(rows), width), end)
    y = torch.full((len(rows), width), -1)
    for n, row in enumerate(rows):
        x[n, : len(row) - 1], y[n, : len(row) - 1] = row[:-1], row[1:]
    return x, y


def _check_lessons(fn: Callable) -> Result:
    def targets(change: Callable[[Tensor, Tensor, int], Tensor]) -> Callable:
        def spoiled(stories: Texts, encode: Callable) -> tuple[Tensor, Tensor]:
            x, y = _lessons(stories, encode)
            return x, change(x, y, encode(END)[0])

        return spoiled

    return check(
        fn,
        cases=[([STORY, _AHEAD, _ROUNDABOUT, _TWICE], _encode)],
        right=_lessons,
        wrongs=[
            Wrong(
                "stories that fail are among the lessons: ask the judge",
                lambda stories, encode: _lessons(stories, encode, lambda text: True),
            ),
            Wrong(
                "only the stories that fail are lessons",
                lambda stories, encode: _lessons(
                    stories, encode, lambda text: not judge_story(text).ok
                ),
            ),
            Wrong(
                "the padding counts: its targets are -1",
                targets(lambda x, y, end: y.where(y >= 0, end)),
            ),
            Wrong(
                "<|end|> does not count any more, and with each lesson the model forgets to stop",
                targets(lambda x, y, end: y.where(y != end, -1)),
            ),
            Wrong(
                "not shifted: a target is the token after the one that is read",
                targets(lambda x, y, end: x),
            ),
        ],
        success="what the judge passed, and nothing else, is what the model reads next",
    )


__all__ = ["END", "START", "ends", "pen", "promise", "sound_beginning", "title", "titles"]
