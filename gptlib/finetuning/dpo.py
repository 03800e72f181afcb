"""Direct preference optimization: of two answers, make one likelier against the other.

One job: `dpo_loss`, and the `sequence_logprobs` that it is made of. There is no reward model and
nothing is sampled: the reward of an answer is how much likelier the policy, which is trained, finds
it than the reference, which is not, and the loss is that of a classifier that should see the chosen
answer as the better one. Only the difference counts: the loss also falls where both answers
get less likely, the rejected one faster.

Source: Rafailov et al., Direct preference optimization: your language model is secretly a reward
model, NeurIPS 2023, equations 5 and 7.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.errors import ConfigError, DataError


class Rewards(NamedTuple):
    """What the policy gives for the answers of each pair: β times log(policy / reference).

    Attributes:
        chosen, rejected: (B,), without gradient. Divided by β they are nats gained since the
            reference.
    """

    chosen: Tensor
    rejected: Tensor

    @property
    def margin(self) -> Tensor:
        """How much more the chosen answer has, (B,); above 0 where the pair is told apart."""
        return self.chosen - self.rejected


def sequence_logprobs(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of each row's answer, given what stands before it: (B,) nats.

    A sum over tokens and no mean, so that a longer answer has more to gain and to lose.

    Args:
        model: a `GPT`, wrapped or not.
        ids: (B, T) int64, the prompt, the answer, and padding at the right, of any id.
        mask: (B, T), true at the tokens of the answer. Nothing predicts a row's first token, and it
            does not count.

    Raises:
        DataError: shapes that differ, no answer at all, and what `GPT` refuses.
    """
    if ids.dim() != 2 or mask.shape != ids.shape:
        raise DataError(
            f"ids have shape {tuple(ids.shape)} and the mask has {tuple(mask.shape)}; give (B, T) "
            "for both, the mask true where a token belongs to the answer"
        )
    targets = ids[:, 1:].masked_fill(~mask[:, 1:].bool(), -1)
    losses = model(ids[:, :-1], targets, return_logits=False, reduction="none")[1]  # (B, T - 1)
    return -losses.sum(dim=1)


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
) -> tuple[Tensor, Rewards]:
    """The mean of -log σ(β (Δchosen - Δrejected)) over pairs, where Δ is policy minus reference.

    It begins at ln 2, where the policy is the reference. The gradient of a pair is
    β σ(-margin) times that of log p(rejected) - log p(chosen): pairs that are told apart stop
    counting once their margin is large, and with a small β the policy has to go far for that.

    Derived in chapter 9, *Which of two?*

    Args:
        policy_chosen, policy_rejected: `sequence_logprobs` of the model that is trained, (B,).
        ref_chosen, ref_rejected: of the model that it began as, (B,), without gradient.
        beta: the price of leaving the reference; 0.1 is usual, and less lets the policy go further.

    Returns:
        (loss, a scalar; rewards of chosen and of rejected answers).

    Raises:
        ConfigError: a β that is not above 0. DataError: four tensors of different shapes.
    """
    if not (isinstance(beta, int | float) and 0 < beta < math.inf):
        raise ConfigError(f"beta is {beta!r}; give a number above 0, such as 0.1")
    given = policy_chosen, policy_rejected, ref_chosen, ref_rejected
    if any(part.shape != (len(policy_chosen),) for part in given):
        raise DataError(
            f"the log-probabilities have the shapes {[tuple(part.shape) for part in given]}; give "
            "(B,) four times, a number for each answer"
        )
    chosen = beta * (policy_chosen - ref_chosen)
    rejected = beta * (policy_rejected - ref_rejected)
    loss = -F.logsigmoid(chosen - rejected).mean()
    return loss, Rewards(chosen.detach(), rejected.detach())
