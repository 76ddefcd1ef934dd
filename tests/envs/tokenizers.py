"""Tokenizers of the kinds that models come with, and a tiny model for one."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CORPUS = ["river stone lamp green cloud paper 0 1 2 3 4 5 6 7 8 9", "user assistant [ ] : \n > /"]


def marking(prepend: str = "always") -> Any:
    """A tokenizer as Llama 2's: a mark stands for a space, and for the beginning of a text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    mark: dict[str, Any] = {"replacement": "▁", "prepend_scheme": prepend}
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True, **mark)
    tokenizer.decoder = decoders.Metaspace(**mark)
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def save_tiny(folder: Path, tokenizer: Any) -> str:
    """Write a tokenizer, and a random model with as many embeddings as it has tokens now."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
