"""Schedule-Free in real trainers: each step as the search trained it, and what is saved."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from schedulefree import AdamWScheduleFree

from hpopt_envs.schedules import shape_factor
from tests.envs.tiny import llama
from tests.hpopt.export.export_study import HELD, exported
from tests.hpopt.export.trainers import TRAINERS, train

# A name that trl uses, and transformers 5.23 has changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")

Study = Callable[..., str]


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_schedule_free_is_warmed_up_once_and_its_average_is_what_is_saved(
    study: Study, tmp_path: Path, to: str, warmup: float
) -> None:
    shape = {"schedule_shape": "constant", "warmup_fraction": warmup, "weight_decay": 0.0}
    module = exported(study([HELD | shape | {"optimizer": "schedule-free"}] * 4), to)
    said = " ".join(module.__doc__.split())
    assert "trainer.train() trainer.optimizer.eval()" in said
    callbacks = [module.LearningRate()] if warmup else []
    torch.manual_seed(0)
    start = llama()
    trainer, seen = train(
        to, None, tmp_path / "out", module.ARGUMENTS, copy.deepcopy(start), callbacks
    )
    rates = [0.01 * shape_factor(step / 16, "constant", warmup, 0.0) for step in range(16)]
    assert seen.rates == pytest.approx(rates)
    trainer.optimizer.eval()

    optimizer = AdamWScheduleFree(start.train().parameters())
    optimizer.train()
    for rate, batch in zip(rates, seen.batches, strict=True):
        ids = torch.tensor(batch)
        optimizer.zero_grad()
        start(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(start.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    optimizer.eval()
    for ours, theirs in zip(start.parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
