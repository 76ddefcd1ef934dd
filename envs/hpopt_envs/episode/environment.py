"""Fine-tuning as a Gymnasium environment: one trial an episode, one segment a step."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from hpopt_search_spaces import SearchSpace, Value

from ..errors import WorldError
from ..messages import StudyFacts, segment_from_json, to_json
from ..records import Control, Outcome, RunFacts, Segment, Trial
from ..schedules import AGENT_SHAPE
from ..training_run import Progress, TrainingRun
from . import features
from .actions import VIEWS, ActionLayout, action_space, decode_actions
from .position import Position
from .snapshots import read_snapshot, write_snapshot
from .traces import trace


class FineTuneEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Short fine-tuning runs as episodes.

    An action sets the hyperparameters of the next segment (see `hpopt_envs.episode.actions` for
    its three views), the observation is the table `hpopt_envs.episode.features.FEATURES`, the
    reward the gain in (base objective − v)/scale, where v is the objective under the limit on
    divergence, if there is one (see `RunFacts.constrained`). An episode terminates at the trial's
    token horizon, when the loss explodes, and when the action stops it; it is never truncated
    from inside.

    `info` after a step has "segment" (a `Segment`), and at the end "trial" (a `Trial`).

    Args:
        run: the training run; environments may share one.
        space: a resolved search space.
        view: how actions are read, one of `hpopt_envs.episode.actions.VIEWS`.
        validate_segments: measure on validation between segments, as agents and pruners need;
            without it only the trial's end is measured, and earlier rewards are 0.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        run: TrainingRun,
        space: SearchSpace,
        *,
        view: str = "absolute",
        validate_segments: bool = True,
    ) -> None:
        if view not in VIEWS:
            raise WorldError(f"view must be one of {', '.join(VIEWS)}, but got {view!r}")
        self.run = run
        self.space = space
        self.view = view
        self.validate_segments = validate_segments
        self._layout = ActionLayout.of(space)
        self.observation_space = gymnasium.spaces.Box(features.LOW, features.HIGH)
        self.action_space = action_space(view, space)
        self._study = StudyFacts()
        self._new_trial(0, 0, None, {})

    @property
    def facts(self) -> RunFacts:
        return self.run.facts

    def twin(self) -> "FineTuneEnv":
        """Return another environment over the same training run."""
        return FineTuneEnv(
            self.run, self.space, view=self.view, validate_segments=self.validate_segments
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a trial at the base weights.

        Args:
            seed: keys all of the trial's draws; drawn where it isn't given.
            options: "trial" (id), "initial" (unit-cube point), "fixed" (hyperparameters that the
                space lacks), "test" (judge the end on the test split), "study" (`StudyFacts`).
        """
        super().reset(seed=seed)
        asked = options or {}
        if seed is None:
            seed = int(self.np_random.integers(2**62))
        self._study = asked.get("study", StudyFacts())
        initial = asked.get("initial")
        fixed = asked.get("fixed") or {}
        self._new_trial(asked.get("trial", 0), seed, initial, fixed, asked.get("test", False))
        return self._observe(), {}

    def _new_trial(
        self,
        trial: int,
        seed: int,
        initial: tuple[float, ...] | None,
        fixed: Mapping[str, Value],
        test: bool = False,
    ) -> None:
        self._trial = Trial(trial, seed)
        self._position = Position(self.run, seed)
        self._initial = self.space.default_unit if initial is None else tuple(initial)
        self._unit = self._initial
        self._fixed = {**AGENT_SHAPE, **fixed, **self.facts.fixed}
        self._split = "test" if test else "validation"
        self._improvement = 0.0
        self._returned = 0.0

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train one segment.

        Raises:
            WorldError: the trial has ended.
        """
        control = self._move(np.asarray(action, dtype=np.float64).reshape(1, -1))
        hyperparameters = self.space.decode(self._unit)
        beside = {name: v for name, v in self._fixed.items() if name not in hyperparameters}
        return self.train({**hyperparameters, **beside}, control)

    def train(
        self,
        hyperparameters: Mapping[str, Value],
        control: Control = Control.CONTINUE,
        *,
        tokens: int | None = None,
        probe: bool = False,
        roll_back: bool = False,
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train one segment with given hyperparameters, as `step` does with an action's.

        Args:
            hyperparameters: all of them.
            control: CONTINUE, or STOP after it.
            tokens: task tokens to train on, whole optimizer steps; None for a whole segment.
            probe: measure the loss on the trial's probe batch after it. An explosion before the
                trial's end then doesn't end it: it is an infinite loss.
            roll_back: first go back to the best probed point, else to the base weights.

        Raises:
            WorldError: the trial has ended.
        """
        if self._trial.outcome is not None:
            raise WorldError("step: the trial has ended, reset the environment first")
        started = time.perf_counter()
        position, number = self._position, len(self._trial.segments)
        if roll_back:
            position.roll_back()
        progress = self.run.advance(position.state, hyperparameters, number, tokens)
        ends = control is Control.STOP or self._reaches_horizon(progress)
        probe_loss = None
        if probe:
            progress, probe_loss = position.probe(progress, ends)
        segment, outcome, reason = self._measure(
            progress, hyperparameters, control, started, lost=probe_loss == math.inf
        )
        asked = Control.PROBE if probe else segment.control
        asked = Control.ROLL_BACK if roll_back else asked
        segment = replace(segment, control=asked, probe_loss=probe_loss)
        position.reached(segment.id, probe_loss)
        gain = self._reward(segment, outcome)
        ended = outcome in (Outcome.COMPLETED, Outcome.STOPPED)
        self._trial = Trial(
            id=self._trial.id,
            seed=self._trial.seed,
            segments=(*self._trial.segments, segment),
            outcome=outcome,
            reason=reason,
            value=segment.objective if ended else None,
        )
        info: dict[str, Any] = {"segment": segment}
        if outcome is not None:
            info["trial"] = self._trial
        return self._observe(), gain, outcome is not None, False, info

    def _reaches_horizon(self, progress: Progress) -> bool:
        return self._trial.trained_tokens + progress.tokens >= self.facts.trial_tokens

    def _move(self, action: NDArray[np.float64]) -> Control:
        unit, control = decode_actions(
            self.view,
            self._layout,
            np.array([self._unit]),
            action,
            np.array([not self._trial.segments]),
        )
        self._unit = tuple(float(coordinate) for coordinate in unit[0])
        return Control(int(control[0]))

    def _measure(
        self,
        progress: Progress,
        hyperparameters: Mapping[str, Value],
        control: Control,
        started: float,
        lost: bool,
    ) -> tuple[Segment, Outcome | None, str]:
        """Evaluate where it is due, and put the segment on record.

        Between segments, what is `lost` isn't evaluated: that would be an explosion.
        """
        here = self._position.segment
        parent = None if here is None else self._trial.segments[here]
        tokens = progress.tokens + (parent.training_tokens if parent else 0)
        outcome, reason = progress.outcome, progress.reason
        metrics: Mapping[str, float] = {}
        objective, cost = None, progress.cost
        if outcome in (None, Outcome.COMPLETED):  # a finished run may be shorter than the horizon
            if self._reaches_horizon(progress):
                outcome = Outcome.COMPLETED
            elif outcome is None and control is Control.STOP:
                outcome, reason = Outcome.STOPPED, "stopped by the agent"
            whole = outcome is not None
            if whole or (self.validate_segments and self._split == "validation" and not lost):
                split = self._split if whole else "validation"
                evaluation = self.run.evaluate(self._position.state, split, whole)
                metrics, cost = evaluation.metrics, cost + evaluation.cost
                objective = evaluation.objective
                constrained = self.facts.constrained(objective, metrics)
                if not np.isfinite(constrained):
                    outcome, reason = Outcome.EXPLODED, f"objective is {constrained} on {split}"
                    objective = None
        segment = Segment(
            id=len(self._trial.segments),
            parent=parent.id if parent else None,
            hyperparameters=hyperparameters,
            tokens=progress.tokens,
            training_tokens=tokens,
            optimizer_steps=progress.optimizer_steps,
            train_loss=progress.train_loss,
            penalty=progress.penalty,
            gradient_norm=progress.gradient_norm,
            gradient_norm_std=progress.gradient_norm_std,
            clip_fraction=progress.clip_fraction,
            noise_scale=progress.noise_scale,
            metrics=metrics,
            objective=objective,
            control=control,
            cost=cost,
            study_cost=0.0,
            flops=6.0 * self.facts.total_parameters * cost,
            wall_seconds=time.perf_counter() - started,
        )
        return segment, outcome, reason

    def _reward(self, segment: Segment, outcome: Outcome | None) -> float:
        """Reward of a segment; improvement is measured against the base on the same set."""
        ended = outcome in (Outcome.COMPLETED, Outcome.STOPPED)
        after = self._improvement
        if segment.objective is not None:
            facts = self.facts
            base = facts.base_objective if ended else facts.base_objective_subset
            after = base - facts.constrained(segment.objective, segment.metrics)
            after /= facts.objective_scale
        failed = outcome is not None and not ended
        gain = features.reward(
            np.array([self._improvement]),
            np.array([after]),
            np.array([failed]),
            np.array([self._returned]),
            limited=self.facts.max_divergence is not None,
        )
        self._improvement = after
        self._returned += float(gain[0])
        return float(gain[0])

    def _observe(self) -> NDArray[np.float32]:
        traces = trace(self.space, self.facts, self._initial, self._trial, self._study)
        observation: NDArray[np.float32] = features.observe(traces)[0]
        return observation

    def set_study(self, study: StudyFacts) -> None:
        """Hand down what the next observation says of the study."""
        self._study = study

    @property
    def trial(self) -> Trial:
        """The trial as it stands."""
        return self._trial

    def save(self, path: Path) -> None:
        """Write the trial as it stands, so that `load` can take it up in another process."""
        tensors, position = self._position.snapshot()
        meta = {
            **position,
            "trial": self._trial.id,
            "seed": self._trial.seed,
            "segments": [to_json(segment) for segment in self._trial.segments],
            "initial": self._initial,
            "unit": self._unit,
            "fixed": self._fixed,
            "split": self._split,
            "improvement": self._improvement,
            "returned": self._returned,
        }
        write_snapshot(path, tensors, meta)

    def load(self, path: Path, study: StudyFacts) -> NDArray[np.float32]:
        """Take up a trial that `save` wrote, and return its observation.

        Raises:
            WorldError: the file is missing or broken.
        """
        tensors, meta = read_snapshot(path)
        self._position = Position.restore(self.run, meta["seed"], tensors, meta)
        segments = tuple(segment_from_json(segment) for segment in meta["segments"])
        self._trial = Trial(meta["trial"], meta["seed"], segments)
        self._initial, self._unit = tuple(meta["initial"]), tuple(meta["unit"])
        self._fixed, self._split = meta["fixed"], meta["split"]
        self._improvement, self._returned = meta["improvement"], meta["returned"]
        self._study = study
        return self._observe()

    def save_weights(self, folder: Path) -> None:
        """Write the model as it stands where `from_pretrained` finds it."""
        self.run.save_weights(self._position.state, folder)
