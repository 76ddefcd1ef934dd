"""The pool as Stable-Baselines3 sees it: environments that step together."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hpopt_envs.episode import features
from hpopt_envs.episode.actions import action_space
from hpopt_search_spaces import SearchSpace, Value

from ..pool.metered import MeteredPool
from ..side_by_side import Floats, Infos, SideBySide
from .base import Proposal, Proposer
from .randomness import preserved_generators

if TYPE_CHECKING:
    from hpopt_envs.messages import Reply


class PoolVecEnv(SideBySide):
    """Workers of a pool as a `VecEnv`: each trial an episode, in lock-step.

    As in SB3's own vector environments, the step that ends a trial returns the first observation
    of the next one, and `infos[i]["terminal_observation"]` the last of this one. Trials end, they
    are never truncated. A slot whose trial ended when the budget refused another is exhausted:
    what is returned for it from then on means nothing, until the next `reset`.

    Args:
        pool: where trials run.
        view: how its environments read actions.
        starts: proposes what each trial starts from, for what its actions can't set; None where
            they set everything.

    Attributes:
        running: slots that have a trial.
        exhausted: slots that were refused a trial since the last `reset`.
        restarts: whether a slot whose trial ends gets another.
        observations: the current ones, shape (slots, features).
    """

    def __init__(self, pool: MeteredPool, view: str, starts: Proposer | None) -> None:
        self._pool = pool
        self._starts = starts
        self._trials: dict[int, tuple[Proposal | None, int]] = {}
        self._actions: NDArray[Any] = np.zeros((pool.size, 0))
        self.running: list[int] = []
        self.exhausted: set[int] = set()
        self.restarts = True
        self.observations: Floats = np.zeros((pool.size, len(features.FEATURES)), np.float32)
        box = spaces.Box(features.LOW, features.HIGH)
        super().__init__(pool.size, box, action_space(view, pool.space))

    def reset(self) -> Floats:
        """Start a trial in every slot for which the budget has one. No trial may be running."""
        self.exhausted.clear()
        with preserved_generators():
            self._start(range(self.num_envs))
        return self.observations.copy()

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = np.asarray(actions).reshape(self.num_envs, -1)

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], Infos]:
        rewards = np.zeros(self.num_envs, np.float32)
        dones = np.zeros(self.num_envs, np.bool_)
        infos: Infos = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        with preserved_generators():
            for slot in self.running:
                self._pool.advance(slot, self._actions[slot].tolist())
            for slot, reply in self._collect(len(self.running)):
                rewards[slot] = reply.reward
                if reply.outcome is not None:
                    dones[slot] = True
                    infos[slot]["terminal_observation"] = self.observations[slot].copy()
            self._start(np.flatnonzero(dones).tolist())
        return self.observations.copy(), rewards, dones, infos

    def _start(self, slots: Iterable[int]) -> None:
        """Start trials in idle slots; one that fails at once is followed by another."""
        waiting = list(slots)
        while waiting:
            started = 0
            for slot in waiting:
                if self.restarts and self._pool.can_start():
                    self._start_trial(slot)
                    started += 1
                else:
                    self.exhausted.add(slot)
            replies = self._collect(started)
            waiting = sorted(slot for slot, reply in replies if reply.outcome is not None)

    def _start_trial(self, slot: int) -> None:
        proposal = None if self._starts is None else self._starts.ask()
        initial = None if proposal is None else _point(self._pool.space, proposal.values)
        self._trials[slot] = proposal, self._pool.start(slot, initial=initial)
        self.running = sorted([*self.running, slot])

    def _collect(self, number: int) -> "list[tuple[int, Reply]]":
        """Collect replies, take in their observations, and let go of the trials that ended."""
        replies = [self._pool.collect() for _ in range(number)]
        for slot, reply in replies:
            if reply.observation:
                self.observations[slot] = reply.observation
            if reply.outcome is not None:
                proposal, trial = self._trials.pop(slot)
                self.running.remove(slot)
                if self._starts is not None and proposal is not None:
                    self._starts.tell(proposal, self._pool.history.trials[trial])
        return replies


def _point(space: SearchSpace, values: Mapping[str, Value]) -> tuple[float, ...]:
    """Return the point of the unit cube for some values, the default for all others."""
    return tuple(p.to_unit(values.get(p.name, p.default)) for p in space.parameters)
