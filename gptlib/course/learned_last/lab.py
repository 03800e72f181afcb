"""The lab on what is learned last: a question that only the title answers.

One job: `fair_probe`, which checks the lab's functions step by step. A question is
(prefix, right, wrong): a text up to a word, the word that stands there and another, each with the
character that ends it. What a rival without understanding could answer is refused, with its name.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from gptlib.corpora import load_corpus
from gptlib.course.checking import NOT_WRITTEN, Result, Wrong, attempt, check, failed, passed

Question = tuple[str, str, str]
Named = Callable[[Sequence[Question]], float]
Ask = Callable[[str], Question | None]
Twin = Callable[[str, str, str], Question]
ByPairs = Callable[[Sequence[float], Sequence[float]], tuple[float, float]]

#: The things of the village that take *a*, so that any two can change places.
THINGS = frozenset(
    "hat ham bell drum boot hook pie bun key cup coat soap pear bean jar pot map jug wig tub fork "
    "horn sock shoe rope cake net pan sled cart bag box clock chair ladder saddle kettle "
    "candle".split()
)
FEWEST = 30  # questions that an answer may rest on
REACH = 8  # letters before the question that the table of letters knows


def word(answer: str) -> str:
    """An answer without the character that ends it."""
    return answer.rstrip(" .,!?\n")


def times(text: str, name: str) -> int:
    """How often a word stands in a text, by itself and not inside another."""
    return len(re.findall(rf"\b{re.escape(name)}\b", text))


def fair_probe(
    named: Named | None = None,
    *,
    ask: Ask | None = None,
    twin: Twin | None = None,
    by_pairs: ByPairs | None = None,
) -> Result:
    """Check what is given, in the order of the lab's steps; the first fault is the answer.

    Args:
        named: questions to the share that goes to the word which was named more often.
        ask: a tale to a question about it, or None.
        twin: a question to the one in which its two words have changed places.
        by_pairs: log-odds of questions and of their twins to (share right, standard error).
    """
    checks: tuple[tuple[Callable[[Any], Result], Any], ...] = (
        (_named, named), (_ask, ask), (_twin, twin), (_by_pairs, by_pairs),
    )  # fmt: skip
    result = NOT_WRITTEN
    for judge, fn in checks:
        if fn is not None:
            result = judge(fn)
            if not result:
                return result
    return result


# --- step 1: a rival that only counts -------------------------------------------------------------


def _share(scores: Sequence[tuple[float, float]]) -> float:
    """The share of pairs (right, wrong) in which right is larger; a draw is half."""
    return sum((a > b) + 0.5 * (a == b) for a, b in scores) / len(scores)


def _named(fn: Named) -> Result:
    def by(count: Callable[[str, str], float], draw: float = 0.5) -> Named:
        def share(questions: Sequence[Question]) -> float:
            pairs = [(count(text, a), count(text, b)) for text, a, b in questions]
            return sum((a > b) + draw * (a == b) for a, b in pairs) / len(pairs)

        return share

    def whole(text: str, answer: str) -> int:
        return times(text, word(answer))

    texts = (
        "How Ada won the hat\nThat ham, that jar and that ham. And that is how Ada won the ",
        "How Bo hid the pie\nThe pie fell on the pies. And that is how Bo hid the ",
        "How Nan lost the cup\nNobody found a shoe. And that is how Nan lost the ",
        "How Tom ate the bun\nA key and a key. And that is how Tom ate the ",
        "How Sal sold the box\nAn axe sat near a map. And that is how Sal sold the ",
    )
    hat, pie, cup, bun, box = texts
    cases = [
        (
            [
                (hat, "hat.", "ham."),
                (pie, "pie.", "bean."),
                (cup, "cup.", "shoe."),
                (pie, "pie.", "jar."),
                (box, "box.", "map."),
            ],
        ),
        ([(bun, "bun.", "key."), (box, "box.", "map."), (cup, "cup.", "shoe.")],),
    ]
    right = by(whole)
    return check(
        fn,
        cases=cases,
        right=right,
        wrongs=[
            Wrong(
                "words inside words were counted: `hat` is in `that` and `pie` in `pies`; \\b in a "
                "pattern is the edge of a word",
                by(lambda text, answer: text.count(word(answer))),
            ),
            Wrong(
                "the answer was looked for together with the character that ends it, and `pie.` "
                "seldom stands there: cut its last character off",
                by(lambda text, answer: text.count(answer)),
            ),
            Wrong(
                "a draw was counted as won: who has counted two equal numbers has to toss a coin, "
                "and gets half",
                by(whole, draw=1.0),
            ),
            Wrong("a draw was counted as lost: it is worth half, as a coin's toss is",
                  by(whole, draw=0.0)),
            Wrong("the share of the wrong answers came back", lambda qs: 1 - right(qs)),
            Wrong("the number came back, not the share: divide by how many questions there are",
                  lambda qs: len(qs) * right(qs)),
            Wrong(
                "named or not was asked, not how often: twice is more than once",
                by(lambda text, answer: whole(text, answer) > 0),
            ),
        ],
        success="a rival that counts and has never heard of titles",
    )  # fmt: skip


# --- step 2: questions that no rival answers ------------------------------------------------------


@cache
def _village() -> tuple[str, tuple[str, ...]]:
    """The training text, and the tales of the validation text that have a title."""
    corpus, titled = load_corpus("tales"), re.compile(r"(How|Why|When) ")
    return corpus.train, tuple(text for text in corpus.val_documents if titled.match(text))


def tales() -> tuple[str, ...]:
    """The titled tales of the validation text, which no model here was trained on."""
    return _village()[1]


def asked(ask: Ask, texts: Sequence[str] | None = None) -> list[Question]:
    """The questions that `ask` makes of tales, by default those of the validation text."""
    made = (ask(text) for text in (tales() if texts is None else texts))
    return [question for question in made if question is not None]


def _ask(fn: Ask) -> Result:
    questions: list[Question] = []
    for text in tales():
        try:
            question = fn(text)
        except NotImplementedError:
            return NOT_WRITTEN
        except Exception as error:
            return failed(f"your function raised {type(error).__name__}: {error}")
        if question is ...:
            return NOT_WRITTEN
        if question is not None:
            if fault := _no_question(text, question):
                return failed(fault)
            questions.append(question)
    if not questions and attempt(fn, tales()[0]) is NOT_WRITTEN:
        return NOT_WRITTEN  # a stub, which returns None for every tale
    if len(questions) < FEWEST:
        return failed(
            f"{len(questions)} questions from {len(tales())} tales, and an error bar on so few "
            f"says nothing; {FEWEST} at least"
        )
    if fault := _answered_by(questions):
        return failed(fault)
    return passed(f"{len(questions)} questions, and no rival gets more than luck gives it")


def _no_question(text: str, question: object) -> str:
    """What is wrong with one question, or nothing."""
    if not (isinstance(question, tuple) and len(question) == 3):
        return "expected (prefix, right, wrong), three texts, or None"
    if not all(isinstance(part, str) and part for part in question):
        return "prefix, right and wrong are texts, and none of them is empty"
    prefix, right, wrong = question
    if not text.startswith(prefix):
        return "the prefix is the tale up to the question, from its first letter: text[:n]"
    if not text.startswith(right, len(prefix)):
        return (
            f"after the prefix the tale goes on with {text[len(prefix):][:8]!r}, and right is "
            f"{right!r}: the right answer is what stands there"
        )  # fmt: skip
    if word(right) == right or right[-1] != wrong[-1]:
        return (
            f"{right!r} or {wrong!r}: let both end with the character that follows in the tale, "
            "or `sock` is right where `socks` stands"
        )
    if word(right) == word(wrong):
        return f"right and wrong are both {right!r}"
    if not times(prefix, word(right)):
        return f"the cue is not in the text: {word(right)!r} stands nowhere before the question"
    if not times(prefix, word(wrong)):
        return (
            f"{word(wrong)!r} is named nowhere in the tale, so a rival that counts names is right: "
            "take a word that stands in this tale as well"
        )
    return ""


def _answered_by(questions: Sequence[Question]) -> str:
    """The first rival that answers the questions, and what gave them away; or nothing."""
    limit = 0.5 + 3 * math.sqrt(0.25 / len(questions))  # 3, for there are four rivals
    wins = Counter(word(right) for _, right, _ in questions)
    wins.subtract(word(wrong) for _, _, wrong in questions)

    def favorite(_: str, answer: str, is_right: bool) -> float:
        return wins[word(answer)] - (1 if is_right else -1)  # without this question itself

    def common(_: str, answer: str, is_right: bool) -> float:
        return times_in_training(answer)

    def count(prefix: str, answer: str, is_right: bool) -> float:
        return times(prefix, word(answer))

    rivals = (
        (favorite, "unbalanced: one that always prefers the answer that is right most often "
         "elsewhere, without reading, gets {share:.0%}; let each word be wrong about as often "
         "as it is right"),
        (common, "one that prefers the word which is more common in the village gets {share:.0%} "
         "(chapter 1's counts); do not always pick a rare wrong answer"),
        (count, "one that counts names gets {share:.0%}: take two words that stand equally often "
         "in the prefix"),
    )  # fmt: skip
    for rival, fault in rivals:
        share = _share([(rival(p, a, True), rival(p, b, False)) for p, a, b in questions])
        if share > limit:
            return fault.format(share=share)
    share = _share([_by_letters(*question) for question in questions])
    if share > limit:
        return (
            f"a table of the {REACH} letters before the question gets {share:.0%}: the cue stands "
            "too near, or right and wrong do not both fit there"
        )
    return ""


@cache
def times_in_training(answer: str) -> int:
    """How often an answer's word stands in the training text."""
    return times(_village()[0], word(answer))


