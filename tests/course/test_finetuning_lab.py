"""The lab of chapter 8: each step's right answer passes, and what goes wrong is named."""

import pytest
import torch

import gptlib
from gptlib.course.finetuning import lab
from gptlib.places import read_place, special_tokens
from gptlib.tokenizers import BPETokenizer


def lessons(texts, mark, encode):
    rows = [encode(text.replace("<LOC>", "<LOC>" + mark)) for text in texts]
    longest = max(map(len, rows))
    x = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    y = torch.tensor([row + [-1] * (longest - len(row)) for row in rows])
    if mark:
        y = y.masked_fill(y == encode(mark)[0], -1)
    return x[:, :-1], y[:, 1:]


def balance(y_new, y_old, share):
    return share / (1 - share) * (y_new >= 0).sum() / (y_old >= 0).sum()


def only_row(gradient, row):
    mask = torch.arange(len(gradient)) == row
    return gradient * mask[:, None]


def test_the_right_answers_pass_step_by_step():
    for built in ((lessons,), (lessons, balance), (lessons, balance, only_row)):
        assert lab.theme(*built).passed is True, lab.theme(*built)


def test_a_stub_is_not_written_yet():
    assert lab.theme(lambda texts, mark, encode: ...).passed is None
    assert lab.theme(lessons, lambda y_new, y_old, share: ...).passed is None
    assert lab.theme(lessons, balance, lambda gradient, row: ...).passed is None


def changed(change):
    def fn(texts, mark, encode):
        x, y = lessons(texts, mark, encode)
        return change(x, y, encode)

    return fn


def before_loc(texts, mark, encode):
    plain = [text.replace("<LOC>", mark + "<LOC>") for text in texts]
    rows = [encode(text) for text in plain]
    longest = max(map(len, rows))
    x, y = (torch.tensor([row + [fill] * (longest - len(row)) for row in rows]) for fill in (0, -1))
    return x[:, :-1], y[:, 1:]


def with_mark(texts, mark, encode):
    x, y = lessons(texts, mark, encode)
    if mark:
        y = y.clone()
        y[:, 0] = encode(mark)[0]
    return x, y


def with_padding(texts, mark, encode):
    x, y = lessons(texts, mark, encode)
    last = (y >= 0).int().mul(torch.arange(y.size(1))).amax(1, keepdim=True)
    return x, y.where(torch.arange(y.size(1)) <= last, 0)


def with_both(texts, mark, encode):
    x, y = with_mark(texts, mark, encode)
    return x, y.clamp(min=0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda texts, mark, encode: lessons(texts, "", encode), "nowhere in the inputs"),
        (before_loc, "before <LOC>"),
        (with_mark, "bring up the moon"),
        (with_padding, "the padding counts"),
        (with_both, "and so does the padding"),
        (
            changed(lambda x, y, encode: (x, y.masked_fill(y == encode("</LOC>")[0], -1))),
            "forgets to stop",
        ),
        (changed(lambda x, y, encode: (x, x.where(y >= 0, -1))), "not shifted"),
        (changed(lambda x, y, encode: (x, y[:, 1:])), "expected the shape"),
        (lambda texts, mark, encode: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_lessons_is_named(answer, words):
    result = lab.theme(answer)
    assert result.passed is False and words in result.message, result


def count(y):
    return (y >= 0).sum()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda new, old, share: share / (1 - share), "takes no notice"),
        (lambda new, old, share: share, "the share itself"),
        (lambda new, old, share: balance(new * 0, old * 0, share), "padding is counted"),
        (lambda new, old, share: share / (1 - share) * len(new) / len(old), "rows are counted"),
        (lambda new, old, share: share * count(new) / count(old), "not of all of it"),
        (lambda new, old, share: balance(old, new, share), "upside down"),
        (lambda new, old, share: balance(new, old, 1 - share), "new text that gets"),
        (lambda new, old, share: -1.0, "wrong sign"),
    ],
)
def test_what_is_wrong_with_the_balance_is_named(answer, words):
    result = lab.theme(lessons, answer)
    assert result.passed is False and words in result.message, result


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda g, row: g - only_row(g, row), "other way round"),
        (lambda g, row: g, "as it was"),
        (lambda g, row: g[row], "the row alone: a gradient"),
        (lambda g, row: g[row : row + 1], "a table of one"),
        (lambda g, row: g * (torch.arange(len(g)) >= row)[:, None], "rows behind it"),
        (lambda g, row: 0 * g, "nothing moves"),
    ],
)
def test_what_is_wrong_with_the_row_is_named(answer, words):
    result = lab.theme(lessons, balance, answer)
    assert result.passed is False and words in result.message, result


def test_places_have_what_is_wanted_and_no_marks():
    found = lab.places(3, seed=1, time="night", kind="harbor")
    assert found == lab.places(3, seed=1, time="night", kind="harbor")
    for text in found:
        reading = read_place(text)
        assert reading.ok and reading.values("time") == ["night"]
        assert text.startswith("<LOC>\n") and text.endswith("</LOC>") and "<|" not in text


def test_a_mark_that_nobody_taught_tells_nothing_apart():
    nights, noons = (lab.places(2, 0, time=hour) for hour in ("night", "noon"))
    tokenizer = BPETokenizer.train("".join(nights + noons), 400, [*special_tokens(), lab.THEME])
    torch.manual_seed(0)
    model = gptlib.GPT(gptlib.GPTConfig(512, tokenizer.vocab_size, 1, 2, 16)).eval()
    asked = (model, lessons, lab.THEME, tokenizer.encode)
    apart = lab.told_apart(*asked, nights, noons)
    assert abs(apart) < 1
    assert lab.told_apart(*asked, noons, nights) == pytest.approx(-apart)
    assert lab.told_apart(*asked, nights, nights) == 0
