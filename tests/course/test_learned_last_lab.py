"""The lab on what is learned last: each step's right answer passes, and each mistake is named."""

import math
import re
import statistics

import pytest

from gptlib.course.learned_last import lab


def share(count=lambda text, word: len(re.findall(rf"\b{word}\b", text)), draw=0.5, cut=-1):
    def named(questions):
        points = 0
        for prefix, right, wrong in questions:
            a, b = count(prefix, right[:cut]), count(prefix, wrong[:cut])
            points += (a > b) + draw * (a == b)
        return points / len(questions)

    return named


def ask(text, pick=-1, thing_of=lambda words, thing: lab.THINGS - {thing}):
    found = re.search(r"And that is \w+ .* the (\w+)\.", text)
    prefix, thing = text[: found.start(1)], found[1]
    words = re.findall(r"\w+", prefix)
    others = [
        w for w in words if w in thing_of(words, thing) and words.count(w) == words.count(thing)
    ]
    if thing in lab.THINGS and others:
        return prefix, thing + ".", others[pick] + "."
    return None


def twin(prefix, right, wrong):
    a, b = right[:-1], wrong[:-1]
    return re.sub(rf"\b({a}|{b})\b", lambda m: b if m[0] == a else a, prefix), wrong, right


def by_pairs(first, second):
    points = [((a > 0) + (b > 0)) / 2 for a, b in zip(first, second, strict=True)]
    return statistics.fmean(points), statistics.stdev(points) / math.sqrt(len(points))


def test_the_right_answers_pass_step_by_step():
    assert lab.fair_probe(share()).passed is True
    result = lab.fair_probe(share(), ask=ask)
    assert result.passed is True and "no rival" in result.message, result
    assert lab.fair_probe(share(), ask=ask, twin=twin).passed is True
    assert lab.fair_probe(share(), ask=ask, twin=twin, by_pairs=by_pairs).passed is True


def test_a_stub_is_not_written_yet():
    def stub(*_): ...

    assert lab.fair_probe(stub).passed is None
    assert lab.fair_probe(share(), ask=stub).passed is None
    assert lab.fair_probe(share(), ask=ask, twin=stub).passed is None
    assert lab.fair_probe(share(), ask=ask, twin=twin, by_pairs=stub).passed is None
    assert lab.fair_probe().passed is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (share(count=str.count), "words inside words"),
        (share(count=str.count, cut=None), "character that ends it"),
        (share(draw=1), "draw was counted as won"),
        (share(draw=0), "draw was counted as lost"),
        (lambda qs: 1 - share()(qs), "share of the wrong"),
        (lambda qs: len(qs) * share()(qs), "divide by"),
        (share(count=lambda t, w: bool(re.search(rf"\b{w}\b", t))), "not how often"),
        (3, "expected a function"),
    ],
)
def test_a_wrong_rival_is_named(answer, words):
    result = lab.fair_probe(answer)
    assert result.passed is False and words in result.message, result


def changed(change):
    """The right questions, each changed."""

    def made(text):
        question = ask(text)
        return question and change(text, *question)

    return made


def partner(text):
    """The hole that the lab begins with: a wrong answer that the tale never named."""
    question = ask(text)
    absent = sorted(lab.THINGS - set(re.findall(r"\w+", text)))
    return question and (question[0], question[1], absent[0] + ".")


