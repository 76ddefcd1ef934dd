"""Tiny language models, stacked: K of one shape, with a row of weights each.

Every function works on all K at once, and no model sees another's numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from .sources import Random

EMBEDDINGS, BODY, HEAD = "embeddings", "body", "head"  # what a block of weights is part of
EPSILON = 1e-5  # of normalisation


@dataclass(frozen=True)
class Block:
    """A matrix or a bias of every model.

    Attributes:
        shape: of one model's.
        part: which part of the model it belongs to.
        deviation: standard deviation of what it is drawn from, around 0.
        begin, end: where it is in a row of weights.
    """

    shape: tuple[int, ...]
    part: str
    deviation: float
    begin: int
    end: int


@dataclass(frozen=True)
class Architecture:
    """What a model's weights are, and what they compute.

    Attributes:
        attention: one layer of causal attention and an MLP, both residual; otherwise one hidden
            layer over the last tokens.
        vocabulary: number of tokens.
        context: tokens that a prediction sees.
        width: of embeddings.
        hidden: of the hidden layer.
    """

    attention: bool
    vocabulary: int
    context: int
    width: int
    hidden: int

    @cached_property
    def blocks(self) -> Mapping[str, Block]:
        """Blocks by name, in the order of a row of weights."""
        v, c, d, h = self.vocabulary, self.context, self.width, self.hidden
        if self.attention:
            shapes: list[tuple[str, tuple[int, ...], str, float]] = [
                ("tokens", (v, d), EMBEDDINGS, 0.5),
                ("positions", (c, d), EMBEDDINGS, 0.1),
                ("attend", (d, 3 * d), BODY, d**-0.5),
                ("mix", (d, d), BODY, d**-0.5),
                ("inner", (d, h), BODY, d**-0.5),
                ("inner_bias", (h,), BODY, 0.0),
                ("outer", (h, d), BODY, h**-0.5),
                ("output", (d, v), HEAD, d**-0.5),
                ("output_bias", (v,), HEAD, 0.0),
            ]
        else:
            shapes = [
                ("tokens", (v, d), EMBEDDINGS, 1.0),
                ("inner", (c * d, h), BODY, (c * d) ** -0.5),
                ("inner_bias", (h,), BODY, 0.0),
                ("output", (h, v), HEAD, h**-0.5),
                ("output_bias", (v,), HEAD, 0.0),
            ]
        found, begin = {}, 0
        for name, shape, part, deviation in shapes:
            end = begin + math.prod(shape)
            found[name] = Block(shape, part, deviation, begin, end)
            begin = end
        return found

    @property
    def parameters(self) -> int:
        """Number of weights of one model."""
        return max(block.end for block in self.blocks.values())

    def draw(self, random: Random) -> torch.Tensor:
        """Return the weights of an untrained model, shape (parameters,), 64 bits."""
        deviations = [np.full(b.end - b.begin, b.deviation) for b in self.blocks.values()]
        return torch.from_numpy(random.normal(size=self.parameters) * np.concatenate(deviations))

    def cut(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return views of each block, shape (K, *shape), of weights, shape (K, parameters)."""
        return {
            name: weights[:, block.begin : block.end].view(-1, *block.shape)
            for name, block in self.blocks.items()
        }

    def logits(self, blocks: Mapping[str, torch.Tensor], windows: torch.Tensor) -> torch.Tensor:
        """Predict the tokens that follow.

        Args:
            blocks: as `cut` returns them.
            windows: tokens, shape (K, n, w); w is at least the context of one without attention,
                at most that of one with it.

        Returns:
            Shape (K, n, q, vocabulary): predictions after each token, or after each whole context.
        """
        if self.attention:
            return self._attend(blocks, windows)
        stack, n = windows.shape[:2]
        contexts = windows.unfold(2, self.context, 1)  # (K, n, q, context)
        seen = _embed(blocks["tokens"], contexts).view(stack, -1, self.context * self.width)
        inner = torch.baddbmm(blocks["inner_bias"][:, None], seen, blocks["inner"]).relu()
        output = torch.baddbmm(blocks["output_bias"][:, None], inner, blocks["output"])
        return output.view(stack, n, -1, self.vocabulary)

    def _attend(self, blocks: Mapping[str, torch.Tensor], windows: torch.Tensor) -> torch.Tensor:
        stack, n, w = windows.shape
        embedded = _embed(blocks["tokens"], windows) + blocks["positions"][:, None, :w]
        stream = embedded.view(stack, n * w, self.width)
        packed = torch.bmm(_normalise(stream), blocks["attend"]).view(stack * n, w, -1)
        query, key, value = packed.chunk(3, dim=-1)
        scores = torch.bmm(query, key.transpose(1, 2)) * self.width**-0.5
        future = torch.ones(w, w, dtype=torch.bool).triu(1)
        shares = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed = torch.bmm(shares, value).view(stack, n * w, self.width)
        stream = stream + torch.bmm(mixed, blocks["mix"])
        inner = torch.baddbmm(
            blocks["inner_bias"][:, None], _normalise(stream), blocks["inner"]
        ).relu()
        stream = stream + torch.bmm(inner, blocks["outer"])
        output = torch.baddbmm(blocks["output_bias"][:, None], _normalise(stream), blocks["output"])
        return output.view(stack, n, w, self.vocabulary)


def _embed(table: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return rows of K tables, shape (K, vocabulary, width), for tokens, shape (K, ...)."""
    stack, vocabulary, width = table.shape
    first = torch.arange(stack) * vocabulary
    index = tokens + first.view(stack, *[1] * (tokens.dim() - 1))
    rows = table.reshape(stack * vocabulary, width).index_select(0, index.reshape(-1))
    return rows.view(*tokens.shape, width)


def _normalise(stream: torch.Tensor) -> torch.Tensor:
    return stream * torch.rsqrt(stream.square().mean(-1, keepdim=True) + EPSILON)
