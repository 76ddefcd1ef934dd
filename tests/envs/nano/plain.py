"""The same models as plain modules of torch, one at a time."""

import math

import torch

from hpopt_envs.nano.models import Architecture


class Plain(torch.nn.Module):
    def __init__(self, architecture: Architecture, weights: torch.Tensor) -> None:
        super().__init__()
        self.architecture = architecture
        blocks = architecture.cut(weights[None])
        self.blocks = torch.nn.ParameterDict({n: b[0].clone() for n, b in blocks.items()})

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, w) tokens -> (n, q, vocabulary) logits."""
        rows = [self.attend(w) if self.architecture.attention else self.look(w) for w in windows]
        return torch.stack(rows)

    def look(self, window: torch.Tensor) -> torch.Tensor:
        b, context = self.blocks, self.architecture.context
        logits = []
        for end in range(context, len(window) + 1):
            seen = torch.cat([b["tokens"][token] for token in window[end - context : end]])
            inner = torch.relu(seen @ b["inner"] + b["inner_bias"])
            logits.append(inner @ b["output"] + b["output_bias"])
        return torch.stack(logits)

    def attend(self, window: torch.Tensor) -> torch.Tensor:
        b, width = self.blocks, self.architecture.width
        norm = torch.nn.RMSNorm(width, eps=1e-5, elementwise_affine=False)
        stream = b["tokens"][window] + b["positions"][: len(window)]
        query, key, value = (norm(stream) @ b["attend"]).split(width, dim=-1)
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=1 / math.sqrt(width)
        )
        stream = stream + mixed @ b["mix"]
        inner = torch.relu(norm(stream) @ b["inner"] + b["inner_bias"])
        stream = stream + inner @ b["outer"]
        return norm(stream) @ b["output"] + b["output_bias"]

    def gradient(self) -> torch.Tensor:
        return torch.cat([self.blocks[name].grad.flatten() for name in self.architecture.blocks])
