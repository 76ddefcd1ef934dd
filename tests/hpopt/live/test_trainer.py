"""What a controller does to a `Trainer`, watched from outside."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from hpopt.live import Controller
from hpopt_envs.schedules import learning_rate_at
from tests.hpopt.live.runs import RATE, STEPS, probes, rates, tiny, trainer, weights, words


class Watch(TrainerCallback):
    """Writes down the rates that the optimizer steps with, and what is there after each step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.weights: list[dict[str, torch.Tensor]] = []
        self.moments: list[list[torch.Tensor]] = []

    def on_train_begin(self, *_: Any, **at: Any) -> None:
        self.on_step_end(**at)

    def on_pre_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_step_end(self, *_: Any, model: Any, optimizer: Any, **__: Any) -> None:
        self.weights.append(copy.deepcopy(model.state_dict()))
        states = optimizer.state.values()
        self.moments.append([t.clone() for state in states for t in state.values()])


class SetRates(TrainerCallback):
    """Trains with given rates, and nothing else."""

    def __init__(self, given: list[float]) -> None:
        self.given = given

    def on_step_begin(self, args: Any, state: Any, control: Any, **at: Any) -> None:
        for group in at["optimizer"].param_groups:
            group["lr"] = self.given[state.global_step]


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(some[name], others[name]) for name in some)


def loss_of(model: Any) -> float:
    """On rows that nobody trained on."""
    ids = torch.tensor([row["input_ids"] for row in words(512, seed=1)])
    with torch.no_grad():
        return float(model.eval()(input_ids=ids, labels=ids).loss)


@pytest.mark.parametrize("off", [1 / 16, 16.0])
def test_a_rate_that_is_sixteen_times_off_costs_little(off: float, tmp_path: Path) -> None:
    losses = []
    for callbacks, rate in (([], RATE), ([], off * RATE), ([Controller()], off * RATE)):
        ran = trainer(tmp_path, callbacks, learning_rate=rate, max_steps=120, logging_steps=120)
        ran.train()
        losses.append(loss_of(ran.model))
        assert ran.state.global_step == 120
    right, wrong, steered = losses
    assert steered < wrong - 0.1
    assert steered < right + 0.1


def test_a_roll_back_restores_weights_and_moments_to_the_bit(tmp_path: Path) -> None:
    watch = Watch()
    ran = trainer(tmp_path, [Controller(), watch], learning_rate=16 * RATE)
    ran.train()
    backs = [at for at in probes(ran) if at["hpopt/rolled_back"]]
    assert backs
    best = math.inf
    kept = 0
    for at in probes(ran):
        step = int(at["step"])
        if at["hpopt/objective"] < best:
            best, kept = at["hpopt/objective"], step
        if at["hpopt/rolled_back"]:
            assert same(watch.weights[step], watch.weights[kept])
            assert kept < step
            for now, then in zip(watch.moments[step], watch.moments[kept], strict=True):
                assert torch.equal(now, then)


def test_an_explosion_is_undone(tmp_path: Path) -> None:
    ran = trainer(tmp_path, [Controller()], learning_rate=1e38)
    ran.train()
    assert {at["hpopt/objective"] for at in probes(ran)} == {math.inf}
    assert same(weights(ran), tiny().state_dict())  # no rate that it may try was any good
    assert json.loads((tmp_path / "schedule.json").read_text())["segments"] == []


def test_the_log_and_the_optimizer_have_the_real_rates_in_their_ratios(tmp_path: Path) -> None:
    model, watch = tiny(), Watch()
    named = dict(model.named_parameters())
    slow = [p for name, p in named.items() if "embed" in name]
    fast = [p for name, p in named.items() if "embed" not in name]
    groups = [{"params": fast, "lr": RATE}, {"params": slow, "lr": RATE / 8}]
    ran = trainer(
        tmp_path, [Controller(), watch], model=model, optimizers=(torch.optim.AdamW(groups), None)
    )
    ran.train()
    assert [first for first, _ in watch.rates] == rates(ran)
    assert [second / first for first, second in watch.rates] == pytest.approx([1 / 8] * STEPS)
    assert len({first for first, _ in watch.rates}) > 10
    assert watch.rates[-1][0] < 0.02 * max(first for first, _ in watch.rates)


