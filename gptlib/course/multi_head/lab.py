"""The lab of chapter 3: a GPT from an empty cell, until it is the library's.

One job: `own_gpt`, which checks the lab's class and functions step by step. Where the logits are
not the library's, it silences one part of the blocks after another and says in which part the
difference begins, and what would make it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.course.answers import describe
from gptlib.course.checking import NOT_WRITTEN, Result, attempt, failed, passed
from gptlib.course.multi_head.own_gpt import MISTAKES, Weights, logits
from gptlib.model import GPT, GPTConfig

Forward = Callable[[Any, Tensor], Tensor]
Start = Callable[[Any], object]

_V, _T, _L, _H, _C = 11, 8, 2, 2, 12  # of the model that is compared
_PREFIX = "transformer."

#: Parts of the blocks that are silenced, and where a difference then begins.
_STAGES = (
    (("attn.c_proj", "mlp.c_proj"), "in the tables, the last norm or the head"),
    (("mlp.c_proj",), "in attention or the norm before it"),
    (("attn.c_proj",), "in the feed-forward part or the norm before it"),
    ((), "where the parts are put together"),
)


def own_gpt(
    kind: type[nn.Module], forward: Forward | None = None, start: Start | None = None
) -> Result:
    """Check what has been built so far: the last thing given.

    Args:
        kind: a class; `kind(V, T, L, H, C)` has GPT-2's parameters, under its names or under
            others in the order in which they are used.
        forward: (model, ids (B, T)) to logits (B, T, V); its `forward`.
        start: sets the initial weights of a model as GPT-2's are.
    """
    result = _check_parameters(kind)
    if result and forward is not None:
        result = attempt(lambda: _check_logits(kind, forward))
        if result and start is not None:
            result = attempt(lambda: _check_start(kind, start))
    return result


# --- step 1: parameters ---------------------------------------------------------------------------


def _shapes(V: int, T: int, L: int, C: int) -> dict[str, tuple[int, ...]]:
    model = GPT(GPTConfig(T, V, n_layer=L, n_head=1, n_embd=C))
    return {name.removeprefix(_PREFIX): tuple(p.shape) for name, p in model.named_parameters()}


def _check_parameters(kind: type[nn.Module]) -> Result:
    for V, T, L, H, C in ((_V, _T, _L, _H, _C), (7, 5, 3, 1, 6)):
        try:
            model = kind(V, T, L, H, C)
        except NotImplementedError:
            return NOT_WRITTEN
        except Exception as error:
            return failed(f"your class raised {type(error).__name__}: {error}")
        if not isinstance(model, nn.Module):
            return failed(f"expected an nn.Module, found {describe(model)}")
        found = {name: tuple(p.shape) for name, p in model.named_parameters()}
        if not found:
            return NOT_WRITTEN
        result = _misfit(found, _shapes(V, T, L, C), (V, T, L, C))
        if result is not None:
            return result
    return passed("every parameter of a GPT-2 is there, and none twice")


def _misfit(
    found: dict[str, tuple[int, ...]],
    wanted: dict[str, tuple[int, ...]],
    sizes: tuple[int, int, int, int],
) -> Result | None:
    """What is wrong with the shapes of the parameters, or None."""
    V, T, _, C = sizes
    shapes, theirs = list(found.values()), list(wanted.values())
    if shapes == theirs or _by_name(found) == wanted:
        return None
    count, right = sum(map(math.prod, shapes)), sum(map(math.prod, theirs))
    vectors = [s for s in shapes if len(s) == 1]
    if shapes.count((V, C)) > theirs.count((V, C)):
        return failed(
            "there is a second table of (V, C): the head is tied, it uses the token table's weight"
        )
    if (T, C) not in shapes:
        return failed("the position table (T, C) is missing")
    if not vectors:
        return failed("there are no biases and no norms: GPT-2 has both")
    if (C, C) in shapes and shapes.count((C, C)) > theirs.count((C, C)):
        return failed(
            "GPT-2 keeps queries, keys and values in one matrix of (3C, C), in this order, and "
            "their biases in one row"
        )
    if (C, 3 * C) in shapes:
        return failed("matrices lie on their side: nn.Linear keeps a row for each output")
    if len(shapes) > len(theirs) and count > right and (V,) in shapes:
        return failed("the head has a bias, and GPT-2's has none")
    if len(vectors) < len([s for s in theirs if len(s) == 1]):
        lost = (C,) if vectors.count((C,)) < theirs.count((C,)) else None
        which = "of length C (norms and projections)" if lost else "of queries, keys and values"
        return failed(
            f"vectors {which} are missing: four layers of a block have a bias, each norm a gain "
            "and a shift, and there is a norm at the end"
        )
    if (4 * C, C) not in shapes:
        return failed("the feed-forward part widens to 4C and returns")
    if sorted(shapes) == sorted(theirs):
        return failed(
            "all shapes are there, in another order, and under other names than GPT-2's: put them "
            "in the order in which they are used"
        )
    return failed(
        f"{len(shapes)} parameters with {count:,} numbers; count them again, part by part, with "
        "the formula of Exercise 3.5"
    )


def _by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_PREFIX): value for name, value in found.items()}


def _assigned(model: nn.Module) -> dict[str, nn.Parameter]:
    """A learner's parameters under GPT-2's names."""
    names = _shapes(_V, _T, _L, _C)
    own = _by_name(dict(model.named_parameters()))
    if {name: tuple(p.shape) for name, p in own.items()} == names:
        return own
    return dict(zip(names, own.values(), strict=True))


# --- step 2: logits -------------------------------------------------------------------------------


def _weights(silent: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Random weights large enough for every part to be heard, with some layers silenced."""
    dice = torch.Generator().manual_seed(3)
    found = {}
    for name, shape in _shapes(_V, _T, _L, _C).items():
        value = torch.randn(*shape, generator=dice)
        if "ln_" in name and name.endswith("weight"):
            value = 1 + value / 2
        if any(part in name for part in silent):
            value = torch.zeros(shape)
        found[name] = value
    return found


