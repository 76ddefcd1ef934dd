"""What values are worth on tasks that they never saw, replayed from tables.

The first trial's ramp isn't charged here, and later trials replay the grid: this is for choosing
between networks and for cards; what a searcher is worth is measured by searching.
"""

from dataclasses import replace

import torch

from ..policies.grid import BATCH_MULTIPLES, CELLS, DIVERGENCE_WEIGHTS
from ..policies.sight import MOST_LEFT, Sight
from ..policies.values import Values
from .fitting import DEFAULT_LEVEL, Lesson, lesson, rule_cells
from .tables import RAMP_STARTS, Table

STANDARD = RAMP_STARTS.index(-6)  # where the default is the rule's


def replay(values: Values, table: Table, trials: int, start: int = STANDARD) -> torch.Tensor:
    """Return regrets of the best trial so far, shape (n, trials), n tasks worth it.

    Args:
        values: that choose each trial.
        table: of the tasks.
        trials: of each study.
        start: index in `RAMP_STARTS`; others are displaced defaults.
    """
    count = len(table.base_loss)
    drawn = lesson(table, torch.full((count,), start), table.forgetting_weight)
    sight, best, found = drawn.sight, torch.full((count,), torch.inf), []
    for trial in range(trials):
        left = torch.full((count,), float(min(trials - trial, MOST_LEFT)))
        chosen = proposed(values, replace(sight, left=left))
        best = torch.minimum(best, drawn.regrets.flatten(1).gather(1, chosen[:, None])[:, 0])
        found.append(best)
        sight = _told(sight, drawn, chosen)
    return torch.stack(found, 1)[drawn.worth]


def proposed(values: Values, sight: Sight) -> torch.Tensor:
    """Return the index of the untried cell of the lowest expected regret, shape (n,)."""
    mean, _ = values.predict(sight)
    tried = ~sight.gains.isnan()
    return torch.where(tried, torch.inf, mean).flatten(1).argmin(1)


def _told(sight: Sight, drawn: Lesson, chosen: torch.Tensor) -> Sight:
    gains = sight.gains.flatten(1).clone()
    value = drawn.gains.flatten(1).gather(1, chosen[:, None])
    gains.scatter_(1, chosen[:, None], value.clamp(min=-10.0))
    return replace(sight, gains=gains.view_as(sight.gains))


def portfolio(table: Table, length: int, seed: int) -> list[tuple[int, float, int]]:
    """Return the configurations that do best together, each given those before it.

    Defaults are displaced as they are in lessons.

    Args:
        table: of all training tasks.
        length: of the portfolio.
        seed: of the displacements.

    Returns:
        Octaves from the default learning rate, divergence weights, and multiples of the smallest
        batch.
    """
    random, count = torch.Generator().manual_seed(seed), len(table.base_loss)
    starts = torch.randint(len(RAMP_STARTS), (count,), generator=random)
    drawn = lesson(table, starts, table.forgetting_weight)
    regrets = drawn.regrets[drawn.worth].flatten(1)
    best, found = torch.ones(len(regrets)), []
    for _ in range(length):
        chosen = int(torch.minimum(best[:, None], regrets).mean(0).argmin())
        best = torch.minimum(best, regrets[:, chosen])
        level, cell = divmod(chosen, CELLS)
        column, multiple = divmod(cell, len(BATCH_MULTIPLES))
        octave = level - int(DEFAULT_LEVEL)
        found.append((octave, DIVERGENCE_WEIGHTS[column], BATCH_MULTIPLES[multiple]))
    return found


def default_regret(table: Table, start: int = STANDARD) -> torch.Tensor:
    """Return the regret of the default, of the tasks worth it: the grid's nearest to the rule's.

    Its divergence weight is 0.3 + 1.5 × forgetting weight, its batch the smallest.
    """
    count = len(table.base_loss)
    drawn: Lesson = lesson(table, torch.full((count,), start), table.forgetting_weight)
    cell = rule_cells(table.forgetting_weight)
    found = drawn.regrets[torch.arange(count), int(DEFAULT_LEVEL), cell]
    return found[drawn.worth]
