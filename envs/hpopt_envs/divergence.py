"""f-divergences between categorical distributions, as pure functions of logits.

With t = p_policy/p_reference, D_f = E_reference[f(t)]. Logits may have any leading shape; the last
dimension is the vocabulary, summed over exactly.
"""

import torch


def forward_kl(reference_log_probs: torch.Tensor, policy_logits: torch.Tensor) -> torch.Tensor:
    """KL(reference ‖ policy), f(t) = −log t.

    Args:
        reference_log_probs: normalised, shape (..., vocabulary).
        policy_logits: unnormalised, the same shape.

    Returns:
        Shape (...), nats, at least 0 up to rounding.
    """
    log_reference = reference_log_probs.float()
    log_policy = torch.log_softmax(policy_logits.float(), dim=-1)
    # A reference probability of exactly 0 has log −inf, and contributes nothing.
    difference = torch.where(
        torch.isneginf(log_reference), torch.zeros_like(log_policy), log_reference - log_policy
    )
    return (log_reference.exp() * difference).sum(dim=-1)
