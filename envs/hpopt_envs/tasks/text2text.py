"""Sequences into sequences: translation, summarisation, question answering."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad

from hpopt_search_spaces import Value

from .. import models
from ..data.locale_formats import new_locale_tables, retained_tables
from ..data.sources import notes_of, read_retained, read_splits
from ..data.tables import Table
from ..errors import WorldError
from ..models import length_limit
from ..settings import OF_ROWS, Source
from .causal import check_causal
from .data import Data, Split, split_size
from .lm_data import IGNORED, next_tokens, token_losses
from .retained import sample_text
from .roles import ParametricLoss, Reference, Writing
from .text2text_data import (
    Encoded,
    as_split,
    completion_column,
    decode_text,
    encode,
    read_pairs,
    shorten,
)

MOST_NEW_TOKENS = 256  # of what is written, where nothing else says
# Each next token is the most likely one, whatever a model's own generation settings are; what they
# force or forbid stays, such as the language that a translation begins with.
GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "min_length": 0,
    "min_new_tokens": None,
    "max_length": None,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
}


class TextToText(ParametricLoss, Reference, Writing):
    r"""Rewriting of text, by encoder–decoders or decoders alone. Embedded: locale formatting.

    Columns and templates say what is rewritten into what:

        hpopt search --task text2text --model google-t5/t5-small --train-file wmt.jsonl \
            --prompt-template "translate English to French: {translation[en]}" \
            --completion-template "{translation[fr]}"
        hpopt search --task text2text --model google-t5/t5-small --train-file news.jsonl \
            --prompt-template "summarize: {document}" --completion-column summary
        hpopt search --task text2text --model google-t5/t5-small --train-file squad.jsonl \
            --prompt-template "question: {question} context: {context}" \
            --completion-template "{answers[text][0]}"

    Splits are those of `text2text_data.as_split`; those that are written for have `text`. The loss
    is that of target tokens, an end of text included.

    Args:
        source: of the user's data.
    """

    name = "text2text"
    objective = "chrf"
    maximize = True
    objective_scale = 100.0
    metric_scales: Mapping[str, float] = {"bleu": 100.0}
    forgetting_weight = 10.0  # points a nat
    hyperparameters = ("label_smoothing",)
    prediction_passes = 2.0  # one for the loss, one for what is written
    default_model = "embedded-t5"
    score_name = "chrF"
    settings = (
        *OF_ROWS,
        "retain_file",
        "prompt_column",
        "completion_column",
        "prompt_template",
        "completion_template",
        "max_new_tokens",
    )

    def __init__(self, source: Source = Source()) -> None:  # noqa: B008 (it is frozen)
        self.source = source

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        self._tokenizer = tokenizer = models.load_tokenizer(model_source)
        self._vocabulary = models.known_tokens(model_source, tokenizer)
        self._pad = models.pad_token(tokenizer, self._vocabulary)
        self._encoder = models.is_encoder_decoder(model_source)
        self.adapter_type = "SEQ_2_SEQ_LM" if self._encoder else "CAUSAL_LM"
        self.form = "sources" if self._encoder else "completions"
        limit = length_limit(model_source, tokenizer, sequence_length, least=2)
        used = partial(read_pairs, source=self.source)
        answer = None if self.source.completion_template else completion_column(self.source)
        given = read_splits(self.source, used=used, answer=answer)
        self.notes = notes_of(given)
        retained = self._retained()
        tables = (given or new_locale_tables()) | retained
        everything = {name: read_pairs(table, self.source) for name, table in tables.items()}
        encoded = {
            name: encode(tokenizer, both, tables[name], self._encoder, self._vocabulary)
            for name, both in everything.items()
        }
        end = tokenizer.eos_token_id
        cut = shorten(encoded, sequence_length, limit, self.source, self._encoder, end)
        self._new_tokens = self._most_new_tokens(cut, limit)
        if not retained and self._encoder:
            self.forgetting_weight = 0.0  # there is nothing to forget: nothing is retained
        splits = {}
        for name, rows in cut.items():
            references = everything[name][1] if name in ("validation", "test") else ()
            splits[name] = as_split(rows, self._pad, self._encoder, references)
        return Data(**splits)  # type: ignore[arg-type]  # none is called "hash"

    def _most_new_tokens(self, cut: dict[str, Encoded], limit: int | None) -> int:
        """Return how many tokens may be written: as asked, or some more than targets of train have.

        Raises:
            WorldError: a decoder has no room for as many as were asked for behind its prompts.
        """
        asked, room = self.source.max_new_tokens, limit or math.inf
        if not self._encoder:
            room -= max(len(ids) for name in ("validation", "test") for ids, _ in cut[name])
        if asked is not None and asked > room:
            raise WorldError(
                f"max_new_tokens: must be at most {room}, the model's limit of {limit} less the "
                f"longest prompt, but got {asked}"
            )
        longest = max(len(target) for _, target in cut["train"])
        return asked or int(min(longest * 5 // 4 + 1, MOST_NEW_TOKENS, room))

    def _retained(self) -> dict[str, Table]:
        """Return rows that the base model should keep rewriting."""
        if self.source.retain_file is not None:
            return read_retained(self.source.retain_file, partial(read_pairs, source=self.source))
        if self.source.has_data:
            return {}
        return {f"retained_{name}": table for name, table in retained_tables().items()}

    def load_model(self, source: str, seed: int) -> torch.nn.Module:
        auto = "AutoModelForSeq2SeqLM" if self._encoder else "AutoModelForCausalLM"
        model = models.load_model(source, seed, auto=auto)
        if not hasattr(model, "generate"):
            raise WorldError(
                "model: must write text, with a method generate(), but "
                f"{type(model).__name__} has none"
            )
        return model

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        if not self._encoder:
            check_causal(model, data.train["input_ids"])
        if data.retained_train is not None or self._encoder:
            return data, 0.0
        retained, cost = sample_text(model, data.train["input_ids"].shape[1])
        splits = {f"retained_{name}": split for name, split in retained.items()}
        return replace(data, **splits, hash=""), cost

    def example_tokens(self, split: Split) -> torch.Tensor:
        if "length" in split:
            return split["length"]
        return torch.full((split_size(split),), split["input_ids"].shape[1])  # of sampled text

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        smoothing = float(hyperparameters.get("label_smoothing", 0.0))
        return self._token_losses(model, batch, smoothing).sum()

    def loss_count(self, batch: Split) -> int:
        return int((self._targets(batch) != IGNORED).sum())

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        targets = self._targets(batch)
        if self._encoder:
            ids, mask = _source(batch)
            output = model(ids, attention_mask=mask, labels=targets, use_cache=False)
        else:
            output = model(batch["input_ids"][:, : targets.shape[1]], use_cache=False)
        return output.logits, targets != IGNORED

    def _targets(self, batch: Split) -> torch.Tensor:
        """Return what each position is to predict, or `IGNORED`: (n, the batch's longest)."""
        if not self._encoder:
            return next_tokens(batch)
        labels = batch["labels"]
        return labels[:, : int((labels != IGNORED).sum(1).max())].contiguous()

    def _token_losses(
        self, model: torch.nn.Module, batch: Split, label_smoothing: float = 0.0
    ) -> torch.Tensor:
        """Return nats of each token, 0 where it isn't counted: (n, longest)."""
        logits, targets = self.logits(model, batch)[0], self._targets(batch)
        return token_losses(logits, targets, label_smoothing)

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        outputs = {
            "loss_sum": self._token_losses(model, batch).sum(1),
            "count": (self._targets(batch) != IGNORED).sum(1),
        }
        if "text" in batch:
            outputs |= {"written": self._write(model, batch), "text": batch["text"]}
        return outputs

    def _write(self, model: Any, batch: Split) -> torch.Tensor:
        """Return what the model makes of sources, greedily: ids (n, most new tokens), padded."""
        if self._encoder:
            ids, mask = _source(batch)
            begin = 1  # the decoder's first token
        else:
            length = batch["prompt_length"]
            begin = int(length.max())
            ids = batch["prompt_ids"][:, -begin:]
            mask = torch.arange(begin, device=ids.device) >= begin - length[:, None]
        end = self._tokenizer.eos_token_id
        written = model.generate(
            input_ids=ids,
            attention_mask=mask.long(),
            max_new_tokens=self._new_tokens,
            eos_token_id=end,  # which training ends targets with, whatever else the model knows
            pad_token_id=self._pad,
            # No target has padding, but some models would write it: it starts their decoders.
            suppress_tokens=None if self._pad == end else [self._pad],
            **GREEDY,
        )[:, begin:]
        return pad(written, (0, self._new_tokens - written.shape[1]), value=self._pad)

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        metrics = {"loss": (outputs["loss_sum"].double().sum() / outputs["count"].sum()).item()}
        if "text" in outputs:
            metrics |= judge(self._decode(outputs["written"]), decode_text(outputs["text"]))
        return metrics

    def _decode(self, ids: torch.Tensor) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts

    def write(self, model: torch.nn.Module, batch: Split) -> list[dict[str, str | float]]:
        from sacrebleu import sentence_chrf

        sources = batch["source_ids" if self._encoder else "prompt_ids"]
        columns = self._decode(sources), self._decode(self._write(model, batch))
        rows: list[dict[str, str | float]] = []
        for prompt, text, reference in zip(*columns, decode_text(batch["text"]), strict=True):
            score = sentence_chrf(text, [reference]).score
            row = {"prompt": prompt, "text": text, "reference": reference}
            rows.append({**row, "score": score})
        return rows

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        models.save_model(model, folder, self._tokenizer)


def judge(written: list[str], references: list[str]) -> dict[str, float]:
    """Return chrF and BLEU, sacrebleu's by its defaults, in [0, 100]; the share of exact matches.

    Args:
        written: n texts.
        references: n texts.
    """
    from sacrebleu import corpus_bleu, corpus_chrf

    equal = [one.strip() == other.strip() for one, other in zip(written, references, strict=True)]
    return {
        "chrf": corpus_chrf(written, [references]).score,
        "bleu": corpus_bleu(written, [references], force=True).score,
        "exact_match": sum(equal) / len(equal),
    }


def _source(batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask of an encoder: (n, longest of the batch)."""
    length = batch["source_length"]
    ids = batch["source_ids"][:, : int(length.max())]
    return ids, (torch.arange(ids.shape[1], device=ids.device) < length[:, None]).long()
