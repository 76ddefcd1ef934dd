"""Each task, searched, exported and run by the file's own instructions: it trains as it did."""

from pathlib import Path
from typing import Any

import pytest

from tests.hpopt.export import examples
from tests.hpopt.export.pasting import Pasted, paste
from tests.hpopt.export.trainers import TRAINERS

pytestmark = pytest.mark.slow

HELD = {"batch_size": 4, "schedule_shape": "linear", "warmup_fraction": 0.25}
PENALIZED = HELD | {"divergence_weight": 0.5}
PLAIN = HELD | {"divergence_weight": 0.0}


def check(pasted: Pasted, noise: float) -> None:
    """The learning rate of every step is the search's, and so is the loss but for the seed's noise.

    Args:
        pasted: a run of each.
        noise: nats, some three standard deviations over seeds.
    """
    _, found, trained = pasted.losses
    assert pasted.rates == pytest.approx(pasted.wanted_rates)
    assert trained == pytest.approx(found, abs=noise)


@pytest.mark.parametrize("to", TRAINERS)
def test_blocks_of_text(tmp_path: Path, to: str) -> None:
    asked = {"task": "lm", "text_column": "body", "fix": PLAIN}
    check(paste(tmp_path, to, examples.texts(), **asked), 0.1)


@pytest.mark.parametrize("to", TRAINERS)
def test_texts_one_by_one_with_an_adapter_and_a_penalty(tmp_path: Path, to: str) -> None:
    fixed = PENALIZED | {"lora_rank": 4}
    asked = {"task": "lm", "text_column": "body", "packing": False, "fix": fixed}
    check(paste(tmp_path, to, examples.texts(), **asked), 0.1)


@pytest.mark.parametrize("task", ["lm", "text2text"])
@pytest.mark.parametrize("to", TRAINERS)
def test_prompts_and_completions(tmp_path: Path, to: str, task: str) -> None:
    columns = {"prompt_column": "ask", "completion_column": "answer"}
    asked = {"task": task, "model": "embedded", "fix": PENALIZED, **columns}
    check(paste(tmp_path, to, examples.completions(), **asked), 0.1)


@pytest.mark.parametrize("to", TRAINERS)
def test_chats(tmp_path: Path, chatting: str, to: str) -> None:
    said = {"messages_column": "said", "chat_template_kwargs": '{"loud": true}'}
    asked = {"task": "lm", "model": chatting, "fix": PLAIN, **said}
    check(paste(tmp_path, to, examples.chats(), **asked), 0.1)


@pytest.mark.parametrize("adapter", [{}, {"lora_rank": 4}])
def test_classes_with_a_penalty(tmp_path: Path, adapter: dict[str, int]) -> None:
    asked = {"task": "classify", "fix": PENALIZED | adapter, "displacement": -2.0}
    check(paste(tmp_path, "transformers", examples.labels(), **asked), 0.1)


def test_sequences_into_sequences_with_a_penalty(tmp_path: Path) -> None:
    asked = {"task": "text2text", "fix": PENALIZED}
    check(paste(tmp_path, "transformers", examples.sources(), **asked), 0.1)


def test_pairs(tmp_path: Path) -> None:
    fixed = HELD | {"divergence_weight": 0.5, "divergence": "jensen_shannon"}
    asked: dict[str, Any] = {"task": "dpo", "fix": fixed, "displacement": -2.0}
    check(paste(tmp_path, "trl", examples.pairs(), **asked), 0.03)


@pytest.mark.parametrize("to", TRAINERS)
def test_what_a_controller_found(tmp_path: Path, to: str) -> None:
    asked = {"task": "lm", "text_column": "body", "agent": "range-test", "trials": 1}
    check(paste(tmp_path, to, examples.texts(), **asked), 0.1)
