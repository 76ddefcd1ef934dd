"""Prodigy and Schedule-Free AdamW in a trial: steps, and where it is measured and saved."""

import copy
from pathlib import Path

import pytest
import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree
from transformers import AutoModelForCausalLM

from hpopt.testing import check_training_run
from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.randomness import key
from hpopt_envs.schedules import HELD_SHAPE, learning_rate_at
from hpopt_envs.training.real import MAX_GRADIENT_NORM, RealRun
from hpopt_envs.training.states import RunState
from hpopt_search_spaces import ChoiceParameter, FloatParameter, SearchSpace, Value, load_space
from tests.envs.tiny import HERE, Words

NAMES = ("prodigy", "schedule-free")
STEPS = 32
TOKENS = 32 * 8  # of a step
BETA = 0.9  # Schedule-Free's


def run_with(name: str, steps: int = 8, **fixed: Value) -> RealRun:
    """A run of 32 steps, 8 of them a segment, or fewer."""
    env = make_env(
        f"{HERE}:Words",
        fixed={"optimizer": name, **fixed},
        segment_tokens=steps * TOKENS,
        trial_tokens=STEPS * TOKENS,
        device="cpu",
    )
    assert isinstance(env.run, RealRun)
    return env.run


def asked_of(run: RealRun, **others: Value) -> dict[str, Value]:
    rate = 1.0 if run.facts.fixed["optimizer"] == "prodigy" else 0.0025
    values: dict[str, Value] = {"learning_rate": rate, "batch_size": 32, "divergence_weight": 0.0}
    return {**HELD_SHAPE, **values, **run.facts.fixed, **others}


def trained(run: RealRun, segments: int, **others: Value) -> RunState:
    state = run.start(seed=3)
    for segment in range(segments):
        run.advance(state, asked_of(run, **others), segment)
    return state


def average(state: RunState) -> dict[str, torch.Tensor]:
    """What Schedule-Free evaluates: y = (1 − β) z + β x, solved for x in double precision."""
    assert state.optimizer is not None
    moments = state.optimizer.state_dict()["state"]
    return {
        name: ((y.double() - (1 - BETA) * moments[index]["z"].double()) / BETA).float()
        for index, (name, y) in enumerate(state.tensors.items())
        if index in moments
    }


