"""The lab of the digits: ten operations that know their way back, and the network that they train.

One job: `autograd`, which checks the lab's functions step by step. Each slope is compared with
torch's and, in the network, with what nudging the learner's own loss finds. Beside it stands
`Node`, which the lab hands out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptlib.course.answers import describe
from gptlib.course.checking import NOT_WRITTEN, Result, attempt, failed, passed
from gptlib.course.digits import networks
from gptlib.course.digits.networks import Array, Labels
from gptlib.course.digits.slopes import Slopes, diagnose

Operation = Callable[..., "Node"]
Backward = Callable[["Node"], object]
NetworkLoss = Callable[[Sequence["Node"], Array, Labels], "Node"]


class Node:
    """An array that remembers what it was made of.

    Args:
        value: the array. made_of: the nodes that an operation took.
        back: from the slope of the loss for this node, an array of its shape, to one slope for each
            node of `made_of`, in that node's shape.

    Attributes:
        grad: the slope of the loss for this node, None until `backward` has been there.
    """

    def __init__(
        self, value: Any, made_of: Sequence[Node] = (), back: Slopes | None = None
    ) -> None:
        self.value = np.asarray(value, dtype=float)
        self.made_of = tuple(made_of)
        self.back = back
        self.grad: Array | None = None


#: What each operation does, in torch, to arrays of which shapes.
OPERATIONS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[tuple[int, ...], ...], ...]]] = {
    "add": (torch.add, (((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (3, 4)), ((), (2, 3)))),
    "mul": (torch.mul, (((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (3, 4)), ((), (2, 3)))),
    "matmul": (torch.matmul, (((3, 3), (3, 3)), ((2, 3), (3, 4)))),
    "transpose": (lambda a: a.mT, (((3, 4),),)),
    "exp": (torch.exp, (((3, 4),),)),
    "log": (torch.log, (((3, 4),),)),
    "tanh": (torch.tanh, (((3, 4),),)),
    "relu": (torch.relu, (((3, 4),),)),
    "total": (lambda a: a.sum(-1, keepdim=True), (((3, 4),),)),
    "mean": (torch.mean, (((3, 4),),)),
}


def autograd(
    operations: Sequence[Operation],
    backward: Backward | None = None,
    network_loss: NetworkLoss | None = None,
) -> Result:
    """Check what has been built so far.

    Args:
        operations: functions of nodes, each under its name in `OPERATIONS`; the more the better.
        backward: sets `grad` of every node that a node was made of, and of the node itself.
        network_loss: (nodes of w1, b1, w2, b2, pictures (B, C), labels (B,)) to the node of the
            mean cross-entropy.
    """
    names = []
    for operation in operations:
        result = _check_operation(operation)
        if not result:
            return result
        names.append(operation.__name__)
    if backward is None:
        return passed(f"{', '.join(names)}: forward, and the way back, as torch's")
    result = attempt(lambda: _check_backward(backward))
    if result and len(names) > 2:
        result = passed(f"{len(names)} operations, and a way back through them")
    if not result or network_loss is None:
        return result
    missing = [name for name in OPERATIONS if name not in names]
    if missing:
        return failed(f"the ten operations are not all there yet: {', '.join(missing)}")
    return attempt(lambda: _check_network(backward, network_loss))


# --- operations -----------------------------------------------------------------------------------


def _check_operation(fn: Operation) -> Result:
    name = getattr(fn, "__name__", describe(fn))
    if name not in OPERATIONS:
        return failed(f"{name} is not an operation of this lab: {', '.join(OPERATIONS)}")
    theirs, cases = OPERATIONS[name]
    dice = np.random.default_rng(len(name))
    for shapes in cases:
        arrays: list[Array] = [dice.normal(0, 1, shape) for shape in shapes]
        if name == "log":
            arrays = [abs(a) + 0.5 for a in arrays]
        result = _judge(fn, name, theirs, arrays, dice)
        if result is not None:
            return result
    return passed(f"{name} knows its way back")


def _judge(
    fn: Operation,
    name: str,
    theirs: Callable[..., Tensor],
    arrays: list[Array],
    dice: np.random.Generator,
) -> Result | None:
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    made = attempt(fn, *map(Node, arrays))
    if isinstance(made, Result):
        return made if made.passed is None else failed(f"{name}: {made.message}")
    if not isinstance(made, Node):
        return failed(f"{name}: expected a Node, found {describe(made)}")
    shape = tuple(expected.shape)
    if made.value.shape != shape:
        return failed(f"{name}, forward: expected the shape {shape}, found {made.value.shape}")
    if not np.allclose(made.value, expected.detach().numpy(), atol=1e-9):
        return failed(f"{name}, forward: that is another value than torch's torch.{name} has")
    if len(made.made_of) != len(arrays):
        return failed(f"{name}: the node has to know the {len(arrays)} that it was made of")
    if made.back is None:
        return failed(f"{name}: the node has no way back; give it a function of one slope")
    slope = dice.normal(0, 1, shape)
    wanted = [g.numpy() for g in torch.autograd.grad(expected, tensors, torch.tensor(slope))]
    got = attempt(made.back, slope)
    if isinstance(got, Result):
        return failed(f"{name}, on the way back: {got.message}")
    return diagnose(name, arrays, made.value, slope, got, wanted)


# --- backward -------------------------------------------------------------------------------------


class _Graph:
    """Nodes of numbers whose way back is right, and which count how often it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def node(self, value: float, **of: tuple[Node, float]) -> Node:
        """A node that was made of others, each with the slope that leads to it."""

        def back(slope: Array) -> list[Array]:
            self.taken += 1
            return [np.asarray(slope * factor) for _, factor in of.values()]

        return Node(value, [n for n, _ in of.values()], back if of else None)


