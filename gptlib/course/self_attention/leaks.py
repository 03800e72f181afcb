"""What the lab's check looks for: reports that miss a leak or see one too many, and the rest.

One job: judge each thing that the lab has built, and name the mistake behind what is wrong.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gptlib.course.answers import describe, number
from gptlib.course.checking import (
    NOT_WRITTEN,
    Result,
    Wrong,
    attempt,
    check,
    failed,
    passed,
)
from gptlib.course.self_attention import lab
from gptlib.model import naive_attention

#: What reaches back in each head: the letters of a later token that move an earlier output.
_LEAKS = {"ben": "k", "ivo": "", "nora": "kv", "sal": "q"}


def _open(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return naive_attention(q, k, v, causal=False)


def _prefix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The first three tokens see one another, and all is masked as it should be after them."""
    outputs = naive_attention(q, k, v)
    first = _open(*(x[..., :3, :] for x in (q, k, v)))
    return torch.cat([first, outputs[..., 3:, :]], dim=-2)


_CASES = (
    (naive_attention, 6, "qkv"),
    (_open, 6, "qkv"),
    *((head, 6, "qkv") for head in lab.HEADS.values()),
    (_prefix, 7, "qkv"),
    (lab.ben, 5, "v"),
    (lab.sal, 5, "k"),
)


def _report(
    head: lab.Head, T: int, parts: str, change: float = 1.0, heads: slice = slice(None)
) -> Tensor:
    """Return (T, T) bool: whether output s, a row, moves when the parts of token t change."""
    dice = torch.Generator().manual_seed(0)
    moved = torch.zeros(T, T)
    for _ in range(5):
        qkv = torch.randn(3, 1, 2, T, 8, generator=dice)
        other = torch.randn(3, 1, 2, T, 8, generator=dice)
        for t in range(T):
            changed = qkv.clone()
            for n in ("qkv".index(part) for part in parts):
                changed[n, ..., t, :] += change * other[n, ..., t, :]
            moves = (head(*changed) - head(*qkv))[:, heads].abs().amax((0, 1, 3))  # (T,)
            moved[:, t] = torch.maximum(moved[:, t], moves)
    return moved > 1e-4


def _column(head: lab.Head, T: int, parts: str) -> Tensor:
    return _report(head, T, parts) & (torch.arange(T) == T - 1)


def _only(better: Callable[[Tensor, Tensor], bool]) -> Callable[..., bool]:
    """A test of a wrong report against the right one, both (T, T) of True and False."""

    def when(got: Any, head: lab.Head, T: int, parts: str) -> bool:
        right = _report(head, T, parts)
        return got.shape == right.shape and got.dtype == torch.bool and better(got, right)

    return when


def _misses_the_next(got: Tensor, right: Tensor) -> bool:
    missing, next_ones = right & ~got, torch.ones_like(right).triu(1).tril(1)
    return bool(missing.any()) and not bool((missing & ~next_ones).any() or (got & ~right).any())


def _blames_ivo(got: Any, head: lab.Head, T: int, parts: str) -> bool:
    return head is lab.ivo and bool((got & ~_report(head, T, parts)).any())


_WRONG_REPORTS = (
    Wrong(
        "found numbers where True and False are expected: say which moves are larger than what "
        "rounding does, 1e-4 say",
        when=lambda got, *_: got.is_floating_point() and not bool(((got == 0) | (got == 1)).all()),
    ),
    Wrong(
        "nothing moves, not even the output of the token that you changed: is what you add zero, "
        "or did you change a copy and hand over the original?",
        lambda head, T, parts: torch.zeros(T, T, dtype=torch.bool),
    ),
    Wrong(
        "you changed q, k and v together, whatever parts says: each must be changed alone to learn "
        "which of them leaks",
        lambda head, T, parts: _report(head, T, "qkv"),
    ),
    Wrong(
        "everything moves, whatever was changed: the two runs differ in more than token t; start "
        "both from the same q, k and v, and undo a change before the next",
        lambda head, T, parts: torch.ones(T, T, dtype=torch.bool),
    ),
    Wrong(
        "a head that is right is blamed, and only one whose arithmetic rounds differently when the "
        "window does: outputs that differ in their seventh digit have not moved; ask for 1e-4",
        when=_blames_ivo,
    ),
    Wrong(
        "rows and columns have changed places: row s is the output that moves, column t the token "
        "that was changed",
        lambda *case: _report(*case).T,
    ),
    Wrong(
        "you changed the last token only: a mask may be right there and wrong earlier; change each "
        "of the T tokens in turn, one column of the report for each",
        _column,
    ),
    Wrong(
        "you looked at one head of two, and the other leaks: give them H = 2, and let an output "
        "count as moved if any number of any head moves",
        lambda *case: _report(*case, heads=slice(0, 1)),
    ),
    Wrong(
        "a leak from the very next token is missed: output t − 1 is in the past of token t as well "
        "and must stay where it is",
        when=_only(_misses_the_next),
    ),
    Wrong(
        "only outputs before the change are filled in: the report is on all T outputs, and those "
        "from t on should move; they show that something was changed",
        lambda *case: _report(*case).triu(1),
    ),
    Wrong(
        "you changed the values only: a leak through the weights goes by queries and keys; change "
        "what parts names",
        lambda head, T, parts: _report(head, T, "v"),
    ),
    Wrong(
        "some outputs that move are not in the report: is the change large beside your tolerance, "
        "and did you try several seeds?",
        when=_only(lambda got, right: not bool((got & ~right).any())),
    ),
    Wrong(
        "some outputs are in the report that do not move: does it compare with the same head, on "
        "the same q, k and v, with nothing else changed?",
        when=_only(lambda got, right: bool((got & ~right).any())),
    ),
)