def she_or_he(text):
    """Nearly always right by the letters before it, and unbalanced."""
    found = re.search(r"And that is (how|why|when) ", text)
    title = re.match(r"(How|Why|When)", text)[0]
    prefix = text[: found.start(1)]
    return prefix, found[1] + " ", ("why " if title != "Why" else "how ")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (partner, "named nowhere in the tale"),
        (changed(lambda text, p, r, w: (p[20:], r, w)), "from its first letter"),
        (changed(lambda text, p, r, w: (p, w, r)), "what stands there"),
        (changed(lambda text, p, r, w: (p, r[:-1], w[:-1])), "character that follows"),
        (changed(lambda text, p, r, w: (p, r, r)), "are both"),
        (changed(lambda text, p, r, w: [p, r, w]), "three texts"),
        (changed(lambda text, p, r, w: (p, r, "")), "none of them is empty"),
        (lambda text: (text[:3], text[3:4], "x"), "let both end"),
        (she_or_he, "cue is not in the text"),
        (lambda text: ask(text) if text.startswith("Why") else None, "so few"),
        (lambda text: None if text else 0, "so few"),
        (lambda text: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_question_that_anybody_answers_is_refused(answer, words):
    result = lab.fair_probe(share(), ask=answer)
    assert result.passed is False and words in result.message, result


def question(n, right, wrong):
    return f"{n} {right} {wrong} the ", right + ".", wrong + "."


def test_unbalanced_questions_are_refused():
    questions = [question(n, "pot", "pan") for n in range(28)]
    assert "unbalanced" in lab._answered_by([*questions, question(9, "pan", "pot")])


def test_questions_that_counting_answers_are_refused():
    questions = [
        (f"{n} {a} {a} {b} the ", a + ".", b + ".")
        for n in range(20)
        for a, b in (("pot", "pan"), ("pan", "pot"))
    ]
    assert "one that counts names gets 100%" in lab._answered_by(questions)


def test_common_answers_are_refused():
    rare, common = ["candle", "kettle", "saddle", "ladder", "chair"], ["hat", "ham", "bell", "drum"]
    questions = [question(0, c, r) for c in common for r in rare for _ in range(2)]
    questions += [question(0, r, c) for c in common[:1] for r in rare]
    fault = lab._answered_by(questions)
    assert "unbalanced" in fault or "more common" in fault


def test_a_table_of_letters_is_a_rival():
    questions = [
        (f"{w} {r}. Sal sang at noon on {place} with", f" {r} ", f" {w} ")
        for place in ("Sunday", "foot") for r, w in (("a", "zz"), ("ten", "qq"))
    ]  # fmt: skip
    assert all(a > b for a, b in (lab._by_letters(*q) for q in questions))


def exchanged(pattern):
    return lambda p, a, b: re.sub(
        pattern.format(a=a[:-1], b=b[:-1]), lambda m: b[:-1] if m[0] == a[:-1] else a[:-1], p
    )


def replaced(text, a, b):
    return re.sub(rf"\b{a[:-1]}\b", b[:-1], text)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda p, r, w: (replaced(replaced(p, r, w), w, r), w, r), "one after the other"),
        (lambda p, r, w: (replaced(replaced(p, r, w), w, r), r, w), "and the answers stayed"),
        (lambda p, r, w: (twin(p, r, w)[0], r, w), "stayed as they were"),
        (lambda p, r, w: (p, w, r), "nothing has been asked anew"),
        (lambda p, r, w: (replaced(p, r, w), w, r), "only one of the words"),
        (lambda p, r, w: (exchanged("({a}|{b})")(p, r, w), w, r), "inside other words"),
        (lambda p, r, w: (twin(p[:20], r, w)[0] + p[20:], w, r), "only the title"),
        (lambda p, r, w: (p[:20] + twin(p[20:], r, w)[0], w, r), "after the title"),
    ],
)
def test_a_wrong_twin_is_named(answer, words):
    result = lab._twin(answer)
    assert result.passed is False and words in result.message, result


def points(first, second):
    return [((a > 0) + (b > 0)) / 2 for a, b in zip(first, second, strict=True)]


def with_error(error):
    return lambda f, s: (statistics.fmean(points(f, s)), error(points(f, s)))


def as_answers(first, second):
    a = statistics.fmean(points(first, second))
    return a, math.sqrt(a * (1 - a) / (2 * len(first)))


def both_right(first, second):
    found = [float(a > 0 and b > 0) for a, b in zip(first, second, strict=True)]
    return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))


def mean_odds(first, second):
    found = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (as_answers, "2n answers"),
        (with_error(statistics.stdev), "strays by"),
        (with_error(lambda x: statistics.pstdev(x) / math.sqrt(len(x))), "so n − 1"),
        (with_error(lambda x: statistics.stdev(x) / math.sqrt(2 * len(x))), "no new tales"),
        (both_right, "worth a half"),
        (mean_odds, "mean of log-odds"),
    ],
)
def test_a_wrong_error_bar_is_named(answer, words):
    result = lab._by_pairs(answer)
    assert result.passed is False and words in result.message, result


def test_whatever_does_not_read_the_words_gets_a_half_and_no_error():
    assert by_pairs([1.0, -2, 3, -4], [-1.0, 2, -3, 4]) == (0.5, 0)
