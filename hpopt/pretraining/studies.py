"""Q-learning over studies: what to try next, so that the best of all trials is good in the end.

An episode is a study replayed from a table. Its first trial looked (a ramp), and holds the learning
rate that was lowest there; then cells are tried, one by one. The return, with the sign turned, is
the lowest regret so far on average over trials from now on, of which each next one counts less,
and the last one for all that could follow: a study may be read, or ended, after any of them. The
value network is SB3's Q-network, and begins as it was fitted, to the regret of one trial.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from ..policies.grid import CELLS
from ..policies.sight import CHANNELS, MOST_LEFT, Sight
from ..policies.values import ValueNetwork
from ..side_by_side import Floats, Infos, SideBySide
from .fitting import drawn_lesson, held_cells, measured
from .tables import RAMP_LEVELS, Table

STUDIES = 128  # side by side
BATCH = 256
LEARNING_RATE = 5e-4  # at first; it falls to nothing
REPLAY = 40_000  # trials that are remembered
DISCOUNT = 0.5  # of what is after a trial
EXPLORED = (0.3, 0.05)  # share of random trials, at first and from the middle on
UPDATES = 2  # after each trial of all studies
TARGET = 4_000  # trials between two copies of the network that says what follows


def practise(network: ValueNetwork, table: Table, trials: int, seed: int) -> ValueNetwork:
    """Return what a network that was fitted to a table becomes by practising on studies of it.

    Args:
        network: to begin with.
        table: of all training tasks.
        trials: that are replayed, of all studies together.
        seed: of every draw.
    """
    with torch.random.fork_rng(devices=[]):
        learner = DQN(
            _Policy,
            StudiesEnv(table, STUDIES, seed),
            learning_rate=lambda left: LEARNING_RATE * left,
            buffer_size=REPLAY,
            learning_starts=20 * STUDIES,
            batch_size=BATCH,
            gamma=DISCOUNT,
            train_freq=1,
            gradient_steps=UPDATES,
            target_update_interval=TARGET,
            exploration_initial_eps=EXPLORED[0],
            exploration_final_eps=EXPLORED[1],
            exploration_fraction=0.5,
            seed=seed,
            device="cpu",
        )
        for q_network in (learner.q_net, learner.q_net_target):
            q_network.q_net.load_state_dict(network.state_dict())
        learner.learn(trials)
    practised: ValueNetwork = learner.q_net.q_net  # type: ignore[assignment]
    return practised.eval()


class _QNetwork(QNetwork):
    """A value network as SB3 asks it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.q_net = ValueNetwork()  # type: ignore[assignment]

    def forward(self, obs: Any) -> torch.Tensor:
        values: torch.Tensor = -self.q_net(obs.view(-1, CHANNELS, RAMP_LEVELS)).flatten(1)
        return values


class _Policy(DQNPolicy):
    def make_q_net(self) -> QNetwork:
        return _QNetwork(**self._update_features_extractor(self.net_args, None))


class StudiesEnv(SideBySide):
    """Studies side by side, replayed from a table; see the module.

    Observations are what value networks see, flat. A study has 1 to `MOST_LEFT` trials after its
    first one; a cell that was tried before brings nothing.

    Args:
        table: of the tasks.
        count: of studies.
        seed: of every draw.
    """

    def __init__(self, table: Table, count: int, seed: int) -> None:
        self._table = table
        self._random = torch.Generator().manual_seed(seed)
        self._actions = torch.zeros(count, dtype=torch.long)
        self._studies = self._drawn(count)
        size = CHANNELS * RAMP_LEVELS
        space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(count, space, spaces.Discrete(RAMP_LEVELS * CELLS))

    def _drawn(self, count: int) -> "_Studies":
        """Draw studies."""
        rows = torch.randint(len(self._table.base_loss), (count,), generator=self._random)
        drawn = drawn_lesson(self._table.of(rows), self._random)
        left = 1.0 + torch.randint(MOST_LEFT, (count,), generator=self._random)
        regrets = drawn.regrets.flatten(1) * drawn.worth[:, None]  # else there is nothing to gain
        return _Studies(
            sight=replace(drawn.sight, left=left),
            gains=measured(drawn.gains.flatten(1), self._random),
            regrets=regrets,
            best=regrets.gather(1, held_cells(drawn)[:, None])[:, 0],
        )

    def reset(self) -> Floats:
        self._studies = self._drawn(self.num_envs)
        return self._observed()

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = torch.from_numpy(np.asarray(actions))

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], Infos]:
        best = self._studies.tried(self._actions)
        done = self._studies.sight.left < 1
        rewards = -torch.where(done, best, (1 - DISCOUNT) * best)
        infos: Infos = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        seen = self._observed()
        rows = done.nonzero()[:, 0]
        for row in rows.tolist():
            infos[row]["terminal_observation"] = seen[row]
        if len(rows):
            self._studies.replace(rows, self._drawn(len(rows)))
        return self._observed(), rewards.numpy(), done.numpy(), infos

    def _observed(self) -> Floats:
        seen: Floats = self._studies.sight.inputs().flatten(1).numpy()
        return seen


@dataclass(frozen=True)
class _Studies:
    """Studies under way; their tensors change.

    Attributes:
        sight: what is known of them.
        gains: of all cells, as they would be measured, shape (n, L · CELLS).
        regrets: of all cells, likewise.
        best: lowest regret so far, shape (n,).
    """

    sight: Sight
    gains: torch.Tensor
    regrets: torch.Tensor
    best: torch.Tensor

    def tried(self, cells: torch.Tensor) -> torch.Tensor:
        """Try a cell in each study; return its lowest regret so far."""
        chosen = cells[:, None]
        self.best.copy_(torch.minimum(self.best, self.regrets.gather(1, chosen)[:, 0]))
        self.sight.gains.flatten(1).scatter_(1, chosen, self.gains.gather(1, chosen))
        self.sight.left.sub_(1.0)
        return self.best.clone()

    def replace(self, rows: torch.Tensor, others: "_Studies") -> None:
        """Let other studies take the place of some."""
        for name in ("gains", "regrets", "best"):
            getattr(self, name)[rows] = getattr(others, name)
        for name in vars(self.sight):
            getattr(self.sight, name)[rows] = getattr(others.sight, name)
