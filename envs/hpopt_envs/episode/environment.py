"""Fine-tuning as a Gymnasium environment: one trial an episode, one segment a step."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from hpopt_search_spaces import SearchSpace, Value

from ..errors import RenderModeError, WorldError
from ..messages import StudyFacts
from ..records import Control, Outcome, RunFacts, Segment, Trial
from ..schedules import AGENT_SHAPE
from ..training_run import TrainingRun, TrialProcesses
from . import features
from .actions import VIEWS, ActionLayout, action_space, checked_action, decode_actions
from .carrying import carried, taken_up
from .measuring import ENDED, extended, improvement, judged, measure, reaches_horizon, record
from .options import ResetOptions
from .position import Position
from .rendering import line
from .snapshots import read_snapshot, write_snapshot
from .state import EpisodeState
from .traces import trace

RENDER_MODES = ("ansi",)


class FineTuneEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Short fine-tuning runs as episodes.

    An action sets the hyperparameters of the next segment (see `hpopt_envs.episode.actions` for
    its three views), the observation is the table `hpopt_envs.episode.features.FEATURES`, the
    reward the gain in (base objective − v)/scale, floored (see `features.reward`), where v is the
    objective under the limit on divergence, if there is one (see `RunFacts.constrained`). An
    episode terminates at the trial's token horizon, when the loss explodes, and when the action
    stops it; it is never truncated from inside.

    `info` after a step has "segment" (a `Segment`), and at the end "trial" (a `Trial`).

    Args:
        run: the training run; environments may share one.
        space: a resolved search space.
        view: how actions are read, one of `hpopt_envs.episode.actions.VIEWS`.
        validate_segments: measure on validation between segments, as agents and pruners need;
            without it only the trial's end is measured, and earlier rewards are 0.
        render_mode: "ansi", where `render` returns a line for the last segment; None for none.
        made_by: makes the environment anew, its training run included, which pickles carry in
            place of the run; None where that isn't known.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        run: TrainingRun,
        space: SearchSpace,
        *,
        view: str = "relative",
        validate_segments: bool = True,
        render_mode: str | None = None,
        made_by: Callable[[], "FineTuneEnv"] | None = None,
    ) -> None:
        if view not in VIEWS:
            raise WorldError(f"view: must be one of {', '.join(VIEWS)}, but got {view!r}")
        if render_mode not in (None, *RENDER_MODES):
            modes = ", ".join(RENDER_MODES)
            raise RenderModeError(f"render_mode: must be {modes} or None, but got {render_mode!r}")
        self.run = run
        self.space = space
        self.view = view
        self.validate_segments = validate_segments
        self.render_mode = render_mode
        self._made_by = made_by
        self._layout = ActionLayout.of(space)
        self.observation_space = gymnasium.spaces.Box(features.LOW, features.HIGH)
        self.action_space = action_space(view, space)
        self._study = StudyFacts()
        self._new_trial(0, ResetOptions())

    @property
    def facts(self) -> RunFacts:
        return self.run.facts

    def twin(self) -> "FineTuneEnv":
        """Return another environment over the same training run."""
        return FineTuneEnv(
            self.run,
            self.space,
            view=self.view,
            validate_segments=self.validate_segments,
            render_mode=self.render_mode,
            made_by=self._made_by,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a trial at the base weights.

        Args:
            seed: keys all of the trial's draws; drawn where it isn't given.
            options: see `hpopt_envs.episode.options.ResetOptions`.

        Raises:
            WorldError: an option is unknown, or has an impossible value.
        """
        super().reset(seed=seed)
        asked = ResetOptions.of(options, self.space, self.facts)
        if seed is None:
            seed = int(self.np_random.integers(2**62))
        self._study = asked.study
        self.close()
        self._new_trial(seed, asked)
        return self._observe(), {}

    def _new_trial(self, seed: int, asked: ResetOptions) -> None:
        begin = self.space.default_unit if asked.initial is None else asked.initial
        unit = tuple(float(coordinate) for coordinate in begin)
        self._episode = EpisodeState(
            trial=Trial(asked.trial, seed),
            position=Position(self.run, seed),
            initial=unit,
            unit=unit,
            fixed={**AGENT_SHAPE, **asked.fixed, **self.facts.fixed},
            tests=asked.test,
        )
        if isinstance(self.run, TrialProcesses):
            self.run.name(self.position.state, asked.trial)

    def close(self) -> None:
        """End what runs of the trial outside this process."""
        if isinstance(self.run, TrialProcesses):
            self.run.end(self.position.state)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train one segment.

        Args:
            action: of the action space; see `hpopt_envs.episode.actions`.

        Raises:
            WorldError: the trial has ended, or the action isn't one.
        """
        self._require_running()
        control = self._move(checked_action(self.action_space, action))
        hyperparameters = self.space.decode(self._episode.unit)
        fixed = self._episode.fixed
        beside = {name: value for name, value in fixed.items() if name not in hyperparameters}
        return self.train(
            {**hyperparameters, **beside},
            control,
            probe=control is Control.PROBE and self.facts.has_probe,
            roll_back=control is Control.ROLL_BACK,
            keep=True,
        )

    def train(
        self,
        hyperparameters: Mapping[str, Value],
        control: Control = Control.CONTINUE,
        *,
        tokens: int | None = None,
        probe: bool = False,
        roll_back: bool = False,
        keep: bool = False,
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train one segment with given hyperparameters, as `step` does with an action's.

        Args:
            hyperparameters: all of them.
            control: what is asked for; STOP ends the trial after it.
            tokens: task tokens to train on, whole optimizer steps; None for a whole segment.
            probe: measure the trial's probe batch after it. An explosion before the trial's end
                then doesn't end it: it is an infinite loss.
            roll_back: first go back to the best point, else to the base weights.
            keep: where it leads may be gone back to, as with every probe: a copy of all that the
                trial trains. Points are judged by the objective where it is measured between
                segments, else by the probe's, see `RunFacts.probed`.

        Raises:
            WorldError: the trial has ended.
        """
        self._require_running()
        episode = self._episode
        started = time.perf_counter()
        position, number = episode.position, len(episode.trial.segments)
        if roll_back:
            position.roll_back()
        progress = self.run.advance(position.state, hyperparameters, number, tokens)
        stops = control is Control.STOP
        probed = None
        if probe:
            ends = stops or reaches_horizon(self.facts, episode.trial, progress)
            progress, probed = position.probe(progress, ends)
        # Between segments, what is lost isn't evaluated: that would be an explosion.
        lost = probed is not None and probed.loss == math.inf
        validates = self.validate_segments and not lost
        measured = measure(self.run, episode, progress, stops=stops, validates=validates)
        asked = Control.PROBE if probe else control
        asked = Control.ROLL_BACK if roll_back else asked
        seconds = time.perf_counter() - started
        segment = record(
            self.facts, episode, progress, measured, hyperparameters, asked, probed, seconds
        )
        position.reached(segment.id, judged(self.facts, segment) if probe or keep else None)
        gain = self._reward(segment, measured.outcome)
        episode.trial = extended(episode.trial, segment, measured)
        ended = measured.outcome is not None
        info = {"segment": segment} | ({"trial": episode.trial} if ended else {})
        return self._observe(), gain, ended, False, info

    def _require_running(self) -> None:
        if self.trial.outcome is not None:
            raise WorldError("step: the trial has ended, reset the environment first")

    def _move(self, action: NDArray[np.float64]) -> Control:
        episode = self._episode
        unit, control = decode_actions(
            self.view,
            self._layout,
            np.array([episode.unit]),
            action,
            np.array([not episode.trial.segments]),
        )
        episode.unit = tuple(float(coordinate) for coordinate in unit[0])
        return Control(int(control[0]))

    def _reward(self, segment: Segment, outcome: Outcome | None) -> float:
        episode = self._episode
        after = improvement(self.facts, segment, outcome)
        gain = features.reward(
            np.array([episode.returned if after is None else after]),
            np.array([outcome is not None and outcome not in ENDED]),
            np.array([episode.returned]),
        )
        episode.returned += float(gain[0])
        return float(gain[0])

    def _observe(self) -> NDArray[np.float32]:
        episode = self._episode
        traces = trace(self.space, self.facts, episode.initial, episode.trial, self._study)
        observation: NDArray[np.float32] = features.observe(traces)[0]
        return observation

    def render(self) -> str | None:
        """Return a line for the last segment in the mode "ansi", else None."""
        if self.render_mode is None:
            return None
        return line(self.facts, self.trial, self._episode.returned)

    def set_study(self, study: StudyFacts) -> None:
        """Hand down what the next observation says of the study."""
        self._study = study

    @property
    def trial(self) -> Trial:
        """The trial as it stands."""
        return self._episode.trial

    @property
    def position(self) -> Position:
        """Where the trial is in its training run."""
        return self._episode.position

    def save(self, path: Path) -> None:
        """Write the trial as it stands, so that `load` can take it up in another process."""
        write_snapshot(path, *self._episode.snapshot())

    def load(self, path: Path, study: StudyFacts) -> NDArray[np.float32]:
        """Take up a trial that `save` wrote, and return its observation.

        Raises:
            WorldError: the file is missing or broken.
        """
        self._episode = EpisodeState.restore(self.run, *read_snapshot(path))
        self._study = study
        return self._observe()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle the trial as it stands, and how to make its training run rather than that."""
        if self._made_by is None:
            return super().__reduce_ex__(protocol)
        return taken_up, (self._made_by, *carried(self))

    def __deepcopy__(self, memo: Any) -> "FineTuneEnv":
        """Return a copy over the same training run, whose trial goes on by itself."""
        return taken_up(self.twin, *copy.deepcopy(carried(self), memo))

    def save_weights(self, folder: Path) -> None:
        """Write the model as it stands where `from_pretrained` finds it."""
        self.run.save_weights(self.position.state, folder)
