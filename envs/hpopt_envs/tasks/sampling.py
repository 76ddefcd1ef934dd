"""Drawing responses from a model, and how likely it and its base find them."""

from collections.abc import Sequence
from typing import Any

import torch

from ..divergences.f_divergence import divergence
from ..errors import WorldError
from .causal import logits_of
from .data import Split
from .roles import AsBase

# What many a model's own generation settings change; together they mean: draw from the model.
PLAIN = {
    "do_sample": True,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "num_beams": 1,
}


def pad_prompts(prompts: Sequence[Sequence[int]], pad: int) -> Split:
    """Return prompts as tensors, padded at the left, as generation takes them.

    Returns:
        `prompt_ids` (n, longest) and `prompt_length` (n,).
    """
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])
    return {"prompt_ids": ids, "prompt_length": torch.tensor([len(p) for p in prompts])}


@torch.no_grad()
def draw(model: Any, batch: Split, max_new_tokens: int, ends: Sequence[int], pad: int) -> Split:
    """Draw a response to each prompt, until its end or the greatest number of tokens.

    Args:
        model: of transformers.
        batch: of `pad_prompts`.
        max_new_tokens: of a response, its end token included.
        ends: tokens that end it.
        pad: a token that is legal, and not looked at.

    Returns:
        Sequences padded at the right: `input_ids` (n, longest prompt + max_new_tokens), `length`
        (n,) of prompt and response, and `learnt`, which tokens are the response's.

    Raises:
        WorldError: the model can't generate.
    """
    if not hasattr(model, "generate"):
        raise WorldError(
            f"model: must write text, with a method generate(), but {type(model).__name__} has none"
        )
    prompt, prompt_length = batch["prompt_ids"], batch["prompt_length"]
    width = prompt.shape[1]
    place = torch.arange(width + max_new_tokens, device=prompt.device)
    ids = model.generate(
        prompt,
        attention_mask=(place[:width] >= width - prompt_length[:, None]).long(),
        max_new_tokens=max_new_tokens,
        min_new_tokens=0,
        eos_token_id=list(ends),
        pad_token_id=pad,
        **PLAIN,
    )
    ids = torch.nn.functional.pad(ids, (0, len(place) - ids.shape[1]), value=pad)
    end = torch.isin(ids[:, width:], torch.tensor(ends, device=ids.device)).long()
    response_length = (end.cumsum(1) - end == 0).sum(1)  # the first end is the response's
    # From padding at the left to padding at the right: what was before the prompt goes behind.
    shift = (width - prompt_length)[:, None]
    ids = ids.gather(1, (place + shift) % len(place))
    length = prompt_length + response_length
    learnt = (place >= prompt_length[:, None]) & (place < length[:, None])
    return {
        "input_ids": ids.masked_fill(place >= length[:, None], pad),
        "length": length,
        "learnt": learnt,
    }


def responses(batch: Split) -> list[torch.Tensor]:
    """Return the tokens of each response."""
    rows = zip(batch["input_ids"], batch["learnt"], strict=True)
    return [ids[learnt] for ids, learnt in rows]


def token_logits(model: Any, batch: Split) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what a model says of each token of a response.

    Returns:
        Logits (n, longest − 1, vocabulary) of all tokens but the first, these tokens (n, longest
        − 1), and which of them are a response's.
    """
    longest = int(batch["length"].max())
    ids, learnt = batch["input_ids"][:, :longest], batch["learnt"][:, 1:longest]
    logits = logits_of(model, ids)[:, :-1]  # padding is behind, and not looked at
    return logits.float(), ids[:, 1:], learnt


def log_probability(logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of the masked tokens of each row, shape (n,)."""
    chosen = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
    return (chosen * mask).sum(1)


@torch.no_grad()
def compare(model: Any, batch: Split, as_base: AsBase) -> Split:
    """Return how likely model and base model find responses.

    Returns:
        `log_policy` and `log_reference` (n,) of whole responses, and `divergence` (n,): KL(model ‖
        base) of the next token, over the whole vocabulary, summed over the response. Over the
        model's own samples its mean is that of whole responses, with less variance.
    """
    logits, ids, mask = token_logits(model, batch)
    with as_base():
        reference, _, _ = token_logits(model, batch)
    return {
        "log_policy": log_probability(logits, ids, mask),
        "log_reference": log_probability(reference, ids, mask),
        "divergence": (divergence("reverse_kl", reference, logits) * mask).sum(1),
    }
