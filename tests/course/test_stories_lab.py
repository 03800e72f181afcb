"""The lab of chapter 7: each step's right answer passes, and what goes wrong is named."""

import pytest
import torch

import gptlib
from gptlib.course.stories import checks, lab
from gptlib.evaluation import judge_prefix, judge_story
from gptlib.stories import END, special_tokens
from gptlib.tokenizers import BPETokenizer


def failing(texts):
    return [i for i, text in enumerate(texts) if not judge_story(text).ok]


def mend(texts, draw, rounds, keep):
    texts, tokens, bad = list(texts), 0, failing(texts)
    while bad and rounds:
        for i, (text, n) in zip(bad, draw([keep(texts[i]) for i in bad]), strict=True):
            texts[i] = text
            tokens += n
        bad, rounds = failing(texts), rounds - 1
    return texts, tokens


def sound(text):
    good = lab.title(text)
    for end in lab.ends(text)[1:]:
        if not judge_prefix(text[:end]).ok:
            break
        good = text[:end]
    return good


def targets(ids, start, end):
    """Exercise 7.3."""
    padding = (ids[1:] == end) & (ids[:-1] == end)
    return ids[1:].masked_fill((ids[1:] == start) | padding, -1)


def lessons(stories, encode):
    rows = [encode(story) for story in stories if judge_story(story).ok]
    start, end = encode(lab.START)[0], encode(END)[0]
    longest = max(map(len, rows))
    full = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
    return full[:, :-1], torch.stack([targets(row, start, end) for row in full])


def test_the_right_answers_pass_step_by_step():
    for built in ((mend,), (mend, sound), (mend, sound, lessons)):
        assert lab.promise(*built).passed is True, lab.promise(*built)


def test_a_stub_is_not_written_yet():
    assert lab.promise(lambda texts, draw, rounds, keep: ...).passed is None
    assert lab.promise(mend, lambda text: ...).passed is None
    assert lab.promise(mend, sound, lambda stories, encode: ...).passed is None


def everything(texts, draw, rounds, keep):
    tokens = 0
    for _ in range(rounds):
        drawn = draw([keep(text) for text in texts])
        texts, tokens = [t for t, _ in drawn], tokens + sum(n for _, n in drawn)
    return texts, tokens


def by_another(keeps):
    return lambda texts, draw, rounds, keep: mend(texts, draw, rounds, keeps)


def same_rows(texts, draw, rounds, keep):
    """Draws in each round for all that failed at first."""
    texts, tokens, bad = list(texts), 0, failing(texts)
    for _ in range(rounds):
        for i, (text, n) in zip(bad, draw([keep(texts[i]) for i in bad]), strict=True):
            texts[i], tokens = text, tokens + n
    return texts, tokens


def never_stops(texts, draw, rounds, keep):
    texts, tokens = list(texts), 0
    for _ in range(rounds):
        bad = failing(texts)
        for i, (text, n) in zip(bad, draw([keep(texts[i]) for i in bad]), strict=True):
            texts[i], tokens = text, tokens + n
    return texts, tokens


def last_round_only(texts, draw, rounds, keep):
    last = []

    def counted(asked):
        last.append(draw(asked))
        return last[-1]

    texts, _ = mend(texts, counted, rounds, keep)
    return texts, sum(n for _, n in last[-1])


