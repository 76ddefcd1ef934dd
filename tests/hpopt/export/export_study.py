"""A study with a winner of one's own, and the module that is exported of it."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hpopt.export import export
from hpopt.record.lines import encode_line

HELD = {"learning_rate": 0.01, "batch_size": 8}
PENALTY = {"divergence_weight": 0.5}
FORMS = {"lm": "blocks", "classify": "labels", "text2text": "sources", "dpo": "pairs"}


def write_study(
    new_script: Callable[..., Any],
    runs: Path,
    segments: Sequence[dict[str, Any]],
    tokens: Sequence[int] | None = None,
    data: dict[str, Any] | None = None,
    **facts: Any,
) -> str:
    """Write a study "mine", whose winner has such segments, of so many tokens; return `runs`."""
    tokens = tokens or [16384 // len(segments)] * len(segments)
    task = facts.get("task", "lm")
    script = new_script(**{"form": FORMS.get(task, ""), **facts})
    environment = {"task": task, "data": data or {}, "sequence_length": None}
    script.events[0] |= {"name": "mine", "environment": environment}
    script.trial(0, *[3.0] * len(segments))
    done = 0
    for event, values, size in zip(script.events[2:], segments, tokens, strict=True):
        done += size
        changed = {"hyperparameters": values, "tokens": size, "training_tokens": done}
        event["reply"]["segment"] |= changed
    (runs / "mine").mkdir(parents=True)
    (runs / "mine" / "journal.jsonl").write_bytes(b"".join(map(encode_line, script.events)))
    return str(runs)


def exported(runs: str, to: str) -> ModuleType:
    """The module that export writes, as its user imports it; its library must be installed."""
    pytest.importorskip(to)
    path = export("mine", runs, to, None)[0]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
