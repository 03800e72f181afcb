"""The lab of the digits: each step's right answer passes, and what goes wrong is named."""

import numpy as np
import pytest

from gptlib.course.digits import lab, networks

Node = lab.Node


def fit(slope, shape):
    while slope.ndim > len(shape):
        slope = slope.sum(axis=0)
    for axis, length in enumerate(shape):
        if length == 1:
            slope = slope.sum(axis=axis, keepdims=True)
    return slope


def add(a, b):
    return Node(a.value + b.value, (a, b), lambda g: (fit(g, a.value.shape), fit(g, b.value.shape)))


def mul(a, b):
    return Node(
        a.value * b.value,
        (a, b),
        lambda g: (fit(g * b.value, a.value.shape), fit(g * a.value, b.value.shape)),
    )


def matmul(a, b):
    return Node(a.value @ b.value, (a, b), lambda g: (g @ b.value.T, a.value.T @ g))


def transpose(a):
    return Node(a.value.T, (a,), lambda g: (g.T,))


def times(value, a, slope):
    return Node(value, (a,), lambda g: (g * slope,))


def exp(a):
    value = np.exp(a.value)
    return times(value, a, value)


def log(a):
    return times(np.log(a.value), a, 1 / a.value)


def tanh(a):
    value = np.tanh(a.value)
    return times(value, a, 1 - value**2)


def relu(a):
    return times(np.maximum(a.value, 0), a, a.value > 0)


def total(a):
    return times(a.value.sum(-1, keepdims=True), a, np.ones_like(a.value))


def mean(a):
    return times(a.value.mean(), a, np.ones_like(a.value) / a.value.size)


TEN = [add, mul, matmul, transpose, exp, log, tanh, relu, total, mean]


def order_of(end):
    order, seen = [], set()

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for before in node.made_of:
                visit(before)
            order.append(node)

    visit(end)
    return order[::-1]


def backward(end):
    order = order_of(end)
    for node in order:
        node.grad = np.zeros_like(node.value)
    end.grad = np.ones_like(end.value)
    for node in order:
        if node.back:
            for before, slope in zip(node.made_of, node.back(node.grad), strict=True):
                before.grad = before.grad + slope


def scores(weights, x):
    w1, b1, w2, b2 = weights
    return add(matmul(tanh(add(matmul(Node(x), w1), b1)), w2), b2)


def network_loss(weights, x, y):
    z = scores(weights, x)
    z = add(z, Node(-z.value.max(-1, keepdims=True)))
    right = total(mul(z, Node(np.eye(z.value.shape[1])[y])))
    return mean(add(log(total(exp(z))), mul(right, Node(-1.0))))


def test_the_right_answers_pass_step_by_step():
    for built in (([add, mul],), ([add, mul], backward), (TEN, backward),
                  (TEN, backward, network_loss)):  # fmt: skip
        assert lab.autograd(*built).passed is True, lab.autograd(*built)


def test_a_stub_is_not_written_yet():
    def exp(a): ...

    assert lab.autograd([add, exp]).passed is None
    assert lab.autograd([add, mul], lambda end: ...).passed is None
    assert lab.autograd(TEN, backward, lambda weights, x, y: ...).passed is None


def test_the_engine_trains_the_network():
    dice = np.random.default_rng(0)
    x, y = dice.random((20, 8)), dice.integers(0, 10, 20)
    weights = networks.initial_weights((8, 6, 10), seed=0)
    nodes = list(map(Node, weights))
    for _ in range(5):
        backward(network_loss(nodes, x, y))
        weights = [w - g for w, g in zip(weights, networks.gradients(x, y, weights), strict=True)]
        nodes = [Node(node.value - node.grad) for node in nodes]
    for node, w in zip(nodes, weights, strict=True):
        assert np.allclose(node.value, w)


def made(name, value, back):
    """An operation under a name, with a way back of its own."""

    def operation(*inputs):
        values = [node.value for node in inputs]
        out = value(*values)
        return Node(out, inputs, lambda g: back(g, out, *values))

    operation.__name__ = name
    return operation


