"""Chapter 3's exercises: heads put back together, layer norm, dropout, cross-entropy, parameters.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def merge_heads(fn: Callable[[Tensor], Tensor]) -> Result:
    """Check `fn(y)`: the heads' answers y (B, H, T, D) put side by side, (B, T, H * D)."""
    return check(
        fn,
        cases=[(_normal(2, 3, 5, 4),), (_normal(1, 2, 3, 2, seed=1),)],
        right=lambda y: y.transpose(1, 2).flatten(2),
        wrongs=[
            Wrong(
                "reshape alone: the shape is right, but a row now holds one head at several "
                "times, so the past sees the future; bring T in front of H first",
                lambda y: y.reshape(y.size(0), y.size(2), -1),
            ),
            Wrong(
                "the heads are shuffled together channel by channel; all D channels of head 1 "
                "come first, then all of head 2: H before D in the last two axes",
                lambda y: y.permute(0, 2, 3, 1).flatten(2),
            ),
            Wrong(
                "the heads were averaged or summed: each head keeps its own channels",
                when=lambda got, y: got.shape == (y.size(0), y.size(2), y.size(3)),
            ),
            Wrong(
                "H and T changed places but the last two axes are still apart: flatten (H, D)",
                lambda y: y.transpose(1, 2),
            ),
        ],
        success="every token has its H answers side by side, head 1 first",
    )


