"""A linear probe: a new head, fitted to what the base model makes of texts."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

from .data import Split, split_size

EXAMPLES = 2000  # that the head is fitted to
BATCH = 32  # examples
STRENGTH = 0.015  # inverse regularization, for features of variance 1


def fit_head(
    model: torch.nn.Module,
    classes: int,
    train: Split,
    logits: Callable[[Split], torch.Tensor],
    balanced: bool,
) -> int:
    """Fit a model's last linear layer by logistic regression, in place.

    A model whose logits don't come from a linear layer keeps its head; and so does one whose first
    examples are all of the same class.

    Args:
        model: the base model, with a new head.
        classes: outputs of the head.
        train: has "label" and "length" (n,).
        logits: runs the model on a part of `train`.
        balanced: weigh classes equally, whatever their sizes.

    Returns:
        Tokens that passed forward.
    """
    heads = find_heads(model, classes)
    if not heads:
        return 0
    head, rows, tokens = heads[-1], min(EXAMPLES, split_size(train)), 0
    features, seen = [], []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        model.eval()
        with torch.no_grad():
            for start in range(0, rows, BATCH):
                part = {name: t[start : min(start + BATCH, rows)] for name, t in train.items()}
                given = logits(part)
                tokens += int(part["length"].sum())
                found = _of_texts(head, seen.pop(), given, part["length"]) if seen else None
                if found is None:
                    return tokens
                features.append(found.float().cpu())
    finally:
        hook.remove()
    labels = train["label"][:rows].cpu()
    if bool((labels != labels[0]).any()):
        _set(head, _regression(torch.cat(features), labels, head, balanced))
    return tokens


def find_heads(model: torch.nn.Module, classes: int) -> list[torch.nn.Linear]:
    """Return the linear layers with so many outputs, the last of which is a classifier's head."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return [layer for layer in layers if layer.out_features == classes]


def _of_texts(
    head: torch.nn.Linear, inputs: torch.Tensor, logits: torch.Tensor, length: torch.Tensor
) -> torch.Tensor | None:
    """Return what the head made each text's logits of: (n, width); None if it didn't make them.

    Causal models run it at every token, and pick one: mostly, but not always, the last.
    """
    inputs = inputs.unsqueeze(1) if inputs.dim() == 2 else inputs  # (n, tokens, width)
    made = linear(inputs, head.weight, head.bias)  # (n, tokens, classes)
    token = torch.arange(inputs.shape[1], device=inputs.device)
    picked = torch.isclose(made, logits[:, None], rtol=1e-3, atol=1e-5).all(-1)
    picked &= token < length[:, None]
    if not bool(picked.any(1).all()):
        return None
    return inputs[torch.arange(len(inputs), device=inputs.device), (picked * token).argmax(1)]


def _regression(
    features: torch.Tensor, labels: torch.Tensor, head: torch.nn.Linear, balanced: bool
) -> Any:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    regression = LogisticRegression(
        C=STRENGTH / float(features.var(0).mean()),
        fit_intercept=head.bias is not None,
        class_weight="balanced" if balanced else None,
        max_iter=1000,
    )
    return regression.fit(features.double().numpy(), labels.numpy())


@torch.no_grad()
def _set(head: torch.nn.Linear, regression: Any) -> None:
    """Copy a regression's coefficients; classes that it didn't meet get none."""
    weight = torch.from_numpy(regression.coef_)
    bias = torch.from_numpy(regression.intercept_)
    if len(regression.classes_) == 2:  # scikit-learn has one row then, for the second class
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    met = torch.from_numpy(regression.classes_).to(head.weight.device)
    head.weight.zero_()
    head.weight[met] = weight.to(head.weight)
    if head.bias is not None:
        head.bias.zero_()
        head.bias[met] = bias.to(head.bias)