def report(fn: Callable[[lab.Head, int, str], Tensor]) -> Result:
    """Judge `leak_report(head, T, parts)` on the four heads and on others."""
    return check(
        fn,
        cases=_CASES,
        right=_report,
        wrongs=_WRONG_REPORTS,
        success="the report finds every leak, and blames nobody for rounding",
    )


def worth(fn: Callable[[lab.Head], float]) -> Result:
    """Judge `worth(attend)`, nats a toss, on a head that is masked and on one that is not."""
    answers = []
    for head in (naive_attention, _open):
        got = attempt(fn, head)
        if isinstance(got, Result):
            return got
        value = number(got)
        if value is None or not math.isfinite(value):
            return failed(f"expected a number of nats, found {describe(got)}")
        answers.append(value)
    masked, unmasked = answers
    if unmasked < -0.1:
        return failed(
            "a head without a mask is worth less than nothing: subtract the loss from ln 2, not "
            "ln 2 from the loss"
        )
    if masked > 0.6 and unmasked < 0.3:
        return failed(
            "that is the loss: a head that is masked pays ln 2 a toss and is worth nothing; return "
            "what is saved of ln 2"
        )
    if masked > 0.6:
        return failed(
            "even a head that is masked knows every toss: did you ask for the toss that it had "
            "just read? The answer to tosses[:, :-1] is tosses[:, 1:]"
        )
    if unmasked > 0.72:
        return failed(
            "a head without a mask saves more than ln 2, which is all that a toss costs: nats, not "
            "bits, and the mean over tosses, not their sum"
        )
    if masked > 0.05:
        return failed(
            "a head that is masked gains on a fair coin: it was asked about tosses that it had "
            "been trained on; toss new ones for the loss, and in each step of the training"
        )
    if masked < -0.05:
        return failed(
            "a head that is masked loses much more than ln 2: is it trained long enough, on new "
            "tosses in each step, by a rate of 0.01?"
        )
    if unmasked < 0.3:
        return failed(
            "a head without a mask gains almost nothing: it learns to copy its neighbor in some "
            "200 steps of AdamW at 0.01; did the optimizer get the model's parameters?"
        )
    return passed("nothing for a head that is masked, nearly ln 2 for one that is not")


def verdict(found: Mapping[str, str]) -> Result:
    """Judge a verdict: for each head "safe", or the letters of q, k, v that reach back."""
    if not isinstance(found, Mapping) or set(found) != set(_LEAKS):
        return failed(f"expected a verdict on each of {', '.join(_LEAKS)}, found {describe(found)}")
    if any(said is ... or said is None for said in found.values()):
        return NOT_WRITTEN
    for name, letters in _LEAKS.items():
        said = found[name]
        if not isinstance(said, str) or (said != "safe" and not set(said) <= set("qkv")):
            return failed(
                f'for {name}: expected "safe" or letters of "qkv", found {describe(said)}'
            )
        if not letters and said != "safe":
            return failed(
                f"you blame {name}, whose mask is right: what moves there is rounding, in the "
                "seventh digit, and no earlier output learns from it"
            )
        if letters and said in ("safe", ""):
            return failed(
                f"you let {name} go, whose head leaks: change q, k and v of each token, one after "
                "the other, and look at both heads"
            )
        if letters and set(said) != set(letters):
            return failed(
                f"{name} leaks, but not through {' and '.join(said)}: read the report above the "
                "diagonal for q alone, for k alone and for v alone"
            )
    return passed("one is safe, and each of the others is caught at what it does")


def mended(fn: lab.Head) -> Result:
    """Judge a head that was mended: it is causal attention, and nothing else."""

    def causal(got: Any, q: Tensor, k: Tensor, v: Tensor) -> bool:
        return not bool(_report(fn, 5, "qkv").triu(1).any())

    def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return naive_attention(q * math.sqrt(q.size(-1)), k, v)

    dice = torch.Generator().manual_seed(1)
    unmended = [
        Wrong(f"that is {name}'s head as it was sent in, and it still leaks", head)
        for name, head in lab.HEADS.items()
        if _LEAKS[name]
    ]
    return check(
        fn,
        cases=[tuple(torch.randn(3, 2, 2, T, 8, generator=dice)) for T in (5, 9)],
        right=naive_attention,
        wrongs=[
            *unmended,
            Wrong("nothing leaks any more, but the scores have lost their √D", unscaled),
            Wrong(
                "nothing leaks any more, but this is not attention to the past: each row of "
                "weights must sum to 1 over the tokens up to its own, in both heads",
                when=causal,
            ),
            Wrong("it still leaks: let your own report look at it", when=lambda *_: True),
        ],
        success="mended: the past, all of it, and nothing but the past",
    )
