"""Chapter 9's exercise on leaks, and its small novel: beats for each chunk, and one leak."""

from check_promises import CheckPromises

from gptlib.beats import chunks_of, find_leaks, overlap, split_by_chapter
from gptlib.course.beats import checks, novel


def low(words):
    return [word.lower() for word in words]


def runs(test, train):
    """(length, place) of the run that begins at each place of one with each place of the other."""
    for i in range(len(test)):
        for j in range(len(train)):
            n = 0
            while test[i + n : i + n + 1] and test[i + n : i + n + 1] == train[j + n : j + n + 1]:
                n += 1
            yield n, i


def right(test, train):
    best = max((n for n, _ in runs(low(test), low(train))), default=0)
    place = next((i for n, i in runs(low(test), low(train)) if n == best), 0)
    return test[place : place + best]


def with_capitals(test, train):
    best = max((n for n, _ in runs(test, train)), default=0)
    place = next((i for n, i in runs(test, train) if n == best), 0)
    return test[place : place + best]


def first_run(test, train):
    n, i = next(((n, i) for n, i in runs(low(test), low(train)) if n), (0, 0))
    return test[i : i + n]


def same_places(test, train):
    best: list[str] = []
    now: list[str] = []
    for a, b in zip(test, train, strict=False):
        now = [*now, a] if a.lower() == b.lower() else []
        best = now if len(now) > len(best) else best
    return best


def subsequence(test, train):
    if not test or not train:
        return []
    if test[0].lower() == train[0].lower():
        return [test[0], *subsequence(test[1:], train[1:])]
    return max(subsequence(test[1:], train), subsequence(test, train[1:]), key=len)


def in_common(test, train):
    return [word for word in test if word.lower() in low(train)]


class TestChecks(CheckPromises):
    module = checks
    right = ((checks.longest_run, right),)
    wrong = (
        (checks.longest_run, in_common, "in a row or not"),
        (checks.longest_run, subsequence, "subsequence"),
        (checks.longest_run, same_places, "same place"),
        (checks.longest_run, first_run, "not the longest"),
        (checks.longest_run, with_capitals, "without capitals"),
        (checks.longest_run, lambda a, b: low(right(a, b)), "in small letters"),
    )


def test_the_novel_has_beats_for_each_chunk():
    pairs = novel.pairs()
    assert len(pairs) == 20 and len({pair.chapter for pair in pairs}) == 10
    assert [pair.prose for pair in pairs] == [c.text for c in chunks_of(novel.novel(), novel.WORDS)]
    assert all(1 <= len(pair.beats) <= 3 for pair in pairs)
    assert max(overlap([pair.beats[0]], pair.prose)[0] for pair in pairs) > 0.5


def test_the_letter_is_the_only_leak_between_chapters():
    pairs = novel.pairs()
    found = {
        (leak.train.chapter, leak.test.chapter, leak.length)
        for pair in pairs
        for leak in find_leaks([p for p in pairs if p.chapter != pair.chapter], [pair])
    }
    letter, reading = "Chapter 3. The Letter", "Chapter 8. Castell"
    assert found == {(letter, reading, 22), (reading, letter, 22)}


def test_two_chapters_of_ten_are_held_out():
    sides = split_by_chapter(novel.pairs(), seed=0)
    assert [len(side) for side in sides.values()] == [16, 2, 2]
