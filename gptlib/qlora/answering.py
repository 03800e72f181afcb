"""What a tuned model answers.

One job: `answer`, the text that a model writes after what is asked, in the form it was trained in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gptlib import runtime
from gptlib.qlora.libraries import quiet
from gptlib.qlora.pairs import Messages, asked

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    max_tokens: int = 200,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> str:
    """Let a model answer; it stops at the token that ends an answer, or after `max_tokens`.

    Args:
        messages: a conversation that ends with what is asked. temperature: 0 takes the likeliest
            token each time. top_p: the smallest set of tokens with so much of the probability.
        seed: of the dice; the generators' states are put back.
    """
    writer: Any = model  # whose `generate` its type does not tell of
    device = next(model.parameters()).device
    ids = tokenizer(asked(messages, tokenizer), add_special_tokens=False)["input_ids"]
    start = torch.tensor([ids], device=device)
    drawn = {"temperature": temperature, "top_p": top_p} if temperature > 0 else {}
    before = runtime.random_state()
    runtime.seed_everything(seed)
    try:
        with quiet():
            out = writer.generate(
                input_ids=start, attention_mask=torch.ones_like(start), max_new_tokens=max_tokens,
                do_sample=temperature > 0, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id, use_cache=True, **drawn,
            )  # fmt: skip
    finally:
        runtime.set_random_state(before)
    return str(tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)).strip()