def layer_norm(fn: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Result:
    """Check `fn(x, gain, shift, eps)`: x (B, T, C) normalized over its C channels."""

    def right(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], gain, shift, eps)

    def over(*dims: int) -> Callable[..., Tensor]:
        def wrong(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
            variance = x.var(dims, unbiased=False, keepdim=True)
            return gain * (x - x.mean(dims, keepdim=True)) / (variance + eps).sqrt() + shift

        return wrong

    def unbiased(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        variance = x.var(-1, unbiased=True, keepdim=True)
        return gain * (x - x.mean(-1, keepdim=True)) / (variance + eps).sqrt() + shift

    def outside(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        deviation = x.std(-1, unbiased=False, keepdim=True)
        return gain * (x - x.mean(-1, keepdim=True)) / (deviation + eps) + shift

    def no_root(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        variance = x.var(-1, unbiased=False, keepdim=True)
        return gain * (x - x.mean(-1, keepdim=True)) / (variance + eps) + shift

    def not_centered(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        variance = x.var(-1, unbiased=False, keepdim=True)
        return gain * x / (variance + eps).sqrt() + shift

    def shift_first(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        return gain * (bare(x, gain, shift, eps) + shift)

    def lying_down(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        return gain * (x - x.mean(-1)) + shift

    def bare(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=eps)

    gain, shift = 1 + _normal(4, seed=2) / 2, _normal(4, seed=3)
    return check(
        fn,
        # A large eps makes its place visible.
        cases=[(2 + 3 * _normal(2, 3, 4), gain, shift, 0.5), (_normal(2, 3, 4), gain, shift, 1e-5)],
        right=right,
        wrongs=[
            Wrong(
                "normalized over the batch: a sentence now depends on its neighbors in the "
                "batch; take mean and variance over the last axis, the channels",
                over(0),
            ),
            Wrong(
                "normalized over time: the mean includes tokens that come later, so the future "
                "leaks; take mean and variance over the last axis, the channels",
                over(1),
            ),
            Wrong(
                "one mean for the whole tensor: each token needs its own, over its C channels",
                over(0, 1, 2),
            ),
            Wrong(
                "unbiased variance (divided by C - 1): layer norm describes these C numbers and "
                "estimates nothing, so it divides by C; pass unbiased=False",
                unbiased,
            ),
            Wrong("eps stands outside the root: it is added to the variance, not to √", outside),
            Wrong("divided by the variance: the root is missing", no_root),
            Wrong("the mean was not subtracted before the division", not_centered),
            Wrong(
                "without keepdim=True the means of (B, T) tokens are short of an axis, and meet "
                "the wrong numbers or none: keep the last axis, of length 1",
                lying_down,
            ),
            Wrong(
                "the shift was multiplied by the gain: first times the gain, then plus the shift",
                shift_first,
            ),
            Wrong("gain and shift are missing: multiply by one, add the other", bare),
        ],
        success="mean 0 and variance 1 in each token, then gain and shift, as torch's",
    )


def dropout(fn: Callable[[Tensor, float, bool, Tensor], Tensor]) -> Result:
    """Check `fn(x, p, training, dice)`: dice in [0, 1); a number falls where its die is < p."""

    def right(x: Tensor, p: float, training: bool, dice: Tensor) -> Tensor:
        return x * (dice >= p) / (1 - p) if training else x

    x = 1 + _normal(4, 5).abs()
    dice = torch.rand(4, 5, generator=torch.Generator().manual_seed(4))
    return check(
        fn,
        cases=[(x, 0.25, True, dice), (x, 0.25, False, dice), (x, 0.0, True, dice)],
        right=right,
        wrongs=[
            Wrong(
                "the survivors were not scaled by 1 / (1 - p): the layer's output shrinks in "
                "training and jumps back at evaluation",
                lambda x, p, training, dice: x * (dice >= p) if training else x,
            ),
            Wrong(
                "dropout stayed on at evaluation: with training=False, return x as it is",
                lambda x, p, training, dice: right(x, p, True, dice),
            ),
            Wrong(
                "on at evaluation, and no 1 / (1 - p) in training: two mistakes",
                lambda x, p, training, dice: x * (dice >= p),
            ),
            Wrong(
                "p is the share that falls, and this keeps that share: test dice >= p",
                lambda x, p, training, dice: x * (dice < p) / (1 - p) if training else x,
            ),
            Wrong(
                "divided by p: the survivors are a share of 1 - p, so divide by 1 - p",
                lambda x, p, training, dice: x * (dice >= p) / p if training and p else x,
            ),
            Wrong(
                "scaled at evaluation, as in the paper of 2014: here the training side divides "
                "by 1 - p, and evaluation leaves x alone",
                lambda x, p, training, dice: x * (dice >= p) if training else x * (1 - p),
            ),
        ],
        success="in training the mean is kept, at evaluation nothing happens",
    )


def cross_entropy(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check `fn(logits, targets)`: logits (B, T, V), targets (B, T); mean nats, a scalar."""

    def right(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def viewed(logits: Tensor, targets: Tensor) -> Tensor:
        B, T, V = logits.shape
        return F.cross_entropy(logits.reshape(B, V, T), targets)

    def probabilities(logits: Tensor, targets: Tensor) -> Tensor:
        return right(logits.softmax(-1), targets)

    def overflowed(got: Tensor, logits: Tensor, targets: Tensor) -> bool:
        return not bool(torch.isfinite(torch.as_tensor(got)).all())

    targets = torch.tensor([[0, 2, 4], [1, 1, 3]])
    shifted = 3 * _normal(2, 3, 5) + 200.0  # exp(200) is infinite in float32
    return check(
        fn,
        cases=[(3 * _normal(2, 3, 5), targets), (shifted, targets)],
        right=right,
        wrongs=[
            Wrong(
                "logits and targets were flattened differently: the targets went column by "
                "column, so predictions are marked against other tokens' answers",
                lambda logits, targets: right(logits, targets.T.reshape(targets.shape)),
            ),
            Wrong(
                "logits and targets were flattened differently: reshaping (B, T, V) to (B, V, T) "
                "cuts scores across tokens; transpose, or flatten B and T",
                viewed,
            ),
            Wrong(
                "softmax twice: cross-entropy got probabilities where it wants logits",
                probabilities,
            ),
            Wrong("that is the sum over tokens; divide by B * T", lambda z, y: 6 * right(z, y)),
            Wrong(
                "in bits: the logarithm is to base 2, and this book counts in nats",
                lambda z, y: right(z, y) / torch.log(torch.tensor(2.0)),
            ),
            Wrong(
                "the sign is missing: a loss is minus the log-probability",
                lambda z, y: -right(z, y),
            ),
            Wrong(
                "one loss a token: take the mean over all B * T",
                when=lambda got, z, y: torch.as_tensor(got).numel() == y.numel(),
            ),
            Wrong(
                "exp overflowed on large logits: subtract each row's maximum first; the "
                "probabilities do not change",
                when=overflowed,
            ),
        ],
        success="the mean surprise in nats, also where exp alone would overflow",
        tolerance=1e-4,
    )


def count_parameters(fn: Callable[[int, int, int, int], int]) -> Result:
    """Check `fn(V, T, C, L)`: the parameters of a GPT with vocabulary V, context T, L blocks."""

    def right(V: int, T: int, C: int, L: int) -> int:
        return (V + T) * C + L * (12 * C * C + 13 * C) + 2 * C

    def off_by(term: Callable[[int, int, int, int], int]) -> Callable[..., int]:
        return lambda V, T, C, L: right(V, T, C, L) + term(V, T, C, L)

    return check(
        fn,
        cases=[(50257, 1024, 768, 12), (37, 256, 96, 3), (11, 7, 4, 1)],
        right=right,
        wrongs=[
            Wrong(
                "the head was counted twice: here it shares the token table's weights; only an "
                "untied model has both, like the one of 162.6M that was called 124M",
                off_by(lambda V, T, C, L: V * C),
            ),
            Wrong(
                "head counted twice, position table missing: two mistakes",
                off_by(lambda V, T, C, L: (V - T) * C),
            ),
            Wrong("the position table is missing: T * C", off_by(lambda V, T, C, L: -T * C)),
            Wrong(
                "the biases of the four linear layers in each block are missing: 9C a block",
                off_by(lambda V, T, C, L: -9 * C * L),
            ),
            Wrong(
                "the layer norms are missing: a gain and a shift, two a block and one at the end",
                off_by(lambda V, T, C, L: -4 * C * L - 2 * C),
            ),
            Wrong("the final layer norm is missing: 2C", off_by(lambda V, T, C, L: -2 * C)),
            Wrong(
                "queries, keys and values need three C x C matrices, not one",
                off_by(lambda V, T, C, L: -2 * L * C * C),
            ),
            Wrong(
                "the projection after the heads is missing: C x C in each block",
                off_by(lambda V, T, C, L: -L * C * C),
            ),
            Wrong(
                "the feed-forward layer widens to 4C and returns: 8C² a block, not 2C²",
                off_by(lambda V, T, C, L: -6 * L * C * C),
            ),
        ],
        success="every weight counted once, GPT-2's 124,439,808 among them",
        tolerance=1e-12,
    )
