"""A small model guesses ahead, a large one checks all guesses in one pass: the same texts, sooner.

One job: `speculate`. A draft model draws some tokens one by one; the model reads them all at once,
which takes little longer than reading one. A token is kept with probability min(1, p / q), where p
is the model's probability of it and q the draft's; the first that is not kept is drawn anew from
what p has more than q, and what follows it is dropped. What comes out is distributed exactly as if
the model had drawn it, whatever the draft is (Leviathan et al. 2023, section 2.3 and appendix A.1;
Chen et al. 2023, theorem 1). A better draft only means that more is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.sampling.drawing import fresh_seed, likeliest, processed
from gptlib.sampling.processors import Processor, is_whole
from gptlib.sampling.prompts import Prompt, as_prompt
from gptlib.sampling.reading import Reader
from gptlib.sampling.settings import More, Sampling
from gptlib.sampling.stops import Ending, Stop

Distribution = Callable[[Tensor, Reader], Tensor]


@dataclass
class Tally:
    """What `speculate` counts as it goes."""

    passes: int = 0  #: of the large model
    guessed: int = 0  #: tokens that the draft drew
    kept: int = 0  #: of them, those that the large model let stand


def speculate(
    model: GPT,
    draft: GPT,
    ids: Prompt,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | None = None,
    guesses: int = 4,
    processors: Sequence[Processor] = (),
    tally: Tally | None = None,
    **more: Unpack[More],
) -> Iterator[int]:
    """Yield new token ids of one prompt, as `stream` does, with fewer passes of `model`.

    Derived in chapter 7, *Does every token have to cost a pass?*

    At temperature 0 they are `stream`'s. Else they are distributed as `stream`'s are, but a seed
    gives another text than there.

    Args:
        model: whose text it is. draft: a smaller model with the same tokenizer.
        guesses: tokens that the draft draws at a time.
        tally: is told how many were kept.
        ids, max_new_tokens, temperature, top_k, top_p, stop, seed, processors, more: as for
            `generate`; what the settings do to the model's scores they do to the draft's too.

    Raises:
        ConfigError: `guesses` is below 1, the vocabularies differ, or what `stream` refuses.
    """
    settings = Sampling(
        max_new_tokens, temperature, top_k, top_p, stop, seed, True, processors, **more
    )
    settings.check_vocabulary(model.config.known_ids)
    prompt = as_prompt(model, ids)
    if prompt.size(0) != 1 or settings.num_samples * settings.num_beams != 1:
        raise ConfigError("speculate writes one text for one prompt; use generate for more")
    if not is_whole(guesses, 1):
        raise ConfigError(f"guesses is {guesses!r}; give a whole number of 1 or more, such as 4")
    if model.config.known_ids != draft.config.known_ids:
        raise ConfigError(
            f"the model knows {model.config.known_ids} ids and the draft {draft.config.known_ids}; "
            "a draft has to write in the model's tokens"
        )
    tally = Tally() if tally is None else tally
    readers = Reader(model, prompt), Reader(draft, prompt.to(draft.device))
    return _until_stop(_rounds(*readers, settings, guesses, tally), settings)


def _until_stop(rounds: Iterator[list[int]], settings: Sampling) -> Iterator[int]:
    ending, left = Ending(settings.stop, settings.tokenizer), settings.max_new_tokens
    while left > 0:
        for token in next(rounds)[:left]:
            yield token
            left -= 1
            if ending.reached(token):
                return


@torch.inference_mode()
def _rounds(
    target: Reader, draft: Reader, settings: Sampling, guesses: int, tally: Tally
) -> Iterator[list[int]]:
    """Yield, again and again, the tokens that one pass of the large model brings: one at least."""
    seed = fresh_seed() if settings.seed is None else settings.seed
    dice = torch.Generator().manual_seed(seed if isinstance(seed, int) else seed[0])
    distribution = _distribution(settings)
    while True:
        # The model's window moves on where it does without a draft: the last token before is drawn
        # alone.
        n = min(guesses, target.room())
        with draft.at_work():
            tokens, expected = _guess(draft, n, distribution, dice)
        for token in tokens:
            target.append(target.ids(token))
        with target.at_work():
            logits = target.read_last(n + 1)[0]  # (n + 1, V): after the text, and each guess
            target.rewind(n)
            new = _check(target, logits, tokens, expected, distribution, dice)
        draft.rewind(n)
        for token in new:
            draft.append(draft.ids(token))
        for reader in (target, draft):
            reader.forget()
        tally.passes, tally.guessed = tally.passes + 1, tally.guessed + n
        tally.kept += len(new) - 1
        yield new


def _distribution(settings: Sampling) -> Distribution:
    """The function from logits (1, V) after a reader's text to probabilities (V,) on the CPU."""
    process = processed(settings)

    def probabilities(logits: Tensor, reader: Reader) -> Tensor:
        logits = process(logits, reader)
        best = likeliest(logits)  # refuses what is no distribution
        if settings.greedy:  # all on one token
            return torch.zeros_like(logits).scatter(-1, best[:, None], 1)[0].cpu()
        return logits.softmax(dim=-1)[0].double().cpu()

    return probabilities


def _guess(
    draft: Reader, n: int, distribution: Distribution, dice: torch.Generator
) -> tuple[list[int], list[Tensor]]:
    """Let the draft draw n tokens; return them, and what each was drawn from."""
    tokens, expected = [], []
    for _ in range(n):
        expected.append(distribution(draft.read(), draft))
        tokens.append(_draw(expected[-1], dice))
        draft.append(draft.ids(tokens[-1]))
    return tokens, expected


def _check(
    target: Reader,
    logits: Tensor,
    tokens: list[int],
    expected: list[Tensor],
    distribution: Distribution,
    dice: torch.Generator,
) -> list[int]:
    """Append to the text the guesses that may stay, and a token after them; return these."""
    new = []
    for place, (token, q) in enumerate(zip(tokens, expected, strict=True)):
        p = distribution(logits[place : place + 1], target)
        kept = torch.rand((), generator=dice, dtype=torch.float64) * q[token] < p[token]
        if not kept:  # what the draft draws too seldom makes good what it draws too often
            rest = (p - q).clamp(min=0)
            token = _draw(rest if rest.any() else p, dice)  # none is left by rounding only
        new.append(token)
        target.append(target.ids(new[-1]))
        if not kept:
            return new
    new.append(_draw(distribution(logits[-1:], target), dice))
    target.append(target.ids(new[-1]))
    return new


def _draw(weights: Tensor, dice: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=dice))
