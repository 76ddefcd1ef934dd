"""The built-in tasks: their kinds, and variants of them whose best learning rates lie far apart.

A variant is its kind with some hyperparameters held, another model or other embedded data. Where
each is best, and what a trial costs, was measured: see `docs/results.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpopt_search_spaces import Value

from ..data.code_labels import raises
from ..data.tables import Table
from ..settings import Source
from .align import Alignment
from .base import Task
from .classify import Classification
from .dpo import PreferenceOptimization
from .lm import LanguageModeling
from .text2text import TextToText


@dataclass(frozen=True)
class BuiltIn:
    """A task by name.

    Attributes:
        kind: of task, a class that takes a `Source` and names its `settings`.
        description: one line.
        fixed: hyperparameters that it holds where the space doesn't have them.
        changes: attributes of the task that differ from its kind's.
        embedded: the data where the user has none; the kind's own where it is None.
    """

    kind: Any
    description: str
    fixed: Mapping[str, Value] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    embedded: Any = None

    def make(self, name: str, source: Source) -> Task:
        """Return the task, on a user's data where the source has some."""
        options = {} if self.embedded is None else {"embedded": self.embedded}
        task: Task = self.kind(source, **options)
        task.name, task.fixed = name, dict(self.fixed)
        for attribute, value in self.changes.items():
            setattr(task, attribute, value)
        return task


def _exceptions_of_messages() -> dict[str, Table]:
    """Return messages as prompts, the exceptions that they are raised with as completions."""
    return {
        split: Table({"prompt": messages, "completion": exceptions}, f"raises, {split}")
        for split, (messages, exceptions) in raises().items()
    }


BUILT_IN: dict[str, BuiltIn] = {
    "lm": BuiltIn(LanguageModeling, "Language modeling; embedded: from prose to Python code."),
    "lm-lora": BuiltIn(LanguageModeling, "lm with LoRA adapters of rank 8.", {"lora_rank": 8}),
    "lm-top": BuiltIn(LanguageModeling, "lm, the upper block alone.", {"frozen_layers": 1}),
    "lm-adagrad": BuiltIn(LanguageModeling, "lm with Adagrad.", {"optimizer": "adagrad"}),
    "lm-momentum": BuiltIn(LanguageModeling, "lm with SGD, momentum.", {"optimizer": "momentum"}),
    "lm-lora-momentum": BuiltIn(
        LanguageModeling,
        "lm with LoRA adapters of rank 8 and SGD, momentum.",
        {"lora_rank": 8, "optimizer": "momentum"},
    ),
    "lm-shallow": BuiltIn(
        LanguageModeling,
        "lm with half of the model, and forgetting counted in full.",
        changes={
            "default_model": "hpopt_envs.embedded_models:shallow",
            "forgetting_weight": 1.0,
        },
    ),
    "lm-untrained": BuiltIn(
        LanguageModeling,
        "lm from random weights, 1.5 M parameters; nothing to forget.",
        changes={
            "default_model": "hpopt_envs.embedded_models:untrained",
            "forgetting_weight": 0.0,
            "default_space": "plain",
        },
    ),
    "lm-raises": BuiltIn(
        LanguageModeling,
        "From an error message to its exception, as prompt and completion.",
        embedded=_exceptions_of_messages,
    ),
    "classify": BuiltIn(
        Classification, "Classification; embedded: a docstring's first line to its library."
    ),
    "classify-lora": BuiltIn(
        Classification, "classify with LoRA adapters of rank 8.", {"lora_rank": 8}
    ),
    "classify-momentum": BuiltIn(
        Classification, "classify with SGD, momentum.", {"optimizer": "momentum"}
    ),
    "classify-raises": BuiltIn(
        Classification,
        "Classification of error messages by their exception, imbalanced.",
        embedded=raises,
    ),
    "text2text": BuiltIn(
        TextToText, "Sequences into sequences; embedded: dates and amounts, English to Dutch."
    ),
    "align": BuiltIn(
        Alignment, "Alignment to a reward; embedded: docstring summaries in PEP 257's form."
    ),
    "dpo": BuiltIn(
        PreferenceOptimization,
        "Direct preference optimization; embedded: docstring summaries by length.",
        {"dropout": 0.0},  # whose noise would be in every log ratio
    ),
}