def test_probes_leave_training_as_it_is(tmp_path: Path) -> None:
    runs = []
    for others in ([Controller()], None):
        model: Any = tiny()
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.2
        callbacks = others or [SetRates(rates(runs[0]))]
        runs.append(trainer(tmp_path, callbacks, model=model, learning_rate=RATE / 16))
        runs[-1].train()
    assert len(probes(runs[0])) > 10
    assert not any(at["hpopt/rolled_back"] for at in probes(runs[0]))
    assert same(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize("off", [1 / 16, 16.0])
def test_the_schedule_is_what_led_to_the_weights(off: float, tmp_path: Path) -> None:
    ran = trainer(tmp_path, [Controller()], learning_rate=off * RATE)
    ran.train()
    path: list[float] = []
    best, kept, before = math.inf, 0, 0
    for at in probes(ran):
        step = int(at["step"])
        path += rates(ran)[before:step]
        before = step
        if at["hpopt/objective"] < best:
            best, kept = at["hpopt/objective"], len(path)
        if at["hpopt/rolled_back"]:
            del path[kept:]
    path += rates(ran)[before:]
    schedule = json.loads((tmp_path / "schedule.json").read_text())
    assert schedule["optimizer_steps"] == len(path)
    written = []
    for step in range(len(path)):
        position = step / len(path)
        at = next(p for p in schedule["segments"] if position < p["until_fraction"] - 1e-9)
        written.append(learning_rate_at(position, at["hyperparameters"]))
        assert at["hyperparameters"]["batch_size"] == 4
    assert written == pytest.approx(path, rel=1e-5)


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_short_run_is_what_it_was_without_a_controller(warmup: int, tmp_path: Path) -> None:
    asked = {"max_steps": 23, "warmup_steps": warmup}
    plain = trainer(tmp_path / "plain", [], **asked)
    held = trainer(tmp_path / "held", [Controller()], **asked)
    for ran in (plain, held):
        ran.train()
    assert rates(held) == pytest.approx(rates(plain))
    assert not probes(held)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(held)[name], tensor)
    (part,) = json.loads((tmp_path / "held" / "schedule.json").read_text())["segments"]
    assert part["hyperparameters"]["warmup_fraction"] == pytest.approx(warmup / 23)


def test_it_says_what_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for asked in ({"max_steps": 10}, {"learning_rate": 16 * RATE, "warmup_steps": 7}):
        trainer(tmp_path, [Controller()], **asked).train()
    said = [record.getMessage() for record in caplog.records if record.name == "hpopt.live"]
    assert "10 steps are too few for a ramp, which needs 24: learning rate 0.02 is held" in said[0]
    assert any("learning rate 0.32: between 0.005 and 10.2" in line for line in said)
    assert any("the 7 steps of warm-up aren't taken" in line for line in said)
    assert any("MiB on cpu" in line for line in said)
    assert any("the objective rose" in line and "back to step" in line for line in said)


def test_what_is_retained_is_watched(tmp_path: Path) -> None:
    retained = words(8, seed=3)
    for row in retained:
        row["input_ids"] = [15 - word for word in row["input_ids"]]
    ids = torch.tensor([row["input_ids"] for row in retained])
    watch = Watch()
    ran = trainer(tmp_path, [Controller(retained, forgetting_weight=2.0), watch])
    ran.train()

    def loss_at(state: dict[str, torch.Tensor]) -> float:
        model: Any = tiny().eval()
        model.load_state_dict(state)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        return float(cross_entropy(logits, ids[:, 1:].flatten()))

    base = loss_at(watch.weights[0])
    for at in probes(ran)[:3]:
        risen = loss_at(watch.weights[int(at["step"])]) - base
        assert at["hpopt/probe_forgetting"] == pytest.approx(risen, abs=1e-5)
        expected = at["hpopt/probe_loss"] + 2.0 * risen
        assert at["hpopt/objective"] == pytest.approx(expected, abs=1e-4)


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    whole = trainer(tmp_path, [Controller()])
    cut = trainer(
        tmp_path, [Controller()], per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    for ran in (whole, cut):
        ran.train()
    assert [at["step"] for at in probes(cut)] == [at["step"] for at in probes(whole)]
    assert rates(cut) == pytest.approx(rates(whole))


@pytest.mark.parametrize(
    "how",
    [
        {"bf16": True},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"optim": "schedule_free_adamw"},
    ],
)
def test_other_ways_of_running_a_model_end_well(how: dict[str, Any], tmp_path: Path) -> None:
    ran = trainer(tmp_path, [Controller()], learning_rate=16 * RATE, **how)
    ran.train()
    assert any(at["hpopt/rolled_back"] for at in probes(ran))
    assert loss_of(ran.model) < 2.0