def by_hand(run: RealRun, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> None:
    """Take the steps of a trial with the library, in its training mode."""
    task, train = Words(), run._evaluator.data.train
    asked, cursor = asked_of(run), 0
    orders = [
        torch.randperm(96, generator=torch.Generator().manual_seed(key(3, "task", epoch)))
        for epoch in range(STEPS // 3 + 1)
    ]
    rows = torch.cat(orders)
    for step in range(STEPS):
        index = rows[cursor : cursor + 32]
        cursor += 32
        batch = {name: tensor[index] for name, tensor in train.items()}
        optimizer.zero_grad()
        (task.loss_sum(model, batch) / task.loss_count(batch)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.param_groups[0]["lr"] = learning_rate_at(step / STEPS, asked)
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_trial_is_the_steps_of_the_library_and_is_measured_where_that_says(name: str) -> None:
    run = run_with(name)
    run.weights.use_base()
    base = {n: p.data.clone() for n, p in run.weights.model.named_parameters()}
    model = copy.deepcopy(run.weights.model).train()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    if name == "prodigy":
        by_hand(run, Prodigy(model.parameters()), model)
    else:
        optimizer = AdamWScheduleFree(model.parameters())
        optimizer.train()
        by_hand(run, optimizer, model)
    state = trained(run, 4)
    for parameter_name, parameter in model.named_parameters():
        torch.testing.assert_close(state.tensors[parameter_name], parameter.data)
        assert (parameter.data - base[parameter_name]).abs().max() > 1e-3
    if name == "schedule-free":
        optimizer.eval()
    first = run._evaluator._sizes[True]
    split = {n: tensor[:first] for n, tensor in run._evaluator.data.validation.items()}
    with torch.no_grad():
        expected = Words().loss_sum(model.eval(), split) / Words().loss_count(split)
    found = run.evaluate(state, "validation", whole=True).metrics["loss"]
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_schedule_free_is_measured_probed_and_saved_at_its_average(tmp_path: Path) -> None:
    run = run_with("schedule-free")
    state = trained(run, 3, learning_rate=0.05)
    averages, trained_at = average(state), {n: t.clone() for n, t in state.tensors.items()}
    elsewhere = RunState(seed=3, structure=state.structure, tensors={**state.tensors, **averages})
    at_y = RunState(seed=3, structure=state.structure, tensors=trained_at)
    for measure in (
        lambda s: run.evaluate(s, "validation", True).objective,
        lambda s: run.evaluate(s, "test", False).metrics["divergence"],
        lambda s: run.probe(s)[0],
    ):
        assert measure(state) == pytest.approx(measure(elsewhere), rel=1e-5)
        assert measure(state) != pytest.approx(measure(at_y), rel=1e-3)
    run.save_weights(state, tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, parameter in saved.named_parameters():
        torch.testing.assert_close(parameter.data, averages[name])
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in trained_at.items())


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("prodigy", {"lora_rank": 2}),
        ("schedule-free", {}),
        ("schedule-free", {"lora_rank": 2}),
        ("schedulefree:RAdamScheduleFree", {"frozen_layers": 2}),
    ],
)
def test_measuring_and_snapshots_leave_trials_as_they_are_to_the_last_bit(
    name: str, structure: dict[str, Value]
) -> None:
    run = run_with(name, steps=2, **structure)
    check_training_run(run, asked_of(run, divergence_weight=0.1, dropout=0.1))


@pytest.mark.parametrize("name", NAMES)
def test_a_learning_rate_may_move_in_a_trial(name: str) -> None:
    run = run_with(name)
    state = run.start(seed=1)
    peak = float(asked_of(run)["learning_rate"])
    losses = []
    for segment, factor in enumerate((0.01, 0.1, 1.0, 0.3)):
        asked = asked_of(run, learning_rate=peak * factor, schedule_shape="constant")
        losses.append(run.advance(state, asked, segment).train_loss)
    assert all(tensor.isfinite().all() for tensor in state.tensors.values())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "rate", "shape", "advised"),
    [
        ("prodigy", 1.0, {"warmup_fraction": 0.0}, {"schedule_shape": "cosine"}),
        ("schedule-free", 0.0025, {"schedule_shape": "constant"}, {}),
    ],
)
def test_what_is_documented_is_the_default_however_it_is_asked_for(
    name: str, rate: float, shape: dict[str, Value], advised: dict[str, Value]
) -> None:
    def env(space: str | None, **fixed: Value) -> FineTuneEnv:
        return make_env(f"{HERE}:Words", None, space, fixed=fixed, trial_tokens=1024, device="cpu")

    for other, wanted in ((env(name), advised), (env(None, optimizer=name), {})):
        assert other.facts.fixed == {"optimizer": name, **shape, **wanted}
        assert other.space.defaults()["learning_rate"] == rate
    asked: dict[str, Value] = {"optimizer": "adamw", "schedule_shape": "linear"}
    changed = env(name, **asked)
    assert changed.facts.fixed == {**shape, **asked}
    assert float(changed.space.defaults()["learning_rate"]) < 0.1


def test_the_shape_that_a_space_searches_is_left_to_it() -> None:
    env = make_env(
        f"{HERE}:Words",
        None,
        "scheduled",
        fixed={"optimizer": "schedule-free"},
        trial_tokens=1024,
        device="cpu",
    )
    assert env.facts.fixed == {"optimizer": "schedule-free"}


def test_schedule_free_among_a_spaces_optimizers_needs_a_word_on_the_shape() -> None:
    rate = FloatParameter("learning_rate", 1e-4, 1.0, 1e-3, log=True)
    batch = load_space("default")["batch_size"]
    kinds = ChoiceParameter("optimizer", ("adamw", "schedule-free"), "adamw")
    shape = ChoiceParameter("schedule_shape", ("constant", "linear"), "constant")
    silent = SearchSpace("mine", (rate, batch, kinds)).to_dict()
    told = SearchSpace("mine", (rate, batch, kinds, shape)).to_dict()
    how = {"trial_tokens": 1024, "device": "cpu"}
    with pytest.raises(WorldError, match="schedule-free among .* must go with schedule_shape"):
        make_env(f"{HERE}:Words", None, silent, **how)
    make_env(f"{HERE}:Words", None, silent, fixed={"schedule_shape": "constant"}, **how)
    make_env(f"{HERE}:Words", None, told, **how)


@pytest.mark.parametrize("name", NAMES)
def test_a_nano_task_refuses_them(name: str) -> None:
    with pytest.raises(WorldError, match="optimizer: must be sgd, .* for a nano task, but got"):
        make_env("nano:text", fixed={"optimizer": name})
