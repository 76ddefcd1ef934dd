"""Classification of texts, with encoders (BERT-like) and causal models."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from hpopt_search_spaces import Value

from .. import models
from ..data.code_labels import Rows, summaries
from ..data.labels import in_order
from ..data.sources import notes_of, read_splits, text_columns
from ..errors import WorldError
from ..models import length_limit
from ..settings import OF_ROWS, Source
from .classify_data import Encoded, Labeled, encode_texts, read_labeled
from .data import Data, Split, split_size
from .lm_data import fitting_length, shuffled
from .probe import fit_head
from .roles import ParametricLoss, Reference


class Classification(ParametricLoss, Reference):
    """Which class a text belongs to. Embedded: a docstring's first line, and its library.

    Splits hold `input_ids` (n, longest), `length` and `label` (n,), and, for models that are told
    which of two texts a token is in, `second` (n, longest). The head is new: its weights
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
    form = "labels"
    settings = (
        *OF_ROWS,
        "text_column",
        "label_column",
        "class_weights",
    )

    def __init__(
        self,
        source: Source = Source(),  # noqa: B008 (it is frozen)
        embedded: Callable[[], dict[str, Rows]] = summaries,
    ) -> None:
        self.source = source
        self._embedded = embedded
        self.labels: list[str] = []
        self._pad = 0
        self._weights = torch.empty(0)  # of the classes, in the training loss

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        rows = self._read()
        self.labels = in_order(rows["train"].labels)
        self._check_labels(rows)
        self.chance_loss = math.log(len(self.labels))
        tokenizer = models.load_tokenizer(model_source)
        known = models.known_tokens(model_source, tokenizer)
        limit = length_limit(model_source, tokenizer, sequence_length, least=1)
        encoded = {name: encode_texts(tokenizer, split, known) for name, split in rows.items()}
        lengths = [len(ids) for split in encoded.values() for ids, _ in split]
        width = fitting_length(lengths, sequence_length, limit, self.source)
        if width < max(lengths):  # the tokenizer keeps its special tokens
            encoded = {
                name: encode_texts(tokenizer, split, known, width) for name, split in rows.items()
            }
        self._pad = models.pad_token(tokenizer, known)
        splits = {name: self._split(ids, rows[name].labels) for name, ids in encoded.items()}
        counts = torch.bincount(splits["train"]["label"], minlength=len(self.labels))
        balanced = self.source.class_weights == "balanced"
        # Their mean over the training set is 1, so that the loss keeps its scale.
        self._weights = (
            counts.sum() / (len(counts) * counts) if balanced else torch.ones(len(counts))
        )
        return Data(**splits)  # type: ignore[arg-type]  # none is called "hash"

    def _read(self) -> dict[str, Labeled]:
        label = self.source.label_column or "label"
        tables = read_splits(self.source, label)
        self.notes = notes_of(tables)
        if tables is None:
            embedded = self._embedded().items()
            return {name: Labeled([texts], labels, name) for name, (texts, labels) in embedded}
        columns = text_columns(self.source, tables["train"])
        return {name: read_labeled(table, columns, label, name) for name, table in tables.items()}

    def _check_labels(self, rows: dict[str, Labeled]) -> None:
        if len(self.labels) < 2:
            raise WorldError(
                f"label_column: train must have at least two classes, but has {self.labels}"
            )
        for name, split in rows.items():
            for row, label in enumerate(split.labels, 1):
                if label not in self.labels:
                    raise WorldError(
                        f"label_column: every label of {name} must occur in train, "
                        f"but {label!r} (row {row}) doesn't"
                    )

    def _split(self, encoded: Sequence[Encoded], labels: list[str]) -> Split:
        index = {label: number for number, label in enumerate(self.labels)}
        order = shuffled(len(encoded))
        ids, second = ([torch.tensor(row) for row in rows] for rows in zip(*encoded, strict=True))
        split = {
            "input_ids": pad_sequence(ids, True, self._pad),
            "length": torch.tensor([len(row) for row in ids]),
            "label": torch.tensor([index[label] for label in labels]),
        }
        if any(bool(row.any()) for row in second):
            split["second"] = pad_sequence(second, True)
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
            model.config.pad_token_id = self._pad
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

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        losses = cross_entropy(
            self._logits(model, batch).float(),
            batch["label"],
            label_smoothing=float(hyperparameters.get("label_smoothing", 0.0)),
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
        """Return logits: (n, classes)."""
        length = batch["length"]
        ids = batch["input_ids"][:, : int(length.max())]
        mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        types = (
            {} if "second" not in batch else {"token_type_ids": batch["second"][:, : ids.shape[1]]}
        )
        output = model(ids, attention_mask=mask.long(), **types)
        logits: torch.Tensor = getattr(output, "logits", output)
        if logits.shape != (split_size(batch), len(self.labels)):
            raise WorldError(
                f"model: must give {len(self.labels)} logits a text, but gave "
                f"{tuple(logits.shape)} for {split_size(batch)} texts"
            )
        return logits
