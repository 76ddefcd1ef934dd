"""A model of your own: a small GRU language model, on the default task.

    python -m hpopt search --model own_model:gru --trials 4 --trial-tokens 32768

from this folder. Any function without arguments that returns a `torch.nn.Module` will do: for the
task `lm`, one that takes token ids (batch, length) and returns logits (batch, length, vocabulary).
A model that Hugging Face knows needs no code: `--model HuggingFaceTB/SmolLM2-135M`.
"""

import torch
from torch import nn

VOCABULARY = 1024  # of the embedded tokenizer, which a function's model is given


class GRULanguageModel(nn.Module):
    """Untrained: what it learns, it learns within the trial."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.dropout = nn.Dropout(0.0)  # spaces with `dropout` set it
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.gru(self.dropout(self.embedding(input_ids)))
        logits: torch.Tensor = self.head(self.dropout(hidden))
        return logits


def gru() -> nn.Module:
    return GRULanguageModel()
