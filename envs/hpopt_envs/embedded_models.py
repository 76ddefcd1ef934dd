"""Models that are made of the embedded one, so that tasks differ in size and in what is known."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from .models import load_model


def shallow() -> torch.nn.Module:
    """Return the embedded model without its upper block: 0.34 M parameters."""
    model: Any = load_model("embedded", seed=0)
    model.model.layers = model.model.layers[:1]
    model.config.num_hidden_layers = 1
    return model  # type: ignore[no-any-return]


def untrained() -> torch.nn.Module:
    """Return 1.5 M parameters at random, for the embedded tokenizer."""
    base: Any = load_model("embedded", seed=0)
    config = LlamaConfig(
        **base.config.to_dict()
        | {
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
        }
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)
