"""The lab of chapter 2: four heads that say they are masked, and a coin to try them on.

One job: hold what the lab hands out. The heads are to be found out by what they do; reading on
spoils it.

Each head takes queries, keys and values (B, H, T, D), H = 2 in the lab, and returns (B, H, T, D).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

#: Queries, keys and values (B, H, T, D) to outputs (B, H, T, D).
Head = Callable[[Tensor, Tensor, Tensor], Tensor]


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, T)


def _future(scores: Tensor, diagonal: int = 1) -> Tensor:
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)


def ben(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Masks after the softmax: the divisor of each row still holds the keys of the future."""
    return _scores(q, k).softmax(-1).tril() @ v


def ivo(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Is right: the mean of the whole square cancels in each row, all but its rounding."""
    scores = _scores(q, k)
    scores = scores - scores.mean((-2, -1), keepdim=True)
    return scores.masked_fill(_future(scores), -math.inf).softmax(-1) @ v


def nora(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Lets a token see its successor, in every head but the first."""
    scores = _scores(q, k)
    hidden = torch.stack([_future(scores, 1 if h == 0 else 2) for h in range(q.size(-3))])
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def sal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Normalizes over time: the queries compete for a key, later ones among them."""
    scores = _scores(q, k)
    return scores.masked_fill(_future(scores), -math.inf).softmax(-2) @ v


#: The four that the lab hands out, by the names of those who sent them in.
HEADS: dict[str, Head] = {"ben": ben, "ivo": ivo, "nora": nora, "sal": sal}


class Gambler(nn.Module):
    """Predicts the next toss of a coin with one attention of two heads, whichever it is given.

    Args:
        attend: the attention. T: longest window. C: channels, shared by the two heads.
    """

    def __init__(self, attend: Head, T: int = 16, C: int = 32) -> None:
        super().__init__()
        self.attend = attend
        self.toss, self.position = nn.Embedding(2, C), nn.Embedding(T, C)
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        self.out = nn.Linear(C, 2)

    def forward(self, tosses: Tensor) -> Tensor:
        """Map tosses (B, T), each 0 or 1, to scores (B, T, 2) for the toss after each."""
        B, T = tosses.shape
        x = self.toss(tosses) + self.position.weight[:T]  # (B, T, C)
        q, k, v = self.qkv(x).view(B, T, 3, 2, -1).permute(2, 0, 3, 1, 4)  # (B, 2, T, C / 2)
        return self.out(self.attend(q, k, v).transpose(1, 2).reshape(B, T, -1))