def _check_backward(fn: Backward) -> Result:
    graph = _Graph()
    a = graph.node(3.0)
    b = graph.node(6.0, a=(a, 2.0))
    c = graph.node(30.0, b=(b, 5.0))
    ran = attempt(lambda: fn(c) or True)
    if isinstance(ran, Result):
        return ran
    if c.grad is None and b.grad is None and a.grad is None:
        return NOT_WRITTEN
    found = [None if n.grad is None else float(n.grad) for n in (c, b, a)]
    if found[0] != 1.0:
        return failed("the slope of the loss for itself is 1: that is where the way back begins")
    if found[1] is None or found[2] is None:
        return failed("the way back stops too early: every node on it gets a grad, to its start")
    if found[1:] != [5.0, 10.0]:
        return failed("down a chain the slopes multiply: hand each node's grad to its back")
    for judge in (_check_twice, _check_paths, _check_shared):
        result = judge(fn)
        if result is not None:
            return result
    return _check_fresh(fn)


def _check_twice(fn: Backward) -> Result | None:
    """Nodes that are used twice, next to one another and far apart."""
    graph = _Graph()
    a = graph.node(3.0)
    square = graph.node(9.0, left=(a, 3.0), right=(a, 3.0))
    fn(square)
    if float(_grad(a)) == 3.0:
        return failed(
            "a node used twice keeps the slope of one use only: a push reaches the loss both ways, "
            "and their slopes add up; do not overwrite grad"
        )
    a = graph.node(2.0)
    far = graph.node(6.0, a=(a, 3.0))
    farther = graph.node(24.0, far=(far, 4.0))
    for first, second in (((far, 1.0), (farther, 10.0)), ((farther, 10.0), (far, 1.0))):
        top = graph.node(0.0, first=first, second=second)
        far.grad = a.grad = farther.grad = None
        fn(top)
        if float(_grad(a)) != 123.0:
            if float(_grad(far)) == 41.0:
                return failed(
                    "wrong order: a node handed its grad on before all that was made of it had "
                    "added theirs; a node's turn comes after everybody that used it"
                )
            return failed(
                "a node used twice, near the end and farther from it, does not get the sum of both "
                "slopes: do not overwrite grad, and let a node wait for all that used it"
            )
    return None


def _check_paths(fn: Backward) -> Result | None:
    graph = _Graph()
    end = a = graph.node(1.0)
    for _ in range(10):
        end = graph.node(1.0, left=(end, 1.0), right=(end, 1.0))
    fn(end)
    if float(_grad(a)) != 1024.0:
        return failed("ten sums of a node with itself: the slope doubles in each, and yours not")
    if graph.taken > 10:
        return failed(
            "right, but every path is walked by itself: ten nodes that are used twice make a "
            "thousand paths; visit each node once, when its grad is complete"
        )
    return None


