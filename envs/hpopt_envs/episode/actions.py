"""Actions: three views of moving one point of the unit cube, as pure functions over arrays.

absolute: a number in [−1, 1] for each hyperparameter, then one for the control.
relative: an index for each dynamic hyperparameter (down … hold … up), then the control's index.
discrete: one index: hold; down and up for each dynamic hyperparameter; stop, roll back, probe.

Static hyperparameters are latched at a trial's first segment (absolute), or stay as the trial was
started (relative and discrete). The controls are `hpopt_envs.records.Control`'s.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from hpopt_search_spaces import SearchSpace
from hpopt_search_spaces.checks import shown

from ..errors import WorldError
from ..records import Control
from .features import Array

VIEWS = ("absolute", "relative", "discrete")
# Where the control coordinate of the absolute view, in [−1, 1], changes its meaning. The bands of
# what ends or undoes work are narrow, so that a policy which knows nothing mostly continues; the
# outermost one, where clipped Gaussians pile up, is a harmless one.
CONTROL_EDGES = (0.7, 0.8, 0.9)


@dataclass(frozen=True)
class ActionLayout:
    """How a space's actions are laid out; arrays have shape (d,), d hyperparameters.

    Attributes:
        dynamic: which may change during a trial.
        unit_steps: size of one octave (or bin) in the unit cube.
        low, high: where moves are held, in the unit cube.
        sizes: number of moves of each dynamic one in the relative view: learning_rate moves by
            −1, −½, 0, ½ or 1 octave, others by −1, 0 or 1.
    """

    dynamic: NDArray[np.bool_]
    unit_steps: Array
    low: Array
    high: Array
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, space: SearchSpace) -> "ActionLayout":
        names = [name for name, dynamic in zip(space.names, space.dynamic, strict=True) if dynamic]
        parameters = [space[name] for name in space.names]
        return cls(
            dynamic=np.array(space.dynamic, dtype=bool),
            unit_steps=np.array(space.unit_steps, dtype=np.float64),
            low=np.array([p.to_unit(p.from_unit(0.0)) for p in parameters]),
            high=np.array([p.to_unit(p.from_unit(1.0)) for p in parameters]),
            sizes=tuple(5 if name == "learning_rate" else 3 for name in names),
        )

    @property
    def discrete_actions(self) -> int:
        """Number of actions of the discrete view."""
        return 1 + 2 * len(self.sizes) + len(Control) - 1


def action_space(view: str, space: SearchSpace) -> gymnasium.Space[Any]:
    """Return the Gymnasium space of a view's actions."""
    layout = ActionLayout.of(space)
    if view == "absolute":
        return gymnasium.spaces.Box(-1.0, 1.0, (space.dimension + 1,), np.float32)
    if view == "relative":
        return gymnasium.spaces.MultiDiscrete([*layout.sizes, len(Control)])
    return gymnasium.spaces.Discrete(layout.discrete_actions)


def checked_action(space: gymnasium.Space[Any], action: Any, count: int = 1) -> NDArray[np.float64]:
    """Return an action, or some, as `decode_actions` takes them, shape (count, n).

    Args:
        space: of a view's actions. What lies beyond [−1, 1] in the absolute view is clipped.
        action: numbers, in any form that numpy takes.
        count: how many actions these are.

    Raises:
        WorldError: their number is another, one isn't finite, or no index of a choice.
    """
    try:
        numbers = np.asarray(action, dtype=np.float64).reshape(count, -1)
    except (TypeError, ValueError):
        numbers = np.full((count, 0), np.nan)
    if isinstance(space, gymnasium.spaces.Box):
        what, sizes = "{} numbers from -1 to 1", np.full(space.shape, np.inf)
    elif isinstance(space, gymnasium.spaces.MultiDiscrete):
        what, sizes = "{} whole numbers from 0, each below its own of {}", space.nvec
    else:
        assert isinstance(space, gymnasium.spaces.Discrete)
        what, sizes = "a whole number from 0, below {1}", np.array([space.n])
    sound = numbers.shape[1] == len(sizes) and bool(np.isfinite(numbers).all())
    if sound and np.isfinite(sizes).all():
        whole = numbers == np.floor(numbers)
        sound = bool((whole & (numbers >= 0) & (numbers < sizes)).all())
    if not sound:
        told = what.format(len(sizes), " ".join(f"{size:g}" for size in sizes))
        raise WorldError(f"action: must be {told}, but got {shown(action)}")
    return numbers


def absolute_action(
    unit: tuple[float, ...], control: Control = Control.CONTINUE
) -> tuple[float, ...]:
    """Return the absolute view's action for a point of the unit cube."""
    centre = (-1.0, 0.75, 0.85, 1.0)[control.value]
    return (*(2.0 * coordinate - 1.0 for coordinate in unit), centre)


def decode_actions(
    view: str,
    layout: ActionLayout,
    unit: Array,
    actions: NDArray[np.float64],
    first: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.int64]]:
    """Apply actions to points of the unit cube.

    Args:
        view: one of `VIEWS`.
        layout: of the space.
        unit: where the trials are, shape (n, d).
        actions: shape (n, d + 1), (n, dynamic + 1) or (n, 1) by view.
        first: whether this is a trial's first segment, shape (n,).

    Returns:
        The new points, shape (n, d), and the controls' indices, shape (n,).
    """
    if view == "absolute":
        asked = np.clip((actions[:, :-1] + 1.0) / 2.0, 0.0, 1.0)
        control = np.searchsorted(CONTROL_EDGES, actions[:, -1], side="right")
        return np.where(layout.dynamic | first[:, None], asked, unit), control
    moves = np.zeros_like(unit)
    columns = np.flatnonzero(layout.dynamic)
    if view == "relative":
        sizes = np.array(layout.sizes)
        moves[:, columns] = (actions[:, :-1] / (sizes - 1) * 2.0 - 1.0) * layout.unit_steps[columns]
        control = actions[:, -1].astype(np.int64)
    else:
        index = actions[:, 0].astype(np.int64)
        for position, column in enumerate(columns):
            direction = (index == 2 + 2 * position).astype(float) - (index == 1 + 2 * position)
            moves[:, column] = direction * layout.unit_steps[column]
        control = np.maximum(index - 2 * len(columns), 0)
    return np.clip(unit + moves, layout.low, layout.high), control