def _whole(kind: type[nn.Module], forward: Forward) -> nn.Module:
    """The learner's model, with the forward that was handed over."""
    return type("Whole", (kind,), {"forward": forward})(_V, _T, _L, _H, _C)


def _set(model: nn.Module, weights: Weights) -> None:
    with torch.no_grad():
        for name, parameter in _assigned(model).items():
            parameter.copy_(weights[name])


def _check_logits(kind: type[nn.Module], forward: Forward) -> Result:
    if not callable(forward):
        return failed(f"expected a function, found {describe(forward)}")
    model = _whole(kind, forward)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
    stages: list[tuple[Weights, Tensor]] = []
    for silent, _ in _STAGES:
        weights = _weights(silent)
        _set(model, weights)
        got = attempt(lambda: model(ids))
        if isinstance(got, Result):
            stub = attempt(forward, model, ids)
            return stub if isinstance(stub, Result) else got
        if not isinstance(got, Tensor):
            return failed(f"expected logits (B, T, V), found {describe(got)}")
        if not torch.equal(got, model(ids)):
            return failed("two calls give two answers: is there dropout? The comparison has none")
        stages.append((weights, got))
    result = _compare(stages, ids)
    if result is not None:
        return result
    if not _close(model(ids[:1, :4]), logits(stages[-1][0], ids[:1, :4], _L, _H)):
        return failed(
            "right for six tokens and wrong for four: does a number of tokens stand in it?"
        )
    model.zero_grad()
    F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    for name, parameter in _assigned(model).items():
        if parameter.grad is None or not parameter.grad.any():
            return failed(f"the logits are right, but no gradient arrives at {name}")
    return passed("logits and gradients are GPT-2's, part by part")


def _compare(stages: list[tuple[Weights, Tensor]], ids: Tensor) -> Result | None:
    """Name the mistake that explains all stages, else the first one, else the part it is in."""
    missed = [
        (weights, got, right, where)
        for (weights, got), (_, where) in zip(stages, _STAGES, strict=True)
        if not _close(got, right := logits(weights, ids, _L, _H))
    ]
    if not missed:
        return None
    for explained in (missed, missed[:1]):
        for words, mistake in MISTAKES:
            if all(
                _close(got, theirs) and not _close(theirs, right)
                for weights, got, right, _ in explained
                for theirs in (logits(weights, ids, _L, _H, **mistake),)
            ):
                return failed(words)
    _, got, right, where = missed[0]
    if got.shape != right.shape:
        return failed(f"expected logits of shape {tuple(right.shape)}, found {tuple(got.shape)}")
    return failed(f"the difference begins {where}; all that comes before it is right")


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)


# --- step 3: initial weights ----------------------------------------------------------------------


def _check_start(kind: type[nn.Module], fn: Start) -> Result:
    V, T, L, H, C = 300, 100, 6, 4, 64
    torch.manual_seed(0)
    model = kind(V, T, L, H, C)
    before = [p.detach().clone() for p in model.parameters()]
    ran = attempt(lambda: fn(model) or True)
    if isinstance(ran, Result):
        return ran
    if all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)):
        return NOT_WRITTEN
    own = _by_name(dict(model.named_parameters()))
    names = list(_shapes(V, T, L, C))
    if set(own) != set(names):
        own = dict(zip(names, own.values(), strict=True))
    for name, p in own.items():
        result = _wrong_start(name, p.detach(), L)
        if result is not None:
            return result
    return passed("small, and smaller where a block adds to the stream: a first loss near ln V")


def _wrong_start(name: str, p: Tensor, L: int) -> Result | None:
    mean, spread = p.mean().item(), p.std().item()
    if "ln_" in name:
        if name.endswith("weight") and not torch.equal(p, torch.ones_like(p)):
            return failed(f"{name} is a gain: norms begin by changing nothing, with gain 1")
        if name.endswith("bias") and p.any():
            return failed(f"{name} is a shift: norms begin by changing nothing, with shift 0")
        return None
    if name.endswith("bias"):
        return failed(f"{name} is not 0: all biases begin there") if p.any() else None
    if abs(mean) > 0.1 * spread:
        return failed(f"{name} has mean {mean:.2f}: weights begin on both sides of 0")
    small = 0.02 / math.sqrt(2 * L)
    if not name.endswith("c_proj.weight"):
        if 0.018 < spread < 0.022:
            return None
        return failed(
            f"{name} has the spread {spread:.2g}: GPT-2's tables and matrices begin with 0.02"
        )
    if 0.9 < spread / small < 1.1:
        return None
    if 0.9 < spread / 0.02 < 1.1:
        return failed(
            f"{name} begins as large as all others: 2L layers add to the stream, so each of their "
            "spreads is divided by √(2L)"
        )
    if 0.9 < spread / (0.02 / math.sqrt(L)) < 1.1:
        return failed(f"{name}: divided by √L, but each block adds to the stream twice")
    if 0.9 < spread / (0.02 / (2 * L)) < 1.1:
        return failed(f"{name}: divided by 2L; variances add, so the spread by its root")
    return failed(f"{name} has the spread {spread:.2g}, which is not 0.02 / √(2L)")
