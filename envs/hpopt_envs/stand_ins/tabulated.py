"""A run that is looked up: somebody trained it, and a table says what it came to.

A configuration is the nearest cell of the grid, hyperparameter by hyperparameter, in the unit
interval of the space. A trial is the run in that cell: a segment is the way to its next checkpoint,
a run that was ended early completes the trial there, and a cell without a run is a failed trial
that costs as much as a whole one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hpopt_search_spaces import (
    ChoiceParameter,
    FloatParameter,
    IntegerParameter,
    Parameter,
    SearchSpace,
    TrainingFacts,
    Value,
)

from ..errors import WorldError
from ..records import Outcome, RunFacts
from ..settings import EnvironmentSettings
from ..training.baseline import outside
from ..training_run import Evaluation, Probe, Progress
from .finished_runs import Cell, Checkpoint, FinishedRuns, read_runs

WIDE = 8  # ratio of the ends of a positive column from which it is on a log scale


@dataclass
class TableState:
    """Which run a trial is, once it has begun, and how many of its checkpoints are passed."""

    seed: int
    cell: Cell | None = None
    passed: int = 0


class TabulatedRun:
    """See `TrainingRun` for what each method promises; neither seed nor split matters.

    Args:
        facts: of the runs.
        runs: looked up.
        space: resolved; its names are those of the runs' hyperparameters.

    Raises:
        WorldError: the space leaves no value of a hyperparameter, or offers others.
    """

    def __init__(self, facts: RunFacts, runs: FinishedRuns, space: SearchSpace) -> None:
        self.facts = facts
        self._runs = runs
        self._space = space
        self._places = {name: _places(space, name, grid) for name, grid in runs.grid.items()}

    def start(self, seed: int) -> TableState:
        return TableState(seed)

    def advance(
        self,
        state: TableState,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        """Go to the run's next checkpoint, however many `tokens` are asked for."""
        cell = tuple(self._nearest(name, hyperparameters[name]) for name in self._runs.grid)
        if state.cell not in (None, cell):
            raise WorldError("hyperparameters of a finished run can't change during a trial")
        state.cell = cell
        if cell not in self._runs.runs:
            named = ", ".join(f"{n}={v}" for n, v in zip(self._runs.grid, cell, strict=True))
            reason = f"no such run in the table: {named}"
            return _progress(self.facts.trial_tokens, math.nan, Outcome.FAILED, reason)
        run = self._runs.runs[cell]
        before = run[state.passed - 1].number if state.passed else 0
        here = run[state.passed]
        state.passed += 1
        ended_early = state.passed == len(run) and here.number < self._runs.checkpoints
        outcome, reason = Outcome.COMPLETED if ended_early else None, ""
        if not math.isfinite(here.objective):
            outcome, reason = Outcome.EXPLODED, f"{self._runs.objective} is {here.objective}"
        trained = (here.number - before) * self.facts.segment_tokens
        progress = _progress(trained, here.metrics.get("loss", math.nan), outcome, reason)
        own = dict(zip(self._runs.grid, cell, strict=True))
        return replace(progress, hyperparameters=own)

    def probe(self, state: TableState) -> Probe:
        raise WorldError("probe: finished runs can't be probed")

    def evaluate(self, state: TableState, split: str, whole: bool) -> Evaluation:
        here = self._here(state)
        return Evaluation(here.metrics, here.objective, cost=0.0)

    def snapshot(self, state: TableState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {}, {"seed": state.seed, "cell": state.cell, "passed": state.passed}

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> TableState:
        cell = None if meta["cell"] is None else tuple(meta["cell"])
        return TableState(meta["seed"], cell, meta["passed"])

    def save_weights(self, state: TableState, folder: Path) -> None:
        """Write nothing: a table has no weights."""

    def _here(self, state: TableState) -> Checkpoint:
        assert state.cell is not None
        return self._runs.runs[state.cell][state.passed - 1]

    def _nearest(self, name: str, value: Value) -> Value:
        """Return the nearest value of the grid, the lower of two that are equally near."""
        place = self._space[name].to_unit(value)
        # Rounded, so that the lower one doesn't depend on the last digit.
        return min(self._places[name], key=lambda at: round(abs(at[0] - place), 9))[1]


def space_of(runs: FinishedRuns) -> SearchSpace:
    """Return the space from the least to the greatest value of each hyperparameter, all static.

    Its scale follows from all tasks of the table, so that it is the same in each of them.
    """
    parameters = [_parameter(n, grid, runs.anywhere[n]) for n, grid in runs.grid.items()]
    return SearchSpace(runs.task, tuple(parameters))


def tabulated_run(settings: EnvironmentSettings) -> tuple[TabulatedRun, SearchSpace]:
    """Build a training run of finished ones.

    Returns:
        The run, and the space, resolved: all hyperparameters of the table, and no others.

    Raises:
        SpaceError, WorldError: one line, where the settings ask for what a table doesn't have.
    """
    settings.refuse(
        "a table of finished runs",
        *("model", "sequence_length", "segment_tokens", "trial_tokens", "forgetting_weight"),
        *("max_divergence", "fixed", "displacement", "precision", "gradient_checkpointing"),
    )
    runs = read_runs(settings.task, settings.objective)
    space = settings.load_space(space_of(runs).to_dict())
    _check_names(space, runs)
    facts = _facts(runs)
    parameters, tokens = facts.total_parameters, facts.trial_tokens
    resolved = space.resolve(TrainingFacts(parameters, parameters, tokens, 1, lora=False))
    if beside := outside(resolved, settings.baseline or {}):
        name, value = next(iter(beside.items()))
        known = ", ".join(map(str, runs.grid.get(name, ())))
        raise WorldError(f"baseline: {name}: must be among {known}, but got {value!r}")
    return TabulatedRun(facts, runs, resolved), resolved


def _facts(runs: FinishedRuns) -> RunFacts:
    """Return the facts of a task without a base model, for which the median of its runs stands.

    A normalised regret of 1 is then the median run. Rewards are in units of its distance from the
    best.
    """
    parameters = _whole_number(runs, "parameters") or 1
    # Where nothing says how long runs were, a checkpoint is a token.
    trained = _whole_number(runs, "training_tokens") or runs.checkpoints
    segment_tokens = max(1, trained // runs.checkpoints)
    trial_tokens = segment_tokens * runs.checkpoints
    objectives = [end.objective for end in runs.ends]
    middle, best = median(objectives), min(objectives)
    losses = [end.metrics["loss"] for end in runs.ends if end.metrics.get("loss", 0.0) > 0.0]
    base_loss = median(losses) if losses else 1.0
    return RunFacts(
        task=runs.name,
        model="finished runs",
        objective_name=runs.objective,
        maximize=runs.maximize,
        unit="nats/token" if runs.objective == "loss" else "",
        objective_scale=middle - best or 1.0,
        forgetting_weight=0.0,
        fixed={},
        max_divergence=None,
        has_reference=False,
        sequence_length=1,
        epoch_tokens=trial_tokens,
        segment_tokens=segment_tokens,
        trial_tokens=trial_tokens,
        total_parameters=parameters,
        trainable_parameters=parameters,
        lora=False,
        base_metrics={runs.objective: -middle if runs.maximize else middle},
        base_objective=middle,
        base_objective_subset=middle,
        base_loss=base_loss,
        exploded_loss=4.0 * base_loss,
        penalty_cost=0.0,
        validation_cost=0.0,
        final_validation_cost=0.0,
        setup_cost=0.0,
        data_hash=runs.hash,
        model_hash=runs.hash,
        best_objective=best,
        notes=("Finished runs have neither other seeds nor a test split: nothing is confirmed.",),
        has_probe=False,
    )


def _parameter(name: str, grid: tuple[Value, ...], anywhere: tuple[Value, ...]) -> Parameter:
    """Return a parameter whose default is the middle of the grid."""
    low, middle, high = grid[0], grid[(len(grid) - 1) // 2], grid[-1]
    if isinstance(low, str) or isinstance(middle, str) or isinstance(high, str):
        return ChoiceParameter(name, grid, middle)
    least, most = float(anywhere[0]), float(anywhere[-1])
    log = least > 0.0 and most / least >= WIDE
    if isinstance(low, int) and isinstance(middle, int) and isinstance(high, int):
        powers = all(isinstance(v, int) and v > 0 and v & (v - 1) == 0 for v in anywhere)
        return IntegerParameter(
            name, low, high, middle, log=log and not powers, powers_of_two=powers
        )
    return FloatParameter(name, low, high, middle, log=log)


def _progress(tokens: int, loss: float, outcome: Outcome | None, reason: str) -> Progress:
    """Return a segment of which a table knows the end alone."""
    return Progress(
        tokens=tokens,
        optimizer_steps=0,
        train_loss=loss,
        penalty=None,
        gradient_norm=math.nan,
        gradient_norm_std=math.nan,
        clip_fraction=math.nan,
        noise_scale=None,
        cost=float(tokens),
        outcome=outcome,
        reason=reason,
    )


def _whole_number(runs: FinishedRuns, fact: str) -> int | None:
    value = runs.facts.get(fact)
    return int(value) if isinstance(value, int | float) and value >= 1 else None


def _check_names(space: SearchSpace, runs: FinishedRuns) -> None:
    if set(space.names) != set(runs.grid):
        raise WorldError(
            f"space {space.name!r}: must have the table's hyperparameters, "
            f"{', '.join(runs.grid)}, but has {', '.join(space.names)}"
        )
    for parameter in space.parameters:
        if parameter.dynamic or parameter.active_when:
            raise WorldError(
                f"space {space.name!r}: {parameter.name} must be neither dynamic nor under "
                "active_when, since finished runs have all their hyperparameters, and keep them"
            )


def _places(
    space: SearchSpace, name: str, grid: tuple[Value, ...]
) -> tuple[tuple[float, Value], ...]:
    """Return the values of the grid that the space has, each with its place in [0, 1]."""
    parameter = space[name]
    found = tuple((parameter.to_unit(v), v) for v in grid if parameter.contains(v))
    alien = isinstance(parameter, ChoiceParameter) and not set(parameter.choices) <= set(grid)
    if not found or alien:
        known = ", ".join(map(str, grid))
        raise WorldError(f"space {space.name!r}: {name} must be among the table's values: {known}")
    return found
