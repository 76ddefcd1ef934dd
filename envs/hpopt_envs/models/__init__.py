"""Models and tokenizers: from Hugging Face, from a function of the user's, or shipped here."""

from .loading import (
    EMBEDDED,
    is_encoder_decoder,
    known_tokens,
    length_limit,
    load_model,
    load_tokenizer,
    max_positions,
    model_hash,
    pad_token,
    save_model,
    tensor_bytes,
    trust_remote_code,
)

__all__ = [
    "EMBEDDED",
    "is_encoder_decoder",
    "known_tokens",
    "length_limit",
    "load_model",
    "load_tokenizer",
    "max_positions",
    "model_hash",
    "pad_token",
    "save_model",
    "tensor_bytes",
    "trust_remote_code",
]
