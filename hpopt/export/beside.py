"""Files beside the code: text that a penalty is measured on, and the head of a classifier."""

import json
from collections.abc import Iterator
from typing import Any

import torch

from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks.data import Split, split_size
from hpopt_envs.tasks.lm_data import IGNORED
from hpopt_envs.tasks.probe import find_heads

from ..errors import StudyError
from .exported import Exported
from .material import load_base, load_data

RETAINED, HEAD = "retained.jsonl", "head.json"
MOST = 1024  # texts


def beside(exported: Exported) -> dict[str, str]:
    """Return the text of further files by name; none for most.

    Raises:
        StudyError: a classifier's head can't be told.
        WorldError: data or model can't be loaded any more.
    """
    if exported.form == "labels":
        return {HEAD: _head(exported)}
    return {RETAINED: _retained(exported)} if exported.takes_retained else {}


def _head(exported: Exported) -> str:
    """Return the labels, and the head that was fitted to the base model, as JSON."""
    task, model, _ = load_base(exported.recommended.history)
    labels: list[str] = task.labels  # type: ignore[attr-defined]
    heads = find_heads(model, len(labels))
    if not heads:
        raise StudyError("export: the classifier's head must be a linear layer, but it isn't")
    tensors = {name: tensor.tolist() for name, tensor in heads[-1].state_dict().items()}
    return json.dumps({"labels": labels, **tensors}, ensure_ascii=False) + "\n"


def _retained(exported: Exported) -> str:
    """Return a sample of the study's retained training text, as JSON lines.

    Each has "text" for people, and "input_ids": the text may begin within a character; and where
    not all of it counts, "labels".
    """
    history = exported.recommended.history
    retained = load_data(history)[1].retained_train
    if retained is None:  # it is what the base model writes
        retained = load_base(history)[2].retained_train
    assert retained is not None
    tokenizer = load_tokenizer(history.facts.model)
    rows = [{"text": tokenizer.decode(row["input_ids"]), **row} for row in _rows(retained)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rows(split: Split) -> Iterator[dict[str, Any]]:
    """Return the first examples of a split, as trainers take them."""
    for i in range(min(split_size(split), MOST)):
        row = {name: tensor[i] for name, tensor in split.items()}
        if "source_ids" in row:
            ids, labels = row["source_ids"][: row["source_length"]], row["labels"]
            yield {"input_ids": ids.tolist(), "labels": labels[labels != IGNORED].tolist()}
        elif "learnt" in row:
            ids, learnt = (row[name][: row["length"]] for name in ("input_ids", "learnt"))
            labels = torch.where(learnt, ids, IGNORED)
            yield {"input_ids": ids.tolist(), "labels": labels.tolist()}
        else:
            yield {"input_ids": row["input_ids"].tolist()}
