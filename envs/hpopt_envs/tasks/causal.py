"""Whether a model predicts tokens from those before them alone."""

from typing import Any

import torch

from ..errors import WorldError

TOKENS = 16  # that a model is tried on
ROUNDING = 1e-5  # of the largest logit


@torch.no_grad()
def check_causal(model: Any, input_ids: torch.Tensor) -> None:
    """Make sure that a model's predictions don't change with a later token.

    Args:
        model: that takes ids.
        input_ids: of examples (n, longest); the first one is tried.

    Raises:
        WorldError: they do: the model sees what it is to predict.
    """
    ids = input_ids[:1, :TOKENS]
    others = input_ids[input_ids != ids[0, -1]]
    if ids.shape[1] < 2 or not len(others):
        return
    changed = ids.clone()
    changed[0, -1] = others[0]
    model.eval()
    logits, after = (logits_of(model, tokens)[:, :-1].float() for tokens in (ids, changed))
    if bool((logits - after).abs().max() > ROUNDING * logits.abs().max()):
        raise WorldError(
            "model: must predict each token from those before it, but the predictions of "
            f"{type(model).__name__} change with later ones, as an encoder's do"
        )


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return a model's logits, or what a factory's returns in place of them: (n, length, tokens).

    That is without a cache of keys and values, which Hugging Face's models keep unless told.
    """
    output = model(ids, use_cache=False) if hasattr(model, "config") else model(ids)
    logits: torch.Tensor = getattr(output, "logits", output)
    return logits
