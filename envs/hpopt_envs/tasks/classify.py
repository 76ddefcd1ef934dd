"""Classification of texts, with encoders (BERT-like) and causal models."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from .. import models
from ..data.code_labels import Rows, summaries
from ..data.sources import read_splits
from ..errors import WorldError
from ..models import length_limit
from ..settings import Source
from .base import Data, Split, Task, split_size
from .lm_data import fitting_length, shuffled, texts
from .probe import fit_head


class Classification(Task):
    """Which class a text belongs to. Embedded: a docstring's first line, and its library.

    Splits hold `input_ids` (n, longest), `length` and `label` (n,). The head is new: its weights
    are fitted to the base model's features (a linear probe), and that is where trials start from
    and what they are compared with. Nothing is retained, so the divergence is that of class
    probabilities on the task's own texts, in nats an example.

    Args:
        source: of the user's data.
        embedded: the data where the source names none.
    """

    name = "classify"
    objective = "macro_f1"
    maximize = True
    default_model = "embedded"
    hyperparameters = ("label_smoothing",)
    adapter_type = "SEQ_CLS"
    settings = (
        *("train_file", "validation_file", "test_file", "dataset", "too_long"),
        *("text_column", "label_column", "class_weights"),
    )

    def __init__(
        self,
        source: Source = Source(),  # noqa: B008 (it is frozen)
        embedded: Callable[[], dict[str, Rows]] = summaries,
    ) -> None:
        self.source = source
        self._embedded = embedded
        self.labels: list[str] = []
        self._weights = torch.empty(0)  # of the classes, in the training loss

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        rows = self._read()
        self.labels = sorted(set(rows["train"][1]))
        self._check_labels(rows)
        self.chance_loss = math.log(len(self.labels))
        tokenizer = models.load_tokenizer(model_source)
        limit = length_limit(model_source, tokenizer, sequence_length, least=1)
        encoded = _encode(tokenizer, rows)
        lengths = [len(ids) for split in encoded.values() for ids in split]
        width = fitting_length(lengths, sequence_length, limit, self.source)
        if width < max(lengths):  # the tokenizer keeps its special tokens
            encoded = _encode(tokenizer, rows, truncation=True, max_length=width)
        pad = models.pad_token(tokenizer)
        splits = {name: self._split(ids, rows[name][1], pad) for name, ids in encoded.items()}
        counts = torch.bincount(splits["train"]["label"], minlength=len(self.labels))
        balanced = self.source.class_weights == "balanced"
        # Their mean over the training set is 1, so that the loss keeps its scale.
        self._weights = (
            counts.sum() / (len(counts) * counts) if balanced else torch.ones(len(counts))
        )
        return Data(**splits)  # type: ignore[arg-type]  # none is called "hash"

    def _read(self) -> dict[str, Rows]:
        label = self.source.label_column or "label"
        tables = read_splits(self.source, label)
        if tables is None:
            return self._embedded()
        text = self.source.text_column or "text"
        return {
            name: (
                texts(table, text, "text_column"),
                [str(value) for value in table.column(label, "label_column")],
            )
            for name, table in tables.items()
        }

    def _check_labels(self, rows: dict[str, Rows]) -> None:
        if len(self.labels) < 2:
            raise WorldError(
                f"label_column: train must have at least two classes, but has {self.labels}"
            )
        for name, (_, labels) in rows.items():
            for row, label in enumerate(labels, 1):
                if label not in self.labels:
                    raise WorldError(
                        f"label_column: every label of {name} must occur in train, "
                        f"but {label!r} (row {row}) doesn't"
                    )

    def _split(self, encoded: list[list[int]], labels: list[str], pad: int) -> Split:
        size = len(encoded)
        length = torch.tensor([len(ids) for ids in encoded])
        input_ids = torch.full((size, int(length.max())), pad)
        for row, ids in enumerate(encoded):
            input_ids[row, : len(ids)] = torch.tensor(ids)
        index = {label: number for number, label in enumerate(self.labels)}
        order = shuffled(size)
        split = {
            "input_ids": input_ids,
            "length": length,
            "label": torch.tensor([index[label] for label in labels]),
        }
        return {name: tensor[order] for name, tensor in split.items()}

    def load_model(self, source: str, seed: int) -> torch.nn.Module:
        names = dict(enumerate(self.labels))
        model: Any = models.load_model(
            source,
            seed,
            auto="AutoModelForSequenceClassification",
            num_labels=len(names),
            id2label=names,
            label2id={label: number for number, label in names.items()},
            ignore_mismatched_sizes=True,  # a head for other classes makes room for a new one
        )
        if hasattr(model, "config"):
            # Causal models look for the last token that isn't this one.
            model.config.pad_token_id = models.pad_token(models.load_tokenizer(source))
            model.config.use_cache = False  # of keys and values, which nothing is generated with
        return model  # type: ignore[no-any-return]

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        self._weights = self._weights.to(data.train["label"].device)
        balanced = self.source.class_weights == "balanced"
        tokens = fit_head(
            model, len(self.labels), data.train, lambda part: self._logits(model, part), balanced
        )
        return data, tokens / 3

    def example_tokens(self, split: Split) -> torch.Tensor:
        return split["length"]

    def loss_sum(
        self, model: torch.nn.Module, batch: Split, label_smoothing: float = 0.0
    ) -> torch.Tensor:
        losses = cross_entropy(
            self._logits(model, batch).float(),
            batch["label"],
            label_smoothing=label_smoothing,
            reduction="none",
        )
        return (losses * self._weights[batch["label"]]).sum()

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self._logits(model, batch)
        return logits, torch.ones(len(logits), dtype=torch.bool, device=logits.device)

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        logits = self._logits(model, batch).float()
        return {
            "loss": cross_entropy(logits, batch["label"], reduction="none"),
            "predicted": logits.argmax(1),
            "label": batch["label"],
        }

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        from sklearn.metrics import f1_score  # type: ignore[import-untyped]

        predicted, label = outputs["predicted"].cpu(), outputs["label"].cpu()
        classes = list(range(len(self.labels)))
        # 0 for a class that is neither there nor predicted, which the mean leaves out.
        scores = f1_score(label, predicted, labels=classes, average=None, zero_division=0.0)
        macro = f1_score(label, predicted, average="macro", zero_division=0.0)
        return {
            "loss": outputs["loss"].double().mean().item(),
            "macro_f1": float(macro),
            "accuracy": (predicted == label).double().mean().item(),
            **{f"f1_{name}": float(s) for name, s in zip(self.labels, scores, strict=True)},
        }

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        source = getattr(model, "name_or_path", "")
        models.save_model(model, folder, models.load_tokenizer(source or "embedded"))

    def _logits(self, model: torch.nn.Module, batch: Split) -> torch.Tensor:
        """(n, classes)."""
        length = batch["length"]
        ids = batch["input_ids"][:, : int(length.max())]
        mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        output = model(ids, attention_mask=mask.long())
        logits: torch.Tensor = getattr(output, "logits", output)
        if logits.shape != (split_size(batch), len(self.labels)):
            raise WorldError(
                f"model: must give {len(self.labels)} logits a text, but gave "
                f"{tuple(logits.shape)} for {split_size(batch)} texts"
            )
        return logits


def _encode(tokenizer: Any, rows: dict[str, Rows], **options: Any) -> dict[str, list[list[int]]]:
    """Token ids of each split's texts.

    Raises:
        WorldError: a text has none.
    """
    encoded = {}
    for name, (of_split, _) in rows.items():
        encoded[name] = tokenizer(of_split, verbose=False, **options)["input_ids"]
        if [] in encoded[name]:
            empty = of_split[encoded[name].index([])]
            raise WorldError(
                f"text_column: every text of {name} must have a token, but {empty!r:.60} has none"
            )
    return encoded