@cache
def _follows(letters: str) -> int:
    return _village()[0].count(letters)


def _by_letters(prefix: str, right: str, wrong: str) -> tuple[int, int]:
    """Counts of both after as many of the last letters as the training text has seen with one."""
    for reach in range(REACH, 0, -1):
        counts = _follows(prefix[-reach:] + right), _follows(prefix[-reach:] + wrong)
        if any(counts):
            return counts
    return 0, 0


# --- step 3: twins, and what they are worth -------------------------------------------------------


def _twin(fn: Twin) -> Result:
    def by(change: Callable[[str, str, str], str], answers: bool = True) -> Twin:
        def made(prefix: str, right: str, wrong: str) -> Question:
            text = change(prefix, word(right), word(wrong))
            return (text, wrong, right) if answers else (text, right, wrong)

        return made

    def exchange(text: str, a: str, b: str) -> str:
        return re.sub(rf"\b({a}|{b})\b", lambda found: b if found[0] == a else a, text)

    def inside(text: str, a: str, b: str) -> str:
        return re.sub(f"({a}|{b})", lambda found: b if found[0] == a else a, text)

    def in_a_row(text: str, a: str, b: str) -> str:
        return re.sub(rf"\b{b}\b", a, re.sub(rf"\b{a}\b", b, text))

    def one_way(text: str, a: str, b: str) -> str:
        return re.sub(rf"\b{a}\b", b, text)

    def title_only(text: str, a: str, b: str) -> str:
        return exchange(text[: text.find("\n")], a, b) + text[text.find("\n") :]

    def second_only(text: str, a: str, b: str) -> str:
        return text[: text.find("\n")] + exchange(text[text.find("\n") :], a, b)

    return check(
        fn,
        cases=[
            ("How Ada won the hat\nThat hat fell on a ham. And that is how Ada won the ",
             "hat.", "ham."),
            ("Why Bo hid the pie\nThe bun fell, two pies sang and a bun won. And that is why Bo "
             "hid the ", "pie.", "bun."),
        ],
        right=by(exchange),
        wrongs=[
            Wrong(
                "one after the other: what the first replacement made, the second undoes, and one "
                "word is left for both; do both in one pass, or by way of a third word",
                by(in_a_row),
            ),
            Wrong(
                "one after the other, and the answers stayed: do both in one pass, and let right "
                "and wrong change places as well",
                by(in_a_row, answers=False),
            ),
            Wrong("the text is right, and the answers stayed as they were: in the twin the other "
                  "one is right", by(exchange, answers=False)),
            Wrong("the answers change places and the text stays: nothing has been asked anew",
                  by(lambda text, a, b: text)),
            Wrong("only one of the words was exchanged: now the other stands there for both, and "
                  "a rival that counts knows the answer", by(one_way)),
            Wrong("only the title changed: the counts are no longer equal, so a rival that counts "
                  "can answer", by(title_only)),
            Wrong("only what stands after the title changed: then the same answer is still right",
                  by(second_only)),
            Wrong("letters inside other words were exchanged too, as `hat` in `that`: \\b is the "
                  "edge of a word", by(inside)),
        ],
        success="the same tale, and the other answer is right",
    )  # fmt: skip


