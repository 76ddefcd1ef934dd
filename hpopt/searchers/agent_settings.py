"""Settings of the agents: one documented dataclass for each algorithm, fitted to the budget.

The fields are arguments of Stable-Baselines3's constructors, and what isn't here is its default.
A step is a segment of one trial, so that a budget has trials × segments of them: hundreds, where
these algorithms' defaults are meant for millions.
"""

from dataclasses import dataclass

FOREVER = 10**9
"""Steps that no budget reaches: `learn` ends when the pool refuses a trial."""

CONTROL_LOGIT = -4.0
"""Of an untrained policy's controls, beside 0 to continue: it asks for each in 1.7% of segments."""

STOP_LOGIT_BEFORE = -3.0
"""Of stop alone, in studies of before version 3, where the other two did nothing."""


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimization.

    Attributes:
        n_steps: steps of each worker between updates: the segments of a trial.
        batch_size: steps a minibatch; divides n_steps × workers.
        n_epochs: passes over these steps an update.
        learning_rate: of Adam.
        ent_coef: weight of the policy's entropy (nats) in the loss.
        gamma: 1, since rewards telescope to the trial's improvement.
    """

    n_steps: int
    batch_size: int
    n_epochs: int = 10
    learning_rate: float = 1e-3
    ent_coef: float = 0.01
    gamma: float = 1.0

    @classmethod
    def fit(cls, trials: int, segments: int, workers: int) -> "PPOSettings":
        """Return settings for a budget; advantages are normalised over at least two steps."""
        n_steps = max(segments, 1 if workers > 1 else 2)
        return cls(n_steps=n_steps, batch_size=minibatch(n_steps * workers))


@dataclass(frozen=True)
class A2CSettings:
    """Advantage actor–critic: the plain policy gradient.

    Attributes:
        n_steps: steps of each worker between updates: half a trial's segments.
        learning_rate: of RMSprop.
        ent_coef: weight of the policy's entropy (nats) in the loss.
        gamma: 1, since rewards telescope to the trial's improvement.
    """

    n_steps: int
    learning_rate: float = 1e-3
    ent_coef: float = 0.01
    gamma: float = 1.0

    @classmethod
    def fit(cls, trials: int, segments: int, workers: int) -> "A2CSettings":
        """Return settings for a budget."""
        return cls(n_steps=max(1, segments // 2))


@dataclass(frozen=True)
class DQNSettings:
    """Q-learning with ε-greedy exploration.

    Attributes:
        learning_starts: steps before the first update: a tenth of the budget, at most two trials.
        exploration_fraction: share of `FOREVER` over which ε falls from 1 to its least value: the
            first half of the budget.
        buffer_size: steps that are kept: all of the budget's.
        n_steps: steps whose rewards are summed: to the trial's end, so that hardly anything is
            estimated from the target network, and nothing can run away. On the simulated task at
            30 trials, 1, 4, 8 and 16 of 16 steps ended at 3.32, 3.20, 3.13 and 3.08 nats (mean of
            the last quarter of the trials, 5 seeds).
        gradient_steps: minibatches an update.
        target_update_interval: steps between copies to the target network: 256 minibatches.
        exploration_final_eps: least value of ε.
        train_freq: steps of each worker between updates.
        batch_size: steps a minibatch.
        learning_rate: of Adam.
        gamma: 1, since rewards telescope to the trial's improvement.
    """

    learning_starts: int
    exploration_fraction: float
    buffer_size: int
    n_steps: int
    gradient_steps: int
    target_update_interval: int
    exploration_final_eps: float = 0.05
    train_freq: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-3
    gamma: float = 1.0

    @classmethod
    def fit(cls, trials: int, segments: int, workers: int) -> "DQNSettings":
        """Return settings for a budget."""
        steps = trials * segments
        return cls(
            learning_starts=min(2 * segments, steps // 10),
            exploration_fraction=0.5 * steps / FOREVER,
            buffer_size=max(steps, workers),
            n_steps=segments,
            gradient_steps=4 * workers,
            target_update_interval=max(64, workers),
        )


def minibatch(steps: int) -> int:
    """Return the least divisor of `steps` that is at least 32, or `steps` itself."""
    return next(size for size in range(min(32, steps), steps + 1) if steps % size == 0)