def plain(a, b):
    return a * b


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (made("add", np.add, lambda g, o, a, b: (g, g)), "so sum over them"),
        (made("add", np.add, lambda g, o, a, b: (fit(g, a.shape).squeeze(), fit(g, b.shape))),
         "keep the axes of length 1"),
        (made("add", np.add, lambda g, o, a, b: (np.ones(a.shape), np.ones(b.shape))),
         "not passed on"),
        (made("add", np.add, lambda g, o, a, b: (fit(g, a.shape), -fit(g, b.shape))),
         "wrong sign"),
        (made("add", np.add, lambda g, o, a, b:
              (fit(g, a.shape) * a.size / g.size, fit(g, b.shape) * b.size / g.size)),
         "averaged"),
        (made("add", np.multiply, lambda g, o, a, b: (g, g)), "add, forward"),
        (made("add", np.add, lambda g, o, a, b: (g,)), "one slope for each of its 2"),
        (made("mul", plain, lambda g, o, a, b: (g * a, g * b)), "each gets its own value"),
        (made("mul", plain, lambda g, o, a, b: (b * np.ones_like(a), a * np.ones_like(b))),
         "not torch's"),
        (made("matmul", np.matmul, lambda g, o, a, b: (a.T @ g, g @ b.T)), "changed places"),
        (made("matmul", np.matmul, lambda g, o, a, b: (g @ b, a @ g)), "not transposed"),
        (made("matmul", np.matmul, lambda g, o, a, b: (g @ b.T, a @ g)), "b's is not"),
        (made("matmul", np.matmul, lambda g, o, a, b: (g @ b, a.T @ g)), "a's is not"),
        (made("matmul", np.matmul, lambda g, o, a, b: (g @ b.T, g @ a.T)), "wrong way round"),
        (made("transpose", np.transpose, lambda g, o, a: (g,)), "not turned back"),
        (made("exp", np.exp, lambda g, o, a: (g * a,)), "what went in"),
        (made("exp", np.exp, lambda g, o, a: (np.exp(g),)), "exp of the slope"),
        (made("exp", np.exp, lambda g, o, a: g * o), "in a tuple"),
        (made("log", np.log, lambda g, o, a: (g / o,)), "divided by what came out"),
        (made("log", np.log, lambda g, o, a: (g * a,)), "where it is divided"),
        (made("tanh", np.tanh, lambda g, o, a: (g * (1 - a**2),)), "1 − a²"),
        (made("tanh", np.tanh, lambda g, o, a: (g * (1 - o),)), "the square is missing"),
        (made("tanh", np.tanh, lambda g, o, a: (g * (1 - np.tanh(o) ** 2),)), "taken twice"),
        (made("relu", lambda a: np.maximum(a, 0), lambda g, o, a: (g,)), "nothing comes back"),
        (made("relu", lambda a: np.maximum(a, 0), lambda g, o, a: (np.maximum(g, 0),)),
         "whatever its own sign"),
        (made("relu", lambda a: np.maximum(a, 0), lambda g, o, a: (g * o,)), "all of the slope"),
        (made("total", lambda a: a.sum(-1, keepdims=True), lambda g, o, a: (g,)),
         "spread it back"),
        (made("total", lambda a: a.sum(-1), lambda g, o, a: (g,)), "expected the shape"),
        (made("total", lambda a: a.sum(-1, keepdims=True), lambda g, o, a: (g * a,)),
         "counts once"),
        (made("total", lambda a: a.sum(-1, keepdims=True),
              lambda g, o, a: (g * np.ones_like(a) / a.shape[-1],)), "shared out"),
        (made("mean", np.mean, lambda g, o, a: (g * np.ones_like(a),)), "not divided"),
        (made("mean", np.mean, lambda g, o, a: (g * np.ones_like(a) / len(a),)),
         "divided by the rows"),
        (made("mean", np.mean, lambda g, o, a: (g * np.ones_like(a) / a.shape[1],)),
         "divided by the columns"),
        (made("sine", np.sin, lambda g, o, a: (g,)), "not an operation of this lab"),
        (made("exp", lambda a: 1 / 0, lambda g, o, a: (g,)), "ZeroDivisionError"),
        (made("exp", np.exp, lambda g, o, a: 1 / 0), "on the way back"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_operation_is_named(operation, words):
    result = lab.autograd([operation])
    assert result.passed is False and words in result.message, result


def with_order(order, add_up=True, fresh=True):
    def fn(end):
        nodes = order(end)
        for node in nodes:
            if fresh or node.grad is None:
                node.grad = np.zeros_like(node.value)
        end.grad = np.ones_like(end.value)
        for node in nodes:
            if node.back:
                for before, slope in zip(node.made_of, node.back(node.grad), strict=True):
                    before.grad = before.grad + slope if add_up else slope

    return fn


def nearest_first(end):
    order = [end]
    for node in order:
        order += [before for before in node.made_of if not any(before is n for n in order)]
    return order


def every_path(end):
    def forget(node):
        node.grad = np.zeros_like(node.value)
        for before in node.made_of:
            forget(before)

    def walk(node, slope):
        node.grad = node.grad + slope
        if node.back:
            for before, passed_on in zip(node.made_of, node.back(slope), strict=True):
                walk(before, passed_on)

    forget(end)
    walk(end, np.ones_like(end.value))


def one_stretch(end):
    end.grad = np.ones_like(end.value)
    for before, slope in zip(end.made_of, end.back(end.grad), strict=True):
        before.grad = slope


def from_nothing(end):
    for node in order_of(end):
        node.grad = np.zeros_like(node.value)


def in_place(end):
    """What arrives first is kept, not copied, and what comes later is added into it."""
    order = order_of(end)
    for node in order:
        node.grad = None
    end.grad = np.ones_like(end.value)
    for node in order:
        if node.back:
            for before, slope in zip(node.made_of, node.back(node.grad), strict=True):
                if before.grad is None:
                    before.grad = slope
                else:
                    before.grad += slope


def added_to_zeros(end):
    """The same += is right where every node begins with an array of its own."""
    order = order_of(end)
    for node in order:
        node.grad = np.zeros_like(node.value)
    end.grad = np.ones_like(end.value)
    for node in order:
        if node.back:
            for before, slope in zip(node.made_of, node.back(node.grad), strict=True):
                before.grad += slope


def test_adding_in_place_to_zeros_is_right():
    assert lab.autograd([add, mul], added_to_zeros).passed is True


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (in_place, "gives the same array to both"),
        (with_order(order_of, add_up=False), "do not overwrite grad"),
        (with_order(nearest_first), "wrong order"),
        (every_path, "walked by itself"),
        (one_stretch, "stops too early"),
        (from_nothing, "for itself is 1"),
        (with_order(order_of, fresh=False), "begins from zero"),
        (lambda end: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_the_way_back_is_named(answer, words):
    result = lab.autograd([add, mul], answer)
    assert result.passed is False and words in result.message, result


def unsafe(weights, x, y):
    z = scores(weights, x)
    right = total(mul(z, Node(np.eye(z.value.shape[1])[y])))
    return mean(add(log(total(exp(z))), mul(right, Node(-1.0))))


def past_the_nodes(weights, x, y):
    w1, b1, w2, b2 = weights
    hidden = Node(np.tanh(x @ w1.value + b1.value))
    z = add(matmul(hidden, w2), b2)
    z = add(z, Node(-z.value.max(-1, keepdims=True)))
    right = total(mul(z, Node(np.eye(z.value.shape[1])[y])))
    zero = mul(mean(add(mean(w1), mean(b1))), Node(0.0))
    return add(zero, mean(add(log(total(exp(z))), mul(right, Node(-1.0)))))


def spread(weights, x, y):
    loss = network_loss(weights, x, y)
    return mul(loss, Node(1 / 4))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (unsafe, "exp overflows"),
        (past_the_nodes, "past the nodes"),
        (spread, "number of digits"),
        (lambda *case: mul(network_loss(*case), Node(-1.0)), "sign is turned"),
        (lambda w, x, y: mul(network_loss(w, x, y), Node(len(y))), "sum over the pictures"),
        (lambda w, x, y: mean(scores(w, x)), "not the mean cross-entropy"),
        (lambda w, x, y: Node(network_loss(w, x, y).value), "no slope arrives"),
        (lambda w, x, y: scores(w, x), "one number"),
        (lambda w, x, y: 0.5, "expected the Node"),
    ],
)
def test_what_is_wrong_with_the_network_is_named(answer, words):
    result = lab.autograd(TEN, backward, answer)
    assert result.passed is False and words in result.message, result


def test_the_network_needs_all_ten():
    result = lab.autograd([add, mul, exp], backward, network_loss)
    assert result.passed is False and "not all there yet: matmul" in result.message
