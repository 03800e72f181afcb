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


def _texts(fn: Callable[[lab.Head, int, str], Tensor]) -> int:
    """Return how many random texts a report rests on: two with most numbers in common are one."""
    seen: list[set[float]] = []

    def noting(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        for text in torch.stack([q, k, v]).unbind(1):  # (3, H, T, D)
            numbers = set(text.detach().flatten().tolist())
            if not any(2 * len(numbers & known) > len(numbers) for known in seen):
                seen.append(numbers)
        return naive_attention(q, k, v)

    fn(noting, 4, "k")
    return len(seen)


def report(fn: Callable[[lab.Head, int, str], Tensor]) -> Result:
    """Judge `leak_report(head, T, parts)` on the four heads and on others, and its inputs."""
    found = _found(fn)
    if found and (texts := _texts(fn)) < 3:
        return failed(
            f"the report is right on these heads, but it rests on {texts} random "
            f"{'text' if texts == 1 else 'texts'}, and a head that leaks only on some would pass: "
            "try five, and let an output count as moved if it moved on any"
        )
    return found


def _found(fn: Callable[[lab.Head, int, str], Tensor]) -> Result:
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
    if 0.1 < unmasked < 0.55:
        return failed(
            f"a head without a mask saves {unmasked:.2f} of ln 2, and could save more: it was "
            "still learning to copy its neighbor; train for 200 steps of 32 rows at rate 0.01"
        )
    if unmasked < 0.55:
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


def _by(head: Callable[[Tensor], Tensor]) -> lab.Head:
    """Return a head made of its scaled scores by a function that gives weights."""
    return lambda q, k, v: head(q @ k.mT / math.sqrt(q.size(-1))) @ v


def _future(scores: Tensor, diagonal: int = 1) -> Tensor:
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)


def _hidden(scores: Tensor, diagonal: int = 1) -> Tensor:
    return scores.masked_fill(_future(scores, diagonal), -math.inf)


def _first_head_too(scores: Tensor) -> Tensor:
    """Nora's leak in both heads."""
    return _hidden(scores, 2).softmax(-1)


def _other_head(scores: Tensor) -> Tensor:
    """Nora's leak in the head that is right."""
    first, *others = scores.unbind(-3)
    return torch.stack([_hidden(first, 2), *map(_hidden, others)], dim=-3).softmax(-1)


def _sal_unmasked_sums(scores: Tensor) -> Tensor:
    """Sal's columns, but masked after the softmax."""
    return scores.softmax(-2).tril()


def rebuilt(fn: lab.Head) -> Result:
    """Judge a head that was written anew: it does what one of the leaking heads does."""
    if fn in lab.HEADS.values():
        return failed("that is the head as it was sent in: write one of your own that does it")
    dice = torch.Generator().manual_seed(1)
    cases = [tuple(torch.randn(3, 2, 2, T, 8, generator=dice)) for T in (5, 9)]
    leaking = [name for name, letters in _LEAKS.items() if letters]
    wrongs = [
        Wrong(
            "that is attention to the past, as it should be, and what leaks in nobody's head: "
            "rebuild one that does leak",
            naive_attention,
        ),
        Wrong("that is attention without a mask; each of the four has one, somewhere", _open),
        Wrong(
            "nearly nora's: one of her two heads is right, and you let both see the next token",
            _by(_first_head_too),
        ),
        Wrong(
            "nearly nora's: it is her second head that sees the next token, not her first",
            _by(_other_head),
        ),
        Wrong(
            "nearly sal's: ask your report which later queries an earlier output feels; the mask "
            "stands before this softmax too, so a key is shared among those that may see it",
            _by(_sal_unmasked_sums),
        ),
        *[
            Wrong(
                f"nearly {name}'s: the scores have lost their √D",
                lambda q, k, v, head=lab.HEADS[name]: head(q * math.sqrt(q.size(-1)), k, v),
            )
            for name in leaking
        ],
    ]
    answers = {name: check(fn, cases, right=lab.HEADS[name], wrongs=wrongs) for name in leaking}
    for name, answer in answers.items():
        if answer:
            return passed(f"that is {name}'s head to the fifth digit, found out from outside")
    nobody = answers[leaking[0]]
    if nobody.passed is None or any(nobody.message == w.diagnosis for w in wrongs):
        return nobody
    if nobody.message.startswith(("your function raised", "nothing was returned", "expected")):
        return nobody
    return failed(_unlike_any(fn))


def _unlike_any(fn: lab.Head) -> str:
    """Say through which letters a head leaks that is nobody's, and whose letters those are."""
    letters = "".join(part for part in "qkv" if _report(fn, 6, part).triu(1).any())
    if not letters:
        return "no later token reaches back here, and in the heads that leak one does"
    through = " and ".join(letters)
    for name, theirs in _LEAKS.items():
        if theirs == letters:
            return (
                f"it leaks through {through}, as {name}'s does, but its outputs are others: on "
                f"which tokens does {name}'s weight of a value hang, and what does a row sum to?"
            )
    return f"it leaks through {through}, and none of the four leaks through just that"