def spoil(change):
    return lambda *args: change(*mend(*args))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (everything, "stories that hold were written again"),
        (by_another(lambda text: text), "got a failed story whole"),
        (by_another(lab.title), "something else than what keep makes"),
        (lambda t, d, rounds, k: mend(t, d, rounds + 1, k), "more rounds"),
        (lambda t, d, rounds, k: mend(t, d, rounds - 1, k), "fewer rounds"),
        (never_stops, "no text to go on with"),
        (same_rows, "more rounds"),
        (last_round_only, "tokens are missing"),
        (spoil(lambda texts, tokens: (texts[::-1], tokens)), "the order is lost"),
        (spoil(lambda texts, tokens: (texts, tokens + 1)), "not the sum"),
        (spoil(lambda texts, tokens: texts), "return two things"),
        (lambda texts, draw, rounds, keep: (texts, 0), "never called"),
        (lambda texts, draw, rounds, keep: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_mending_is_named(answer, words):
    result = lab.promise(answer)
    assert result.passed is False and words in result.message, result


def one_more(text):
    good = len(sound(text))
    return text[: next((end for end in lab.ends(text) if end > good), good)]


def before_the_verdict(text):
    verdict = judge_story(text)
    return text if verdict.ok else text[: text.index(verdict.sentence)].strip()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda text: text, "as it was"),
        (one_more, "still in it"),
        (lambda text: text[: max([e for e in lab.ends(text) if e < len(sound(text))],
                                 default=len(lab.title(text)))], "one sentence too few"),
        (lambda text: sound(text).removesuffix(END), "its <|end|> too"),
        (lambda text: text if judge_story(text).ok else lab.title(text), "ask judge_prefix"),
        (lambda text: text if judge_prefix(text).ok else sound(text), "half of it"),
        (before_the_verdict, "second place"),
        (lambda text: sound(text).removeprefix(lab.title(text)), "title was lost"),
        (lambda text: 3, "found the number"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_beginning_is_named(answer, words):
    result = lab.promise(mend, answer)
    assert result.passed is False and words in result.message, result


def with_targets(change):
    def fn(stories, encode):
        x, y = lessons(stories, encode)
        return x, change(x, y, encode(END)[0])

    return fn


def taught_by(keep):
    def fn(stories, encode):
        rows = [encode(story) for story in stories if keep(story)]
        longest, end = max(map(len, rows)), encode(END)[0]
        full = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
        again = (full[:, 1:] == end) & (full[:, :-1] == end)
        return full[:, :-1], full[:, 1:].masked_fill(again, -1)

    return fn


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (taught_by(lambda story: True), "stories that fail are among"),
        (taught_by(lambda story: not judge_story(story).ok), "only the stories that fail"),
        (with_targets(lambda x, y, end: y.masked_fill(y == -1, end)), "padding counts"),
        (with_targets(lambda x, y, end: y.masked_fill(y == end, -1)), "forgets to stop"),
        (with_targets(lambda x, y, end: x), "not shifted"),
        (with_targets(lambda x, y, end: y[:, 1:]), "expected the shape"),
    ],
)
def test_what_is_wrong_with_lessons_is_named(answer, words):
    result = lab.promise(mend, sound, answer)
    assert result.passed is False and words in result.message, result


def test_exercise_and_step_say_the_same_of_targets():
    assert checks.story_targets(targets).passed is True
    assert lab.promise(mend, sound, lessons).passed is True  # which takes its targets from there


def test_the_pen_writes_on_in_one_pass_and_counts_what_it_drew():
    prompts = lab.titles(5, seed=1)
    assert all(text.endswith("</|title|>") for text in prompts)
    tokenizer = BPETokenizer.train(lab.STORY, 300, special_tokens())
    torch.manual_seed(0)
    model = gptlib.GPT(gptlib.GPTConfig(96, tokenizer.vocab_size, 1, 2, 16)).eval()
    written = lab.pen(model, tokenizer, seed=3)(prompts)
    assert written == lab.pen(model, tokenizer, seed=3)(prompts)
    pen = lab.pen(model, tokenizer, seed=3)
    assert pen(prompts) == written and pen(prompts) != written
    room = 96 - max(len(tokenizer.encode(prompt)) for prompt in prompts)
    for prompt, (text, n) in zip(prompts, written, strict=True):
        assert text.startswith(prompt) and 1 <= n <= room
        assert text.endswith(END) or n == room
        assert text.removeprefix(prompt).count(END) <= 1
    one = lab.pen(model, tokenizer, temperature=0.0)(prompts[:1])
    assert one[0][0].startswith(prompts[0])


def test_a_text_is_cut_only_where_sentences_end():
    cuts = [lab.STORY[:end] for end in lab.ends(lab.STORY)]
    assert cuts[0] == lab.title(lab.STORY) and cuts[-1] == lab.STORY
    assert all(cut.endswith((".", '"', "?", "!", ">")) for cut in cuts)
    assert all(judge_prefix(cut).ok for cut in cuts)
    assert [sound(text) for text in cuts] == cuts
