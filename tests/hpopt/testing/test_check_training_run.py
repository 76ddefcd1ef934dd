"""`check_training_run` passes the stand-ins, and catches each broken promise."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt.testing import check_training_run
from hpopt_envs.factory import make_env
from hpopt_envs.records import Outcome, RunFacts
from hpopt_envs.stand_ins.simulated import SimulatedRun, SimulatedState
from hpopt_envs.training_run import Evaluation, Probe, Progress
from tests.hpopt.testing.failing import fails


def facts() -> RunFacts:
    return make_env("simulated", trial_tokens=4 * 4096).facts


def test_the_simulation_keeps_its_promises() -> None:
    check_training_run(SimulatedRun(facts()))


def test_finished_runs_keep_theirs(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = [f"x,{rate},{mark},{2 - mark * rate}" for rate in (0.1, 0.2) for mark in (1, 2, 3)]
    table.write_text("\n".join(["task,rate,checkpoint,loss", *rows]) + "\n")
    env = make_env(f"table:{table}")
    check_training_run(env.run, {"rate": 0.1})
    fails("must raise nothing, but got KeyError: 'rate'", check_training_run, env.run, {})


class Drawing(SimulatedRun):
    """Draws from a global generator."""

    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        progress = super().advance(state, *more)
        return replace(progress, train_loss=progress.train_loss + 0.01 * random.random())


class Seeding(SimulatedRun):
    def start(self, seed: int) -> SimulatedState:
        torch.manual_seed(seed)
        return super().start(seed)


class Counting(SimulatedRun):
    """Trials aren't the same again."""

    trials = 0

    def start(self, seed: int) -> SimulatedState:
        self.trials += 1
        return super().start(seed + self.trials)


class InTurns(SimulatedRun):
    """Goes on with the trial that was started last."""

    def start(self, seed: int) -> SimulatedState:
        self.state = super().start(seed)
        return self.state

    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        progress = super().advance(self.state, *more)
        vars(state).update(vars(self.state))
        return progress

    def restore(self, tensors: Any, meta: Mapping[str, Any]) -> SimulatedState:
        self.state = super().restore(tensors, meta)
        return self.state


class Training(SimulatedRun):
    """Trains while it is probed."""

    def probe(self, state: SimulatedState) -> Probe:
        probed = super().probe(state)
        state.training_tokens += 1
        return probed


class Restless(SimulatedRun):
    count = 0.0

    def evaluate(self, state: SimulatedState, split: str, whole: bool) -> Evaluation:
        self.count += 1
        evaluation = super().evaluate(state, split, whole)
        return replace(evaluation, metrics={**evaluation.metrics, "calls": self.count})


class RestlessProbe(SimulatedRun):
    count = 0.0

    def probe(self, state: SimulatedState) -> Probe:
        self.count += 1
        return Probe(super().probe(state).loss + self.count, 1.0)


class ProbeTrains(SimulatedRun):
    """A probe moves draws on, which the next segment shows."""

    probed = 0

    def probe(self, state: SimulatedState) -> Probe:
        self.probed = 1
        return super().probe(state)

    def start(self, seed: int) -> SimulatedState:
        self.probed = 0
        return super().start(seed)

    def advance(
        self, state: SimulatedState, values: Any, segment: int, tokens: int | None = None
    ) -> Progress:
        return super().advance(state, values, segment + 100 * self.probed, tokens)


class WrongSign(SimulatedRun):
    def evaluate(self, state: SimulatedState, split: str, whole: bool) -> Evaluation:
        evaluation = super().evaluate(state, split, whole)
        return replace(evaluation, objective=-evaluation.objective)


class NoMetric(SimulatedRun):
    def evaluate(self, state: SimulatedState, split: str, whole: bool) -> Evaluation:
        evaluation = super().evaluate(state, split, whole)
        return replace(evaluation, metrics={"accuracy": 1.0})


class Free(SimulatedRun):
    def evaluate(self, state: SimulatedState, split: str, whole: bool) -> Evaluation:
        return replace(super().evaluate(state, split, whole), cost=0.0)


class View(SimulatedRun):
    """Its snapshots are the state itself."""

    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        before = state.mean
        progress = super().advance(state, *more)
        before[:] = state.mean
        return progress

    def snapshot(self, state: SimulatedState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors, meta = super().snapshot(state)
        return {**tensors, "mean": torch.from_numpy(state.mean)}, meta


class Forgets(SimulatedRun):
    """Restores a trial without what it has trained."""

    def restore(
        self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]
    ) -> SimulatedState:
        return super().restore(tensors, {**meta, "training_tokens": 0})


class Hidden(SimulatedRun):
    """Has a momentum that no snapshot knows of."""

    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        progress = super().advance(state, *more)
        moved = state.mean + getattr(state, "momentum", 0.0)
        state.momentum = 0.1 * state.mean  # type: ignore[attr-defined]
        state.mean = moved
        return progress


class Short(SimulatedRun):
    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        return replace(super().advance(state, *more), tokens=64)


class Gift(SimulatedRun):
    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        return replace(super().advance(state, *more), cost=0.0)


class Calm(SimulatedRun):
    """Has exploded, and doesn't say so."""

    def advance(self, state: SimulatedState, *more: Any) -> Progress:
        return replace(super().advance(state, *more), train_loss=1e9)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Seeding, "torch's global generator must be left as it was"),
        (Drawing, "random's global generator must be left as it was"),
        (Counting, "a trial of the same seed must be the same again"),
        (InTurns, "two trials that take turns must come to what each comes to alone"),
        (Training, "evaluate and probe must leave the trial's state as it is"),
        (Restless, "evaluate('validation', whole=False): its metrics must be"),
        (RestlessProbe, "probe(): must be"),
        (ProbeTrains, "a trial must be the same where evaluate and probe look at it"),
        (WrongSign, "to be minimised, as its metrics say"),
        (NoMetric, "must have loss"),
        (Free, "or more, as the facts say, but got 0.0"),
        (View, "snapshot: must be a copy"),
        (Forgets, "must be the same again after restore"),
        (Hidden, "after restore"),
        (Short, "4096 tokens or more must be trained by its end"),
        (Gift, "its cost must be finite, > 0, but got 0.0"),
        (Calm, "must have exploded where its loss is above exploded_loss"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(kind: type[SimulatedRun], line: str) -> None:
    fails(line, check_training_run, kind(facts()))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"trial_tokens": 5000}, "trial_tokens must be a multiple of segment_tokens=4096"),
        ({"setup_cost": -1.0}, "setup_cost must be finite and not negative"),
        ({"token_cost": 0.0}, "token_cost must be finite and above 0"),
        ({"trainable_parameters": 10**9}, "trainable_parameters must be among"),
        ({"exploded_loss": 1.0}, "exploded_loss must be above base_loss"),
        ({"objective_name": "accuracy"}, "base_metrics must have the objective accuracy"),
        ({"base_objective": float("nan")}, "base_objective must be finite"),
        ({"has_reference": False, "max_divergence": 1.0}, "a limit needs a reference"),
        ({"fixed": {1: 2}}, "JSON must carry"),
    ],
)
def test_facts_must_fit_together(change: dict[str, Any], line: str) -> None:
    fails(line, check_training_run, SimulatedRun(replace(facts(), **change)))


def test_a_run_that_explodes_at_once_is_a_run_too() -> None:
    run = SimulatedRun(facts())
    values = {"learning_rate": 1e3, "batch_size": 4}
    assert run.advance(run.start(0), values, 0).outcome is Outcome.EXPLODED
    check_training_run(run, values)