def _check_shared(fn: Backward) -> Result | None:
    """A way back that hands one array to two nodes, as that of a sum does, and both go on."""

    def add(a: Node, b: Node) -> Node:
        return Node(a.value + b.value, (a, b), lambda slope: (slope, slope))

    for left in (True, False):
        a, b = Node([1.0, 2.0]), Node([3.0, 4.0])
        end = add(add(a, b), a) if left else add(a, add(a, b))
        fn(end)
        if not np.array_equal(_grad(end), [1, 1]) or not np.array_equal(_grad(b), [1, 1]):
            return failed(
                "a slope changed after it was handed on: a sum's back gives the same array to both "
                "of its nodes, and += writes into it for both; make a new array, "
                "grad = grad + slope"
            )
    return None


def _check_fresh(fn: Backward) -> Result:
    graph = _Graph()
    a = graph.node(3.0)
    for _ in range(2):
        fn(graph.node(6.0, a=(a, 2.0)))
    if float(_grad(a)) != 2.0:
        return failed(
            "a second way back adds to the slopes of the first, as torch's does without zero_grad: "
            "here every call begins from zero"
        )
    return passed("from the loss to its first causes, each once, and every use counted")


def _grad(node: Node) -> Array:
    return np.asarray(np.nan) if node.grad is None else np.asarray(node.grad)


# --- the network ----------------------------------------------------------------------------------


def _check_network(backward: Backward, fn: NetworkLoss) -> Result:
    dice = np.random.default_rng(0)
    x, y = dice.random((12, 5)), dice.integers(0, 4, 12)
    start = networks.initial_weights((5, 6, 4), seed=1)
    for sharp in (1.0, 5000.0):
        weights = [w * sharp if n >= 2 else w for n, w in enumerate(start)]
        with np.errstate(all="ignore"):
            tried = attempt(fn, list(map(Node, weights)), x, y)
        if isinstance(tried, Result):
            return tried
        if not isinstance(tried, Node):
            return failed(f"expected the Node of the loss, found {describe(tried)}")
        result = _wrong_loss(tried, x, y, weights)
        if result is not None:
            return result

    def nudged(n: int, place: tuple[int, ...], by: float) -> float:
        moved = [w.copy() for w in start]
        moved[n][place] += by
        return float(fn(list(map(Node, moved)), x, y).value)

    nodes = list(map(Node, start))
    backward(fn(nodes, x, y))
    for n, (name, node) in enumerate(zip(("w1", "b1", "w2", "b2"), nodes, strict=True)):
        if node.grad is None:
            return failed(f"no slope arrives at {name}: is the loss made of nodes throughout?")
        if np.shape(node.grad) != start[n].shape:
            return failed(f"{name} is {start[n].shape}, and its slopes are {np.shape(node.grad)}")
        for place in np.ndindex(start[n].shape):
            pushed = (nudged(n, place, 1e-5) - nudged(n, place, -1e-5)) / 2e-5
            if not np.isclose(node.grad[place], pushed, rtol=1e-5, atol=1e-7):
                return failed(
                    f"nudging {name} at {list(place)} moves your loss otherwise than its slope "
                    "says: is some of it computed from plain arrays, past the nodes?"
                )
    return passed("every slope of the network is what nudging your loss finds")


def _wrong_loss(made: Node, x: Array, y: Labels, weights: list[Array]) -> Result | None:
    if made.value.size != 1:
        return failed("a loss is one number: take the mean over the pictures")
    z = networks.forward(x, weights)[-2] @ weights[2] + weights[3]  # (B, V)
    z = z - z.max(axis=1, keepdims=True)
    right = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean()
    got = float(made.value)
    if np.isclose(got, right, rtol=1e-6):
        return None
    if not np.isfinite(got):
        return failed(
            "with large scores the loss is not a number: exp overflows; take each row's largest "
            "score off first, as a Node that was made of nothing"
        )
    if np.isclose(got, -right, rtol=1e-6):
        return failed("the sign is turned round: the loss is minus the log-probability")
    if np.isclose(got, right * len(y), rtol=1e-6):
        return failed("that is the sum over the pictures; the loss is their mean")
    if np.isclose(got, right / z.shape[1], rtol=1e-6):
        return failed(
            "divided by the number of digits as well: all but one of a row's ten products are 0; "
            "take the row's total first, then the mean"
        )
    return failed("not the mean cross-entropy: x through w1, b1 and tanh, then w2, b2, softmax")
