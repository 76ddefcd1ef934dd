"""Language modeling: adapting a model of prose to code, both of which ship with every Python."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from .. import models
from ..errors import WorldError
from .base import Data, Split, Task
from .corpus import Domain, read_corpus


class LanguageModeling(Task):
    """Next-token prediction on code; what is retained is prose.

    Splits hold `input_ids` (n, sequence_length) without padding, in an order drawn once.
    """

    name = "lm"
    unit = "nats/token"
    forgetting_weight = 0.5
    default_model = "embedded"

    def load_data(self, model_source: str, sequence_length: int) -> Data:
        limit = models.max_positions(model_source)
        if sequence_length < 2 or (limit is not None and sequence_length > limit):
            raise WorldError(
                f"sequence_length: must be from 2 to {limit or 'any number'} for model "
                f"{model_source}, but got {sequence_length}"
            )
        streams = _read_streams(model_source)
        splits = {name: cut(ids, sequence_length) for name, ids in streams.items()}
        for name, split in splits.items():
            if not len(split["input_ids"]):
                raise WorldError(
                    f"sequence_length: must be at most {len(streams[name])}, the tokens of {name}, "
                    f"but got {sequence_length}"
                )
        return Data(
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            retained_train=splits["retained_train"],
            retained_validation=splits["retained_validation"],
            retained_test=splits["retained_test"],
        )

    def example_tokens(self, sequence_length: int) -> int:
        return sequence_length

    def loss_sum(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        return self._token_losses(model, batch).sum()

    def loss_count(self, batch: Split) -> int:
        return batch["input_ids"][:, 1:].numel()

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        ids = batch["input_ids"]
        # Without a cache of keys and values, which Hugging Face's models keep unless told.
        output = model(ids, use_cache=False) if hasattr(model, "config") else model(ids)
        logits = getattr(output, "logits", output)[:, :-1].float()  # (n, length - 1, vocabulary)
        return logits, torch.ones(logits.shape[:-1], dtype=torch.bool, device=logits.device)

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        losses = self._token_losses(model, batch)
        return {
            "loss_sum": losses.sum(1),
            "count": torch.full((len(losses),), losses.shape[1], device=losses.device),
        }

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        loss = outputs["loss_sum"].double().sum() / outputs["count"].sum()
        return {"loss": loss.item(), "perplexity": loss.exp().item()}

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        models.save_model(model, folder)
        source = getattr(model, "name_or_path", "")  # empty for a model that a factory built
        models.load_tokenizer(source or "embedded").save_pretrained(folder)

    def _token_losses(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        """Nats of each predicted token: (n, length - 1)."""
        logits, _ = self.logits(model, batch)
        return cross_entropy(logits.mT, batch["input_ids"][:, 1:], reduction="none")


def tokenize(tokenizer: Any, documents: list[str]) -> torch.Tensor:
    """The ids of documents in a row, each followed by the end-of-text token: (tokens,)."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor([token for ids in encoded for token in (*ids, *end)])


def cut(ids: torch.Tensor, sequence_length: int) -> Split:
    """Sequences of one length, shuffled so that the first ones are a sample of all."""
    sequences = ids[: len(ids) // sequence_length * sequence_length].view(-1, sequence_length)
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(0))
    return {"input_ids": sequences[order]}


@lru_cache(maxsize=1)  # several environments in one process read it once
def _read_streams(model_source: str) -> dict[str, torch.Tensor]:
    """Tokens of each split of `Data`: (tokens,)."""
    tokenizer, corpus = models.load_tokenizer(model_source), read_corpus()
    domains: dict[str, Domain] = {"": corpus.code, "retained_": corpus.prose}
    return {
        prefix + split: tokenize(tokenizer, list(getattr(domain, split).values()))
        for prefix, domain in domains.items()
        for split in ("train", "validation", "test")
    }
