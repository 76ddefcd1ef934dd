"""Text that a language model writes itself: what it is to keep doing, where nothing else says."""

from typing import Any

import torch

from ..errors import WorldError, foreign
from .data import Split

SEQUENCES = {"train": 128, "validation": 32, "test": 32}
LONGEST = 64  # tokens
SEED = 0


def sample_text(model: torch.nn.Module, longest: int) -> tuple[dict[str, Split], float]:
    """Draw text from a base model, at temperature 1, from its first token.

    Args:
        model: one of transformers' that can generate.
        longest: tokens of a sequence, `LONGEST` at most.

    Returns:
        Splits of `input_ids` (n, tokens), and the token-equivalents spent: a generated token costs
        a forward pass.

    Raises:
        WorldError: the model can't generate, or doesn't say how a text begins.
    """
    config: Any = getattr(model, "config", None)
    begin = getattr(config, "bos_token_id", None)
    begin = getattr(config, "eos_token_id", None) if begin is None else begin
    begin = begin[0] if isinstance(begin, list) else begin
    if not hasattr(model, "generate") or begin is None:
        raise WorldError(
            "retain_file: must be given, since this model can't write text to be retained: "
            f"{type(model).__name__} has no generate() or no first token; forgetting_weight=0 and "
            "a space without divergence_weight (plain) need none"
        )
    device, tokens = next(model.parameters()).device, min(longest, LONGEST)
    total = sum(SEQUENCES.values())
    with (
        foreign("retain_file: none is given, and drawing text from the base model"),
        torch.no_grad(),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(SEED)
        ids = model.eval().generate(  # type: ignore[operator]
            torch.full((total, 1), begin, device=device),
            attention_mask=torch.ones(total, 1, dtype=torch.long, device=device),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,  # many a model brings another one
            min_new_tokens=tokens - 1,
            max_new_tokens=tokens - 1,
            pad_token_id=begin,
        )
    parts = torch.split(ids, list(SEQUENCES.values()))
    splits: dict[str, Split] = {
        name: {"input_ids": part.contiguous()} for name, part in zip(SEQUENCES, parts, strict=True)
    }
    return splits, total * (tokens - 1) / 3
