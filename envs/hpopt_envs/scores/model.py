"""Scores by a model that was trained to give them: reward models and classifiers."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from .. import models
from ..errors import WorldError
from ..models import length_limit

_BATCH_TOKENS = 8192  # padding included


@dataclass(frozen=True)
class Classifier:
    """A score: one output of a sequence classification model.

    Attributes:
        model: in eval mode; batches go to its device.
        tokenizer: of the model; cuts off the beginning of what is too long, as responses are ends.
        limit: the longest text, in tokens; None where the model doesn't say.
        label: number of the output; None for a reward model, which has one.
    """

    model: Any
    tokenizer: Any
    limit: int | None
    label: int | None

    @torch.no_grad()
    def __call__(self, prompts: list[str], responses: list[str]) -> list[float]:
        texts = [prompt + said for prompt, said in zip(prompts, responses, strict=True)]
        encoded: list[list[int]] = self.tokenizer(
            texts, truncation=self.limit is not None, max_length=self.limit, verbose=False
        )["input_ids"]
        # A text without a token is scored as padding.
        rows = [torch.tensor(ids or [self.model.config.pad_token_id]) for ids in encoded]
        scores = torch.empty(len(rows))
        for batch in _batches([len(ids) for ids in rows]):
            scores[batch] = self._forward([rows[row] for row in batch]).float().cpu()
        return scores.tolist()

    def _forward(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """Return a score of each row: (n,)."""
        config = self.model.config
        pad, device = config.pad_token_id, next(self.model.parameters()).device
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
        length = torch.tensor([len(row) for row in rows])
        mask = torch.arange(ids.shape[1]) < length[:, None]
        logits: torch.Tensor = self.model(
            ids.to(device), attention_mask=mask.long().to(device)
        ).logits
        if self.label is None:
            return logits[:, 0]
        independent = config.problem_type == "multi_label_classification"
        return (logits.sigmoid() if independent else logits.softmax(-1))[:, self.label]


def load_classifier(source: str, label: str) -> Classifier:
    """Return a classifier or a reward model as a score.

    Args:
        source: a Hugging Face id or a folder.
        label: whose probability is the score; "" for a reward model, whose only output is.

    Raises:
        WorldError: it can't be loaded, wasn't trained to classify, or has no such label.
    """
    model, tokenizer, limit = _load(source)
    names = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    if len(names) == 1:
        if label:
            raise WorldError(f"model {source} must come without a label: it has one output")
        return Classifier(model, tokenizer, limit, None)
    if label not in names:
        few = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise WorldError(
            f"model {source} must come with one of its labels, model:{source}:LABEL, "
            f"which are {few}, but got {label!r}"
        )
    return Classifier(model, tokenizer, limit, names.index(label))


@lru_cache(maxsize=8)
def _load(source: str) -> tuple[Any, Any, int | None]:
    model: Any = models.load_model(source, seed=0, auto="AutoModelForSequenceClassification")
    made = model.config.architectures or []
    if not any("SequenceClassification" in name for name in made):  # its head would be random
        raise WorldError(
            f"model {source} must have been trained as a sequence classifier or a reward model, "
            f"but is {', '.join(made) or 'none'}"
        )
    tokenizer = models.load_tokenizer(source)
    tokenizer.truncation_side = "left"
    if model.config.pad_token_id is None:
        # Causal models look for the last token that isn't this one.
        model.config.pad_token_id = models.pad_token(tokenizer)
    return model.eval(), tokenizer, length_limit(source, tokenizer, None, least=1)


def _batches(lengths: list[int]) -> list[list[int]]:
    """Return rows by length, in batches of at most `_BATCH_TOKENS`, or of one row."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * lengths[row] > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches
