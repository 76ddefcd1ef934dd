"""A plain loop is steered as a `Trainer` is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from hpopt.errors import ControllerError
from hpopt.live import Loop
from hpopt.live.steering import Point
from hpopt_envs.training.optimizers import as_measured, build_optimizer
from tests.envs.tiny import Bigrams
from tests.hpopt.live.runs import words

STEPS, BATCH = 60, 8
IDS = torch.tensor([row["input_ids"] for row in words(512)])


class Training:
    """A model, its optimizer, and a loop that can be stopped and taken up."""

    def __init__(self, rate: float = 0.02, optimizer: str = "adamw", **options: Any) -> None:
        torch.manual_seed(0)
        self.model = Bigrams()
        self.optimizer = build_optimizer(optimizer, self.model.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        asked = {"steps": STEPS, "loss": lambda: self.loss(IDS[-16:]), **options}
        self.loop = Loop(self.model, self.optimizer, **asked)
        self.rates: list[float] = []
        self.points: list[Point] = []

    def loss(self, ids: torch.Tensor) -> torch.Tensor:
        logits = self.model(ids[:, :-1]).flatten(0, 1)
        return cross_entropy(logits, ids[:, 1:].flatten())

    def measured(self, ids: torch.Tensor = IDS[-16:]) -> float:
        with as_measured(self.optimizer), torch.no_grad():
            return float(self.loss(ids))

    def step(self, number: int) -> None:
        self.rates.append(self.loop.before_step())
        self.optimizer.zero_grad()
        start = BATCH * number % 480
        self.loss(IDS[start : start + BATCH]).backward()
        self.optimizer.step()
        point = self.loop.after_step()
        if point is not None:
            self.points.append(point)

    def run(self, begin: int = 0, end: int = STEPS) -> "Training":
        with self.loop:
            for number in range(begin, end):
                self.step(number)
        return self


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        *(("adamw", 1e-3), ("adamw", 30.0), ("momentum", 30.0)),
        *(("prodigy", 0.1), ("prodigy", 10.0), ("schedule-free", 1e-3), ("schedule-free", 30.0)),
    ],
)
def test_it_finds_a_rate_with_any_optimizer(optimizer: str, rate: float) -> None:
    training = Training(rate, optimizer)
    before = training.measured()
    training.run()
    assert training.measured() < 0.9 * before
    assert len(training.rates) == STEPS
    assert training.loop.schedule["segments"][-1]["until_fraction"] == 1.0


def test_going_back_goes_to_where_it_was() -> None:
    training = Training(30.0)
    seen = {0: training.model.table.weight.detach().clone()}
    with training.loop:
        for number in range(STEPS):
            training.step(number)
            now = training.model.table.weight.detach().clone()
            point = training.points[-1] if training.points else None
            if point and point.step == number + 1 and point.back_to is not None:
                assert torch.equal(now, seen[point.back_to])
            seen[number + 1] = now
    assert any(point.back_to is not None for point in training.points)


@pytest.mark.parametrize("optimizer", ["adamw", "prodigy", "schedule-free"])
@pytest.mark.parametrize("at", [7, 40])
def test_it_goes_on_where_it_was(at: int, optimizer: str, tmp_path: Path) -> None:
    def retaining() -> Training:
        made = Training(3.0, optimizer, retained_loss=lambda: made.loss(31 - IDS[:4]))
        return made

    whole = retaining().run()
    first = retaining().run(end=at)
    first.loop.save(tmp_path / "loop.safetensors")
    second = retaining()
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.loop.load(tmp_path / "loop.safetensors")
    second.run(begin=at)
    assert first.rates + second.rates == whole.rates
    assert torch.equal(second.model.table.weight, whole.model.table.weight)
    assert second.loop.schedule == whole.loop.schedule


def test_forgetting_counts() -> None:
    other = 31 - IDS[:4]
    free = Training(0.3).run()
    bound = Training(0.3, retained_loss=lambda: bound.loss(other), forgetting_weight=100.0)
    base = bound.measured(other)
    bound.run()
    assert free.measured(other) - base > 0.3
    assert bound.measured(other) - base < 0.1
    for point in bound.points:
        assert point.probed.forgetting is not None
        expected = point.probed.loss + 100.0 * point.probed.forgetting
        assert point.objective == pytest.approx(expected)


def test_a_short_loop_is_held() -> None:
    training = Training(0.02, steps=20)
    training.run(end=20)
    assert training.rates == pytest.approx([0.02 * (1 - k / 20) for k in range(20)])
    assert not training.points


def test_wrong_use_is_one_line() -> None:
    training = Training()
    with pytest.raises(ControllerError, match="Loop: must be entered"):
        training.loop.before_step()
    with training.loop as loop:
        with pytest.raises(ControllerError, match="before_step: must come before"):
            loop.after_step()
        with (
            pytest.raises(ControllerError, match="must have one Loop at once"),
            Loop(training.model, training.optimizer, steps=STEPS, loss=lambda: 1.0),
        ):
            pass
        loop.before_step()
        with pytest.raises(ControllerError, match="after_step: must follow"):
            loop.before_step()
        training.optimizer.param_groups[0]["lr"] = 1.0
        with pytest.raises(ControllerError, match="must be left to the Loop, .* something set 1"):
            loop.after_step()
    done = Training(steps=24).run(end=24)
    with done.loop, pytest.raises(ControllerError, match="steps: must cover the run, but were 24"):
        done.loop.before_step()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps: must be at least 1, but got 0"),
        ({"rate": 0.0}, "learning_rate: must be above 0, but got 0.0"),
        ({"forgetting_weight": -1.0}, "forgetting_weight: must be finite and at least 0"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ControllerError, match=said):
        Training(**options)


@pytest.mark.parametrize("loss", [float("nan"), 0.0, float("inf")])
def test_a_loss_that_says_nothing_is_refused(loss: float) -> None:
    training = Training(loss=lambda: loss)
    with training.loop, pytest.raises(ControllerError, match="loss: must be finite and above 0"):
        training.loop.before_step()


def test_an_optimizer_that_cannot_be_put_back_is_refused() -> None:
    training = Training()

    class Listed(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["history"] = [parameter.clone()]

    training.optimizer = Listed(training.model.parameters(), lr=0.02)
    training.loop = Loop(
        training.model, training.optimizer, steps=STEPS, loss=lambda: training.loss(IDS[-16:])
    )
    with pytest.raises(ControllerError, match="must keep tensors and numbers, .* history of list"):
        training.run()
