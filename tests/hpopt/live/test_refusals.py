"""Wrong use ends in one line, before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer
from trl import GRPOTrainer

from hpopt.errors import ControllerError
from hpopt.live import Controller
from hpopt.live.checks import check_trainer
from tests.hpopt.live.runs import RATE, arguments, tiny, trainer, weights, words


class OwnBatches(Trainer):
    _prepare_inputs = GRPOTrainer._prepare_inputs


class OwnLoop(Trainer):
    def _inner_training_loop(self, *_: Any, **__: Any) -> Any:
        return self.callback_handler.on_train_begin(self.args, self.state, self.control)


class Once(IterableDataset[Any]):
    """Rows that can be read once."""

    def __init__(self) -> None:
        self.rows = iter(words())

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.rows)


class Rows(IterableDataset[Any]):
    """Rows without a length."""

    def __iter__(self) -> Any:
        return iter(words())


CASES: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("must have one Controller, but got 2", {}, [Controller(), Controller()]),
    ("learning_rate: must be above 0, but got 0.0", {"learning_rate": 0.0}, [Controller()]),
    (
        "forgetting_weight: must be finite and at least 0, but got -1",
        {},
        [Controller(forgetting_weight=-1)],
    ),
    ("but got OwnBatches, which makes its batches itself", {"of": OwnBatches}, [Controller()]),
    ("must be among the callbacks of a trainer with the loop", {"of": OwnLoop}, [Controller()]),
    (
        "restore_callback_states_from_checkpoint: must be False",
        {"restore_callback_states_from_checkpoint": True},
        [Controller()],
    ),
    ("train_dataset: must begin anew each time", {"train_dataset": Once()}, [Controller()]),
    ("retain: texts must go with a processing_class", {}, [Controller(["a text"])]),
    ('or rows with "text" or "input_ids", but got columns words', {}, [Controller([{"words": 1}])]),
    ("or rows with .*, but got int", {}, [Controller([3])]),
    ("retain: must have texts of two tokens or more", {}, [Controller([{"input_ids": [1]}])]),
    ("retain: must have texts of two tokens or more", {}, [Controller([])]),
]


@pytest.mark.parametrize(("said", "asked", "callbacks"), CASES, ids=[case[0] for case in CASES])
def test_it_is_one_line_before_training(
    said: str, asked: dict[str, Any], callbacks: list[Any], tmp_path: Path
) -> None:
    ran = trainer(tmp_path, callbacks, **asked)
    before = weights(ran)
    with pytest.raises(ControllerError, match=said) as raised:
        ran.train()
    assert "\n" not in str(raised.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(ran).items())


class LOMO(torch.optim.SGD):
    """Named as one that steps while it computes gradients."""


def scheduled(make: Any, *arguments: Any) -> dict[str, Any]:
    """A model, and an optimizer and a scheduler of one's own."""
    model = tiny()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    return {"model": model, "optimizers": (optimizer, make(optimizer, *arguments))}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            scheduled(torch.optim.lr_scheduler.OneCycleLR, RATE, 100),
            "lr_scheduler: must be a LambdaLR, .*, but got OneCycleLR",
        ),
        (
            scheduled(torch.optim.lr_scheduler.ReduceLROnPlateau),
            "lr_scheduler: must be a LambdaLR, .*, but got ReduceLROnPlateau",
        ),
        (
            {"optimizers": (LOMO(tiny().parameters(), lr=RATE), None)},
            "optimizer: must take its learning rate from its parameter groups, but got LOMO",
        ),
    ],
)
def test_optimizers_and_schedulers_of_ones_own(
    asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ControllerError, match=said):
        trainer(tmp_path, [Controller()], **asked).train()


@pytest.mark.parametrize(("flag", "name"), [("fsdp", "FSDP"), ("deepspeed", "DeepSpeed")])
def test_sharded_training_is_refused(flag: str, name: str, tmp_path: Path) -> None:
    ran = trainer(tmp_path, [Controller()])
    setattr(ran, f"is_{flag}_enabled", True)  # neither runs on one CPU
    with pytest.raises(ControllerError, match=f"one device or DDP, .*, but got {name}"):
        check_trainer(ran, Controller)


def test_rows_without_a_length_need_max_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_steps"):
        Trainer(
            tiny(),
            arguments(tmp_path, max_steps=-1),
            train_dataset=Rows(),
            callbacks=[Controller()],
        )
    ran = trainer(tmp_path, [Controller()], train_dataset=Rows(), max_steps=30)
    ran.train()
    assert (tmp_path / "schedule.json").is_file()


def test_a_model_that_retains_no_text_says_so(tmp_path: Path) -> None:
    from tests.envs.tiny import bert

    rows = [{"input_ids": row["input_ids"], "labels": k % 2} for k, row in enumerate(words())]
    ran = trainer(tmp_path, [Controller(words(8))], model=bert(), train_dataset=rows)
    with pytest.raises(ControllerError, match="must go with a model that predicts the next"):
        ran.train()
    trainer(tmp_path, [Controller()], model=bert(), train_dataset=rows, max_steps=30).train()
    assert (tmp_path / "schedule.json").is_file()