def _by_pairs(fn: ByPairs) -> Result:
    def points(first: Sequence[float], second: Sequence[float]) -> list[float]:
        return [((a > 0) + (b > 0)) / 2 for a, b in zip(first, second, strict=True)]

    def share(first: Sequence[float], second: Sequence[float]) -> float:
        return statistics.fmean(points(first, second))

    def with_error(error: Callable[[list[float]], float]) -> ByPairs:
        return lambda first, second: (share(first, second), error(points(first, second)))

    def answers(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
        a = share(first, second)
        return a, math.sqrt(a * (1 - a) / (2 * len(first)))

    def both(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
        found = [float(a > 0 and b > 0) for a, b in zip(first, second, strict=True)]
        return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))

    def mean_odds(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
        found = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
        return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))

    return check(
        fn,
        cases=[
            ([3.0, -1.0, 2.0, 4.0, 0.5], [1.0, -2.0, -0.5, 3.0, 1.5]),
            ([1.0, -3.0, 2.0, -0.2], [-1.0, 3.0, -2.0, 0.2]),
        ],
        right=with_error(lambda found: statistics.stdev(found) / math.sqrt(len(found))),
        wrongs=[
            Wrong(
                "the error is that of 2n answers that know nothing of each other; a question and "
                "its twin do: give each pair its mean, 0, ½ or 1, and take the scatter of the n "
                "means",
                answers,
            ),
            Wrong("that is how single pairs scatter; their mean strays by √n less",
                  with_error(statistics.stdev)),
            Wrong("divided by n inside the root: the mean was fitted to these pairs, so n − 1",
                  with_error(lambda found: statistics.pstdev(found) / math.sqrt(len(found)))),
            Wrong("divided by 2n: twins are no new tales, so there are n of them",
                  with_error(lambda found: statistics.stdev(found) / math.sqrt(2 * len(found)))),
            Wrong("a pair counted only if both answers are right: one of two is worth a half, "
                  "which is what a reader without the cue has every time", both),
            Wrong("a mean of log-odds: count how many are above 0", mean_odds),
        ],
        success="by pairs: one half, exactly, for whatever does not read the exchanged words",
        tolerance=1e-9,
    )  # fmt: skip
