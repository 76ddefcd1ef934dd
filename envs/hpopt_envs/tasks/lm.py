"""Language modeling: of text, prompts and completions, or chats."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from .. import models
from ..data.chats import check_no_kwargs
from ..data.corpus import Domain, read_corpus
from ..data.sources import columns_of, notes_of, read_retained, read_splits, text_columns
from ..data.tables import Table
from ..errors import WorldError
from ..models import length_limit
from ..references import is_reference
from ..settings import OF_ROWS, Source
from .causal import check_causal, logits_of
from .chat_data import Row
from .data import Data, Split
from .lm_data import (
    IGNORED,
    check_documents,
    cut,
    encode_rows,
    fitting_length,
    form_of_rows,
    has_rows,
    next_tokens,
    pack,
    pad_rows,
    row_columns,
    texts,
    token_losses,
    tokenize,
)
from .retained import sample_text
from .roles import ParametricLoss, Reference

SPLITS = ("train", "validation", "test")
EMBEDDED_LENGTH = 64  # tokens a sequence of the embedded model's and factories', if not given
TEXT_LENGTH = 256  # the same for models that are loaded, if they can take as many


class LanguageModeling(ParametricLoss, Reference):
    """Next-token prediction. Embedded: from prose about Python to code, prose being retained.

    Splits hold `input_ids` (n, length). Packed text has no more; rows with a length of their own
    have `length` (n,) and `learnt` (n, length), whether a token is to be learnt, too. Validation
    and test have `bytes` (n,) of the learnt text.

    Args:
        source: of the user's data.
        embedded: rows in place of the embedded text, where the source names no data.
    """

    name = "lm"
    unit = "nats/token"
    forgetting_weight = 0.5
    default_model = "embedded"
    hyperparameters = ("label_smoothing",)
    adapter_type = "CAUSAL_LM"

    settings = (
        *OF_ROWS,
        "retain_file",
        "text_column",
        "prompt_column",
        "completion_column",
        "messages_column",
        "chat_template_kwargs",
        "packing",
    )

    def __init__(
        self,
        source: Source = Source(),  # noqa: B008 (it is frozen)
        embedded: Callable[[], dict[str, Table] | None] = lambda: None,
    ) -> None:
        self.source = source
        self._embedded = embedded
        if source.has_data:
            self.forgetting_weight = 0.1

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        tokenizer = models.load_tokenizer(model_source)
        limit = length_limit(model_source, tokenizer, sequence_length, least=2)
        self._vocabulary = models.known_tokens(model_source, tokenizer)
        small = model_source == "embedded" or is_reference(model_source)
        usual = EMBEDDED_LENGTH if small else TEXT_LENGTH
        packed = sequence_length or min(usual, limit or usual)
        tables = self._read() or self._embedded()
        self.form = self._form(tables)
        if tables is None:
            splits = _embedded_text(model_source, packed, self.source.retain_file is None)
        elif self.form != "blocks":
            splits = self._rows(tokenizer, tables, sequence_length, limit)
        else:
            check_no_kwargs(self.source, tables["train"].where)
            splits = {
                name: pack(
                    tokenizer, self._texts(tokenizer, table), packed, f"{name} ({table.where})"
                )
                for name, table in tables.items()
            }
        for name in ("validation", "test"):
            splits[name]["bytes"] = _learnt_bytes(tokenizer, splits[name])
        if self.source.retain_file is not None:
            splits |= self._retained(tokenizer, self.source.retain_file, packed)
        return Data(**splits)  # type: ignore[arg-type]  # none is called "hash"

    def _read(self) -> dict[str, Table] | None:
        source = self.source
        answer = source.completion_column or "completion"
        tables = read_splits(source, used=columns_of(row_columns, source), answer=answer)
        self.notes = notes_of(tables)
        return tables

    def _form(self, tables: Mapping[str, Table] | None) -> str:
        """Return the form of examples.

        Raises:
            WorldError: texts are not to be packed, and there are none of the user's.
        """
        apart = tables is not None and has_rows(tables["train"], self.source)
        if self.source.packing:
            return form_of_rows(tables["train"], self.source) if tables and apart else "blocks"
        if tables is None or apart:
            what = "rows of prompts or chats" if apart else "embedded text"
            raise WorldError(f"packing: must be left out for {what}, but got false")
        return "texts"

    def _rows(
        self,
        tokenizer: Any,
        tables: Mapping[str, Table],
        sequence_length: int | None,
        limit: int | None,
    ) -> dict[str, Split]:
        """Return texts, prompts and completions, or chats: an example a row."""
        rows = {name: self._encoded(tokenizer, table) for name, table in tables.items()}
        lengths = [len(ids) for split in rows.values() for ids, _ in split]
        length = fitting_length(lengths, sequence_length, limit, self.source)
        pad = models.pad_token(
            tokenizer, self._vocabulary
        )  # behind what is learnt: never looked at
        splits = {name: pad_rows(split, length, pad) for name, split in rows.items()}
        for name, split in splits.items():
            if not bool(split["learnt"][:, 1:].any(1).all()):
                raise WorldError(
                    f"sequence_length: every example of {name} must have something to learn "
                    f"within {length} tokens, but one has nothing"
                )
        return splits

    def _encoded(self, tokenizer: Any, table: Table) -> list[Row]:
        if self.form != "texts":
            return encode_rows(tokenizer, table, self.source, self._vocabulary)
        check_no_kwargs(self.source, table.where)
        documents = [tokenize(tokenizer, [text]) for text in self._texts(tokenizer, table)]
        return [(ids.tolist(), [True] * len(ids)) for ids in documents]

    def _retained(self, tokenizer: Any, file: str, sequence_length: int) -> dict[str, Split]:
        splits = {}
        used = columns_of(text_columns, self.source)
        for name, table in read_retained(file, used).items():
            documents, what = self._texts(tokenizer, table, "retain_file"), name.replace("_", " ")
            splits[name] = pack(tokenizer, documents, sequence_length, f"{what} ({file})")
        return splits

    def _texts(self, tokenizer: Any, table: Table, setting: str = "text_column") -> list[str]:
        """Return documents without blank ones, which data sets of lines have between paragraphs."""
        name = self.source.text_column or "text"
        documents = texts(table, name, setting, skip_empty=True)
        if not documents:
            raise WorldError(f"{setting}: {table.where} must have a text in column {name!r}")
        if self._vocabulary is not None:
            check_documents(tokenizer, table, name, self._vocabulary)
        return documents

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        check_causal(model, data.train["input_ids"])
        needless = not self.retains and not hasattr(model, "generate")
        if data.retained_train is not None or needless:
            return data, 0.0
        longest = data.train["input_ids"].shape[1]
        retained, cost = sample_text(model, longest)
        return replace(data, **{f"retained_{n}": s for n, s in retained.items()}, hash=""), cost

    def example_tokens(self, split: Split) -> torch.Tensor:
        ids = split["input_ids"]
        return split["length"] if "length" in split else torch.full((len(ids),), ids.shape[1])

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        smoothing = float(hyperparameters.get("label_smoothing", 0.0))
        return self._token_losses(model, batch, smoothing).sum()

    def loss_count(self, batch: Split) -> int:
        return int((next_tokens(batch) != IGNORED).sum())

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        targets = next_tokens(batch)
        ids = batch["input_ids"][:, : targets.shape[1]]
        # All positions, though the last one predicts nothing: a cut would be copied.
        return logits_of(model, ids), targets != IGNORED

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        outputs = {
            "loss_sum": self._token_losses(model, batch).sum(1),
            "count": (next_tokens(batch) != IGNORED).sum(1),
        }
        return outputs | {name: batch[name] for name in ("bytes",) if name in batch}

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        total = outputs["loss_sum"].double().sum()
        loss = total / outputs["count"].sum()
        metrics = {"loss": loss.item(), "perplexity": loss.exp().item()}
        if "bytes" in outputs:
            bits = total / torch.tensor(2.0).double().log()
            metrics["bits_per_byte"] = (bits / outputs["bytes"].sum()).item()
        return metrics

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        source = getattr(model, "name_or_path", "")  # empty for a model that a factory built
        models.save_model(model, folder, models.load_tokenizer(source or "embedded"))

    def _token_losses(
        self, model: torch.nn.Module, batch: Split, label_smoothing: float = 0.0
    ) -> torch.Tensor:
        """Return nats of each token, 0 where it isn't counted: (n, length)."""
        logits, targets = self.logits(model, batch)[0], next_tokens(batch)
        return token_losses(logits, targets, label_smoothing)


