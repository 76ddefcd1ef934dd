"""Many nano tasks as one Gymnasium vector environment, for policies that learn from thousands.

Observation, reward and actions are those of `hpopt_envs.FineTuneEnv`: the same functions, on
arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from hpopt_search_spaces import Value

from ..episode import features
from ..episode.actions import VIEWS, ActionLayout, action_space, checked_action, decode_actions
from ..episode.features import Array
from ..errors import WorldError
from ..records import Control
from ..schedules import AGENT_SHAPE
from ..settings import EnvironmentSettings
from .facts import probe_cost, study_of
from .families import NanoTask, read_task
from .kept import Kept
from .paths import Paths
from .world import World

Flags = NDArray[np.bool_]
Observations = NDArray[np.float32]


@dataclass(frozen=True)
class _Measured:
    """Of n trials after a segment, shape (n,): NaN where nothing was measured."""

    loss: Array
    divergence: Array
    constrained: Array  # the objective under the limit on divergence
    objective: Array
    cost: Array


class NanoVectorEnv(VectorEnv[Observations, Any, Any]):
    """One trial after the other on each of n tasks, all trained side by side.

    The step that ends a trial returns the first observation of the next one on the same task
    (Gymnasium's same-step mode). `infos["final_obs"]` has the last one of the trial, and
    `infos["final_info"]["value"]` the objective on the whole validation set, NaN where it exploded.
    `infos["cost"]` has each segment's token-equivalents, its evaluation included.

    Args:
        tasks: n of them, of one shape and with trials of one length; a little quicker where those
            with the same optimizer are neighbours.
        view: how actions are read, one of `hpopt_envs.episode.actions.VIEWS`.
        validate_segments: measure on validation between segments; without it, rewards come at a
            trial's end.
        settings: other fields of `hpopt_envs.EnvironmentSettings`, the same for all tasks.

    Attributes:
        world: what trains.
        studies: facts and space of each task.

    Raises:
        SpaceError, WorldError: tasks or settings don't go together.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        tasks: Sequence[NanoTask],
        *,
        view: str = "relative",
        validate_segments: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if view not in VIEWS:
            raise WorldError(f"view: must be one of {', '.join(VIEWS)}, but got {view!r}")
        if not tasks:
            raise WorldError("nano tasks: must be one at least, but got none")
        said = dict(settings or {})
        if twice := said.keys() & {"view", "validate_segments"}:
            raise WorldError(f"settings: {min(twice)} must be said as an argument of its own")
        asked = EnvironmentSettings.of({"task": tasks[0].name, **said})
        self.world, self.num_envs = World(tasks), len(tasks)
        self._lanes = self.world.start([0] * len(tasks))
        self.studies = [study_of(self.world, k, self._lanes, asked) for k in range(len(tasks))]
        first = self.studies[0]
        if len({(s.facts.segment_tokens, s.facts.trial_tokens) for s in self.studies}) > 1:
            raise WorldError("nano tasks: must have trials of one length to step together")
        self._view, self._validates = view, validate_segments
        self._layout = ActionLayout.of(first.space)
        self._paths = Paths(self.studies)
        self._unit = np.zeros((len(tasks), first.space.dimension))
        self._kept, self._best = Kept(self._lanes), np.full(len(tasks), np.inf)
        self._best_length: NDArray[np.int64] = np.zeros(len(tasks), dtype=np.int64)
        self._random: list[np.random.Generator] = []
        self.single_observation_space = gymnasium.spaces.Box(features.LOW, features.HIGH)
        self.single_action_space = action_space(view, first.space)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Start a trial on every task.

        Args:
            seed: of each trial, or of the first, from which the others count; drawn where there is
                none.
            options: there are none.

        Raises:
            WorldError: there are some, or there is another number of seeds.
        """
        if options:
            raise WorldError(f"options: must be left out for nano tasks, but got {options}")
        counted: Sequence[int | None] | None
        if seed is None or isinstance(seed, Sequence):
            counted = seed
        else:
            counted = [int(seed) + k for k in range(self.num_envs)]
        seeds = [None] * self.num_envs if counted is None else list(counted)
        if len(seeds) != self.num_envs:
            raise WorldError(f"seed: must be {self.num_envs} numbers, but got {len(seeds)}")
        if not self._random or counted is not None:
            self._random = [seeding.np_random(one)[0] for one in seeds]
        drawn = [self._drawn(k) if one is None else one for k, one in enumerate(seeds)]
        self._begin(range(self.num_envs), drawn)
        return self._paths.observe(), {}

    def step(self, actions: Any) -> tuple[Observations, NDArray[Any], Flags, Flags, dict[str, Any]]:
        """Train a segment of every trial."""
        facts, paths = self.studies[0].facts, self._paths
        points, control = self._decode(actions)
        self._go_back(control == Control.ROLL_BACK.value)
        came = self.world.train(
            self._lanes, points, paths.segments.tolist(), facts.segment_tokens, facts.trial_tokens
        )
        limits = torch.tensor([study.facts.exploded_loss for study in self.studies])
        exploded = came.exploded(limits).numpy()
        over = paths.segments + 1 >= facts.segments
        probed, probing = self._probe(control == Control.PROBE.value, exploded, over)
        known = ~np.isinf(probed)
        exploded &= over | known
        ended = exploded | over | (control == Control.STOP.value)
        measured = self._measure(~ended & known, ended & ~exploded)
        asked = ~exploded & (ended | (self._validates & known))
        lost = asked & ~np.isfinite(measured.constrained)
        exploded, ended = exploded | lost, ended | lost
        rewards = self._reward(measured, ended, exploded, asked & ~lost)
        base = np.array([study.facts.base_objective_subset for study in self.studies])
        paths.extend(
            points,
            came,
            {
                "validation_loss": measured.loss,
                "divergence": measured.divergence,
                "improvement": np.where(lost, np.nan, base - measured.constrained),
            },
        )
        self._keep(np.where(asked, measured.constrained, probed))
        cost = facts.segment_tokens * (1 + facts.penalty_cost * came.penalised.double().numpy())
        infos: dict[str, Any] = {"cost": cost + probing + measured.cost}
        observations = paths.observe()
        if ended.any():
            value = np.where(exploded, np.nan, measured.objective)
            infos |= self._end(observations, ended, value)
            observations = paths.observe()
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=bool), infos

    def _decode(self, actions: Any) -> tuple[list[dict[str, Value]], NDArray[np.int64]]:
        """Move the trials' points, and return their hyperparameters and controls."""
        table = checked_action(self.single_action_space, actions, self.num_envs)
        first = self._paths.segments == 0
        unit, control = decode_actions(self._view, self._layout, self._unit, table, first)
        self._unit = unit
        points = [
            {**AGENT_SHAPE, **study.facts.fixed, **study.space.decode(unit)}
            for study, unit in zip(self.studies, self._unit.tolist(), strict=True)
        ]
        return points, control

    def _go_back(self, rows: Flags) -> None:
        """Take some trials to their best points, or to the base weights."""
        self._kept.go_back(self.world, self._lanes, torch.from_numpy(rows))
        self._paths.length = np.where(rows, self._best_length, self._paths.length)

    def _keep(self, objective: Array) -> None:
        """Keep points that are the best ones yet, by objectives that are NaN where unknown."""
        better = objective < self._best
        self._kept.keep(self._lanes, torch.from_numpy(better))
        self._best = np.where(better, objective, self._best)
        self._best_length = np.where(better, self._paths.length, self._best_length)

    def _probe(self, asked: Flags, exploded: Flags, over: Flags) -> tuple[Array, Array]:
        """Probe some trials; what exploded isn't measured, and at a trial's end isn't forgiven.

        Returns:
            Objectives, infinite where an explosion is forgiven and NaN where none was asked for;
            and costs.
        """
        objective, cost = np.full(self.num_envs, np.nan), np.zeros(self.num_envs)
        if asked.any():
            facts = [study.facts for study in self.studies]
            loss, forgetting = self.world.probe(self._lanes)
            weights = np.array([one.forgetting_weight for one in facts])
            seen = loss.double().numpy() + weights * forgetting.double().numpy()
            seen = np.where(exploded | ~np.isfinite(seen), np.inf, seen)
            objective = np.where(asked & ~(exploded & over), seen, np.nan)
            cost = np.where(asked & ~exploded, probe_cost(facts[0]), 0.0)
        return objective, cost

    def _measure(self, going_on: Flags, ended: Flags) -> _Measured:
        """Evaluate what goes on on a part of validation, and what has ended on the whole."""
        found = {name: np.full(self.num_envs, np.nan) for name in ("loss", "divergence")}
        forgetting, cost = np.full(self.num_envs, np.nan), np.zeros(self.num_envs)
        for whole, rows in ((False, going_on & self._validates), (True, ended)):
            if not rows.any():
                continue
            study = self.studies[0]
            size = study.whole if whole else study.subset
            index = None if rows.all() else np.flatnonzero(rows).tolist()
            losses = self.world.evaluate(self._lanes, "validation", size, index)
            found["loss"][rows] = losses.target.double().numpy()
            found["divergence"][rows] = losses.divergence.double().numpy()
            forgetting[rows] = losses.forgetting.double().numpy()
            facts = study.facts
            cost[rows] = facts.final_validation_cost if whole else facts.validation_cost
        weights = np.array([study.facts.forgetting_weight for study in self.studies])
        objective = found["loss"] + weights * forgetting
        limit = self.studies[0].facts.max_divergence
        excess = 0.0 if limit is None else np.maximum(0.0, found["divergence"] / limit - 1.0)
        return _Measured(**found, constrained=objective + excess, objective=objective, cost=cost)

    def _reward(
        self, measured: _Measured, ended: Flags, exploded: Flags, known: Flags
    ) -> NDArray[np.float64]:
        """Return rewards; improvement is measured against the base on the same set."""
        paths = self._paths
        facts = [study.facts for study in self.studies]
        base = np.where(
            ended, [f.base_objective for f in facts], [f.base_objective_subset for f in facts]
        )
        after = np.where(known, base - measured.constrained, paths.returned)
        gain = features.reward(after, exploded, paths.returned)
        paths.returned = paths.returned + gain
        return gain

    def _end(self, observations: Observations, ended: Flags, value: Array) -> dict[str, Any]:
        """Start the next trial of what has ended, and return what is told of the last."""
        rows = np.flatnonzero(ended).tolist()
        final = np.full(self.num_envs, None, dtype=object)
        for row in rows:
            final[row] = observations[row]
        self._begin(rows, [self._drawn(row) for row in rows])
        told = {"value": np.where(ended, value, 0.0), "_value": ended}
        return {"final_obs": final, "_final_obs": ended, "final_info": told, "_final_info": ended}

    def _begin(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.world.restart(self._lanes, rows, seeds)
        studies = [self.studies[row] for row in rows]
        self._unit[rows] = [study.space.default_unit for study in studies]
        begun = np.isin(np.arange(self.num_envs), rows)
        self._kept.keep(self._lanes, torch.from_numpy(begun))
        self._best[begun], self._best_length[begun] = np.inf, 0
        self._paths.begin(rows, [study.space.defaults() for study in studies])

    def _drawn(self, row: int) -> int:
        return int(self._random[row].integers(2**62))


def make_nano(num_envs: int, task: str, **settings: Any) -> NanoVectorEnv:
    """Build the environment that `gymnasium.make_vec("hpopt_envs:hpopt/Nano-v0")` makes.

    Args:
        num_envs: number of tasks: those of the family with the seeds that follow the task's own, in
            the order of their optimizers.
        task: such as `nano:text`.
        settings: see `NanoVectorEnv`; fields of `hpopt_envs.EnvironmentSettings` beside.

    Raises:
        SpaceError, WorldError: there is no such task, or the settings don't fit.
    """
    first = read_task(task)
    own = {name: settings.pop(name) for name in ("view", "validate_segments") if name in settings}
    tasks = [first.family.task(first.seed + k) for k in range(num_envs)]
    tasks.sort(key=lambda one: one.optimizer)
    return NanoVectorEnv(tasks, settings=settings, **own)
