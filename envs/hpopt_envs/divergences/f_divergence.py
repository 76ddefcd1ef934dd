"""f-divergences between categorical distributions, as pure functions of logits.

With t = p_policy/p_reference, D_f = E_reference[f(t)], summed exactly over the vocabulary:

    forward_kl         f(t) = −log t                            KL(reference ‖ policy)
    reverse_kl         f(t) = t log t                           KL(policy ‖ reference)
    jensen_shannon     f(t) = ½(t log t − (t + 1) log((t + 1)/2))   at most ln 2
    total_variation    f(t) = ½|t − 1|                          at most 1
    chi_squared        f(t) = (t − 1)²                          Pearson's
    squared_hellinger  f(t) = (√t − 1)²                         at most 2
    alpha              f(t) = (t^α − 1 − α(t − 1))/(α(α − 1))   forward KL at α = 0, reverse at 1

Below, p and q are the probabilities of policy and reference. The gradient with respect to the
policy's logit i is s_i − p_i Σ_j s_j with slopes s = p f′(t). A multiple of t − 1 added to f leaves
D and gradient as they are, since Σ(p − q) = 0. Here it makes f′(1) = 0, so that near p = q an error
in the normalisation of p, q or t cancels to first order.

Probabilities of 0 are legal on either side. Where a divergence is infinite, it and its gradient
saturate at a number that is huge but finite.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import WorldError

# Logits that are worked on at a time, unless one row has more.
CPU_CHUNK_ELEMENTS = 2**19  # what its caches hold
ACCELERATOR_CHUNK_ELEMENTS = 2**22  # enough to keep it busy


def divergence(
    name: str, reference_logits: Tensor, policy_logits: Tensor, alpha: float = 0.5
) -> Tensor:
    """Return D_f between reference and policy, differentiable in the policy's logits only.

    Beside the two logits and the gradient it takes only a chunk's worth of memory.

    Args:
        name: one of `DIVERGENCES`.
        reference_logits: shape (..., vocabulary), normalised (log-probabilities) or not.
        policy_logits: the same shape.
        alpha: the coefficient of "alpha", any finite number; the others don't look at it.

    Returns:
        Shape (...), nats, at least 0: float64 if one of the logits is, else float32.

    Raises:
        WorldError: no divergence has this name, or the two shapes differ.
    """
    if name not in DIVERGENCES:
        raise WorldError(f"divergence must be one of {', '.join(DIVERGENCES)}, but got {name!r}")
    if reference_logits.shape != policy_logits.shape:
        raise WorldError(
            "divergence: logits of reference and policy must have the same shape, but got "
            f"{tuple(reference_logits.shape)} and {tuple(policy_logits.shape)}"
        )
    formula = _Alpha(alpha) if name == "alpha" else _FORMULAS[name]
    values: Tensor = _Divergence.apply(formula, reference_logits.detach(), policy_logits)  # type: ignore[no-untyped-call]
    return values


class _Tokens:
    """Probabilities of a chunk of logits: the policy's, p, the reference's, q, and log t."""

    def __init__(self, reference: Tensor, policy: Tensor) -> None:
        dtype = _working_dtype(reference, policy)
        self._reference, self._policy = reference.to(dtype), policy.to(dtype)

    @cached_property
    def p(self) -> Tensor:
        return torch.softmax(self._policy, dim=-1)

    @cached_property
    def q(self) -> Tensor:
        return torch.softmax(self._reference, dim=-1)

    @cached_property
    def log_t(self) -> Tensor:
        # log p = logit − greatest logit + log of the greatest p: cheaper than a log-softmax, and
        # p, q and log t agree about the normalisation.
        difference = _below_greatest(self._policy).sub_(_below_greatest(self._reference))
        greatest = self.p.amax(-1, keepdim=True) / self.q.amax(-1, keepdim=True)
        return difference.add_(greatest.log_())

    def difference(self) -> Tensor:
        """Return p − q, precise near p = q: q (t − 1) as far as t = e, and what p has beyond."""
        beyond = torch.sub(self.p, self.q, alpha=math.e).clamp_(min=0)
        return self.log_t.clamp(max=1).expm1_().mul_(self.q).add_(beyond)


class _Formula(Protocol):
    """What a divergence is made of: `weight` times the sum of its terms over the vocabulary."""

    @property
    def weight(self) -> float: ...

    def terms(self, tokens: _Tokens) -> Tensor: ...

    def gradient(self, tokens: _Tokens) -> Tensor:
        """Return the gradient of the terms' sum with respect to the policy's logits."""


class _ForwardKL:
    """The α-divergence of order 0, but quicker, as the usual penalty of training.

    Near p = q its values are off by up to about 1e-7 nats in float32, those of `_Alpha` far less.
    """

    weight = 1.0

    def terms(self, tokens: _Tokens) -> Tensor:
        return (tokens.p - tokens.q).addcmul_(tokens.q, tokens.log_t, value=-1)

    def gradient(self, tokens: _Tokens) -> Tensor:
        return tokens.p - tokens.q


@dataclass(frozen=True)
class _Alpha:
    """`scale` times the α-divergence with α = `order`: three of the others are of this family.

    Up to ½ it is written with q t^α, beyond with p t^(α − 1), so that no small number divides.
    """

    order: float
    scale: float = 1.0

    @property
    def weight(self) -> float:
        return self.scale / max(self.order, 1 - self.order)

    def terms(self, tokens: _Tokens) -> Tensor:
        if self.order > 0.5:
            power_log = _power_log(tokens.log_t, self.order - 1)
            return (power_log * tokens.p).sub_(tokens.difference())
        power_log = _power_log(tokens.log_t, self.order)
        return tokens.difference().addcmul_(tokens.q, power_log, value=-1)

    def gradient(self, tokens: _Tokens) -> Tensor:
        if self.order > 0.5:
            slopes = _power_log(tokens.log_t, self.order - 1).mul(tokens.p).mul_(self.order)
        else:
            power_log = _power_log(tokens.log_t, self.order)
            slopes = (tokens.p - tokens.q).addcmul_(tokens.q, power_log, value=-self.order)
        return _through_softmax(slopes, tokens.p)


class _JensenShannon:
    """Mean of KL(p ‖ m) and KL(q ‖ m), where m = (p + q)/2."""

    weight = 0.5

    def terms(self, tokens: _Tokens) -> Tensor:
        over_mean = self._log_of_greater_over_mean(tokens.log_t)
        p_terms = tokens.log_t.clamp(max=0).add_(over_mean).mul_(tokens.p)
        return p_terms.addcmul_(tokens.q, over_mean.sub_(tokens.log_t.clamp(min=0)))

    def gradient(self, tokens: _Tokens) -> Tensor:
        over_mean = self._log_of_greater_over_mean(tokens.log_t)
        slopes = over_mean.add_(tokens.log_t.clamp(max=0)).mul_(tokens.p)
        return _through_softmax(slopes, tokens.p)

    def _log_of_greater_over_mean(self, log_t: Tensor) -> Tensor:
        """Return log(max(p, q)/m), from 0 to ln 2, precise near p = q."""
        return log_t.abs().neg_().expm1_().div_(2).log1p_().neg_()


class _TotalVariation:
    """Half the sum of |p − q|; at its kink, p = q, the slope is 0."""

    weight = 0.5

    def terms(self, tokens: _Tokens) -> Tensor:
        return (tokens.p - tokens.q).abs_()

    def gradient(self, tokens: _Tokens) -> Tensor:
        return _through_softmax((tokens.p - tokens.q).sign_().mul_(tokens.p), tokens.p)


_FORMULAS: dict[str, _Formula] = {
    "forward_kl": _ForwardKL(),
    "reverse_kl": _Alpha(1.0),
    "jensen_shannon": _JensenShannon(),
    "total_variation": _TotalVariation(),
    "chi_squared": _Alpha(2.0, scale=2.0),
    "squared_hellinger": _Alpha(0.5, scale=0.5),
}
DIVERGENCES = (*_FORMULAS, "alpha")


class _Divergence(torch.autograd.Function):
    """Goes through the logits chunk by chunk, and again in backward.

    Of what lies between, one chunk's is kept: what fits in one chunk is worked out only once.
    """

    @staticmethod
    def forward(ctx: Any, formula: _Formula, reference: Tensor, policy: Tensor) -> Tensor:
        ctx.formula = formula
        ctx.save_for_backward(reference, policy)
        dtype = _working_dtype(reference, policy)
        values = torch.empty(policy.shape[:-1], dtype=dtype, device=policy.device)
        ctx.kept = {}
        for number, chunk in enumerate(_chunks(policy)):
            tokens = _Tokens(reference[chunk], policy[chunk])
            ctx.kept = {number: tokens}
            values[chunk] = formula.terms(tokens).sum(-1)
        return values.mul_(formula.weight).clamp_(min=0)  # rounding may leave it below

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, None, Tensor]:
        reference, policy = ctx.saved_tensors
        upstream = (upstream * ctx.formula.weight).unsqueeze(-1)
        gradient = torch.empty_like(policy)
        for number, chunk in enumerate(_chunks(policy)):
            tokens = ctx.kept.get(number) or _Tokens(reference[chunk], policy[chunk])
            torch.mul(ctx.formula.gradient(tokens), upstream[chunk], out=gradient[chunk])
        return None, None, gradient


def _chunks(logits: Tensor) -> Iterator[tuple[int | slice, ...]]:
    """Yield indices of the leading dimensions that together cover every row once.

    Indices rather than a flattening to (rows, vocabulary), which would copy logits that aren't
    contiguous, such as those of all positions but the last.
    """
    elements = CPU_CHUNK_ELEMENTS if logits.is_cpu else ACCELERATOR_CHUNK_ELEMENTS
    inner = logits.shape[1:].numel()
    if logits.dim() == 1:
        yield ()
    elif logits.dim() > 2 and inner > elements:
        for index, part in enumerate(logits):
            yield from ((index, *rest) for rest in _chunks(part))
    else:
        step = max(1, elements // max(inner, 1))
        yield from ((slice(start, start + step),) for start in range(0, len(logits), step))


def _working_dtype(reference: Tensor, policy: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(reference.dtype, policy.dtype), torch.float32)


def _through_softmax(slopes: Tensor, p: Tensor) -> Tensor:
    """Return s_i − p_i Σ_j s_j, in the memory of `slopes`."""
    return slopes.addcmul_(p, slopes.sum(-1, keepdim=True), value=-1)


def _below_greatest(logits: Tensor) -> Tensor:
    """Return logits less the row's greatest; huge instead of infinite, as ∞ − ∞ isn't a number."""
    return (logits - logits.amax(-1, keepdim=True)).clamp_(min=-_huge(logits.dtype))


def _power_log(log_t: Tensor, exponent: float) -> Tensor:
    """Return (t^exponent − 1)/exponent, huge instead of infinite; its limit at 0 is log t."""
    if abs(exponent) < torch.finfo(log_t.dtype).eps ** 2:  # closer to the limit than rounding is
        return log_t
    huge = _huge(log_t.dtype)
    return (log_t * exponent).expm1_().div_(exponent).clamp_(min=-huge, max=huge)


def _huge(dtype: torch.dtype) -> float:
    """Return a number whose squares, summed over a batch, are still finite."""
    return float(torch.finfo(dtype).max ** (1 / 3))