@torch.no_grad()
def _learnt_bytes(tokenizer: object, split: Split) -> torch.Tensor:
    """Return the bytes of text that an example's targets stand for, special tokens aside: (n,)."""
    learnt = [row[row != IGNORED] for row in next_tokens(split)]
    texts = tokenizer.batch_decode(learnt, skip_special_tokens=True)  # type: ignore[attr-defined]
    return torch.tensor([len(text.encode()) for text in texts])


def _embedded_text(model_source: str, sequence_length: int, with_prose: bool) -> dict[str, Split]:
    streams = _read_streams(model_source)
    splits = {}
    for name, ids in streams.items():
        if name.startswith("retained_") and not with_prose:
            continue
        if len(ids) < sequence_length:
            raise WorldError(
                f"sequence_length: must be at most {len(ids)}, the tokens of {name}, "
                f"but got {sequence_length}"
            )
        splits[name] = cut(ids, sequence_length)
    return splits


@lru_cache(maxsize=1)  # several environments in one process read it once
def _read_streams(model_source: str) -> dict[str, torch.Tensor]:
    """Return tokens of each split of `Data`: (tokens,)."""
    tokenizer, corpus = models.load_tokenizer(model_source), read_corpus()
    domains: dict[str, Domain] = {"": corpus.code, "retained_": corpus.prose}
    return {
        prefix + split: tokenize(tokenizer, list(getattr(domain, split).values()))
        for prefix, domain in domains.items()
        for split in SPLITS
    }
