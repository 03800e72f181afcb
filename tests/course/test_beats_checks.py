"""Chapter 9's exercises on its data, and its small novel: beats for each chunk, and one leak."""

from check_promises import CheckPromises

from gptlib.beats import chunks_of, find_leaks, overlap, split_by_chapter
from gptlib.course.beats import checks, novel
from gptlib.course.beats.chat_form import BEGIN, HEAD, HEAD_END, TURN_END, encode, written


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


def hold_out(chapters, n):
    seen = []
    for chapter in chapters:
        if chapter not in seen:
            seen.append(chapter)
    return [chapter in seen[len(seen) - n :] for chapter in chapters]


def from_the_first_on(chapters, n):
    held = hold_out(chapters, n)
    return [any(held[: place + 1]) for place in range(len(held))]


def by_their_ends(chapters, n):
    last = {chapter: place for place, chapter in enumerate(chapters)}
    late = sorted(last, key=last.__getitem__)[-n:]
    return [chapter in late for chapter in chapters]


def asked(messages, encode):
    text = "".join(written(message["role"], message["content"]) for message in messages)
    return encode(text + HEAD + "assistant" + HEAD_END + "\n\n")


def spoil_text(change):
    """A learner's prompt whose text was changed before it was encoded."""
    return lambda messages, encode: asked(messages, lambda text: encode(change(text)))


def begin_each(messages, encode):
    turns = [piece for m in messages for piece in encode(written(m["role"], m["content"]))]
    return turns + encode(f"{HEAD}assistant{HEAD_END}\n\n", special=False)


def no_header(text):
    return text[: text.rindex(HEAD)]


class TestChecks(CheckPromises):
    module = checks
    right = (
        (checks.longest_run, right),
        (checks.hold_out, hold_out),
        (checks.asked, asked),
        (
            checks.asked,
            lambda messages, encode: asked(messages, lambda t: encode(BEGIN + t, special=False)),
        ),
    )
    wrong = (
        (checks.hold_out, lambda c, n: [k + n >= len(c) for k in range(len(c))], "not so many"),
        (checks.hold_out, from_the_first_on, "from the first held-out one on"),
        (
            checks.hold_out,
            lambda c, n: [x in list(dict.fromkeys(c))[:n] for x in c],
            "the first ch",
        ),
        (checks.hold_out, lambda c, n: [not held for held in hold_out(c, n)], "True is what"),
        (checks.hold_out, lambda c, n: [x in sorted({*c})[-n:] for x in c], "sorts before"),
        (checks.hold_out, by_their_ends, "its last chunk"),
        (
            checks.hold_out,
            lambda c, n: [k for k, held in enumerate(hold_out(c, n)) if held],
            "for every chunk",
        ),
        (checks.asked, spoil_text(lambda text: BEGIN + text), "two begins"),
        (
            checks.asked,
            lambda messages, encode: asked(messages, lambda text: encode(text, special=False)),
            "never read a text without it",
        ),
        (checks.asked, begin_each, "before every turn"),
        (checks.asked, spoil_text(no_header), "generation prompt"),
        (checks.asked, spoil_text(lambda text: text + TURN_END), "closed before"),
        (checks.asked, spoil_text(lambda text: text[:-2]), "blank line"),
        (checks.asked, spoil_text(lambda text: text.replace(TURN_END, "")), "no turn was ended"),
        (checks.asked, lambda messages, encode: asked(messages[-1:], encode), "only the last"),
        (checks.longest_run, in_common, "in a row or not"),
        (checks.longest_run, subsequence, "subsequence"),
        (checks.longest_run, same_places, "same place"),
        (checks.longest_run, first_run, "not the longest"),
        (checks.longest_run, with_capitals, "without capitals"),
        (checks.longest_run, lambda a, b: low(right(a, b)), "in small letters"),
    )


def test_the_stand_in_for_a_tokenizer_keeps_marks_whole():
    text = written("user", "- A bell.")
    assert "".join(encode(text)) == BEGIN + text
    assert encode(text, special=False)[:5] == [HEAD, "u", "s", "e", "r"]


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
