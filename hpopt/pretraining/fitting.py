"""Fitting value networks to tables: supervised, on histories such as a study has."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from ..policies.grid import BATCH_MULTIPLES, CELLS, DIVERGENCE_WEIGHTS
from ..policies.sight import MOST_LEFT, Sight, cut_ramps
from ..policies.values import ValueNetwork
from .tables import OCTAVES, RAMP_LEVELS, RAMP_STARTS, Table

DEFAULT_LEVEL = 6.0  # of the default space's range, 6 octaves below it and 5 above
WORST = 0.7  # regret; what is worse is all the same, and must not cost precision where it counts
LEAST_GAIN = 0.02  # of the base loss; tasks with less to gain than that teach nothing but noise
HISTORY = 6  # trials at most
NOISE = 0.01  # of what trials gain, relative
BATCH = 256
STEPS = 4000
LEARNING_RATE = 4e-3  # the highest of one cycle


@dataclass(frozen=True)
class Lesson:
    """What n tasks come to in a window of the table: the default space around a given default.

    Attributes:
        sight: without history.
        gains: of all configurations, (base objective − objective)/base loss, shape (n, L, CELLS).
        regrets: 0 for the best of the whole table, 1 for the base model and for what is worse,
            shape (n, L, CELLS).
        worth: whether there is enough to gain, shape (n,).
    """

    sight: Sight
    gains: torch.Tensor
    regrets: torch.Tensor
    worth: torch.Tensor


def lesson(table: Table, starts: torch.Tensor, weights: torch.Tensor) -> Lesson:
    """Cut a window out of the table of each task.

    Args:
        table: of n tasks.
        starts: index of each window's lowest octave in `RAMP_STARTS`, shape (n,).
        weights: of forgetting in the objective, shape (n,).
    """
    count = len(starts)
    forgotten = torch.where(table.loss.isinf(), 0.0, table.forgetting)  # 0 · ∞ is no number
    objective = table.loss + weights.view(-1, 1, 1, 1) * forgotten
    gains = (1.0 - objective / table.base_loss.view(-1, 1, 1, 1)).view(count, len(OCTAVES), CELLS)
    most = gains.flatten(1).max(1).values
    regrets = (1.0 - gains / most.clamp(min=LEAST_GAIN).view(-1, 1, 1)).clamp(max=1.0)
    rows = torch.arange(count)
    window = (starts[:, None] + torch.arange(RAMP_LEVELS)) + RAMP_STARTS[0] - OCTAVES[0]
    base_loss = table.probe_loss[rows, starts]
    sight = Sight(
        ramps=cut_ramps(table.ramps[rows, starts], base_loss, weights),
        base_loss=base_loss,
        forgetting_weight=weights,
        steps=table.steps,
        adapters=table.adapters,
        default=torch.full((count,), DEFAULT_LEVEL),
        gains=torch.full((count, RAMP_LEVELS, CELLS), torch.nan),
        left=torch.full((count,), float(MOST_LEFT)),
    )
    return Lesson(
        sight, gains[rows[:, None], window], regrets[rows[:, None], window], most > LEAST_GAIN
    )


def held_cells(drawn: Lesson) -> torch.Tensor:
    """Return the cells that a study's first trial would hold, as indices of L · CELLS, shape (n,).

    The learning rate is the one that was lowest in the ramp, the default where nothing was seen;
    divergence weight and batch size are the defaults, as near as the grid has them.
    """
    sight = drawn.sight
    loss, forgetting = sight.ramps[..., 0], sight.ramps[..., 1]
    seen = torch.where(loss.isfinite(), loss + sight.forgetting_weight[:, None] * forgetting, 1e9)
    levels = torch.where((seen < 1e9).any(1), seen.argmin(1), int(DEFAULT_LEVEL))
    return levels * CELLS + rule_cells(sight.forgetting_weight)


def rule_cells(weights: torch.Tensor) -> torch.Tensor:
    """Return the cell of 0.3 + 1.5 × forgetting weight and the smallest batch, shape (n,)."""
    rule = 0.3 + 1.5 * weights
    distance = (rule[:, None].log() - torch.tensor(DIVERGENCE_WEIGHTS).clamp(min=1e-3).log()).abs()
    return distance.argmin(1) * len(BATCH_MULTIPLES)


def fit(table: Table, seed: int, steps: int = STEPS) -> tuple[ValueNetwork, float]:
    """Fit a network.

    Args:
        table: of all training tasks.
        seed: of weights and draws.
        steps: of the optimizer.

    Returns:
        The network, and the running mean of its squared error at the end.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ValueNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    recent = 0.0
    for step in range(steps):
        rows = torch.randint(len(table.base_loss), (BATCH,), generator=random)
        drawn = drawn_lesson(table.of(rows), random)
        sight, counts = with_history(drawn, random), drawn.worth.float()
        error = (network(sight.inputs()) - drawn.regrets.clamp(max=WORST)).square().mean((1, 2))
        loss = (error * counts).sum() / counts.sum().clamp(min=1.0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        recent += (loss.item() - recent) / min(step + 1, 200)
    return network.eval(), recent


def drawn_lesson(table: Table, random: torch.Generator) -> Lesson:
    """Draw a situation of each task: a default, an objective, and how its ramp is seen."""
    count = len(table.base_loss)

    def happens(share: float) -> torch.Tensor:
        return torch.rand(count, generator=random) < share

    other = torch.rand(count, generator=random) * (~happens(0.3)).float()
    weights = torch.where(happens(0.5), table.forgetting_weight, other)
    starts = torch.randint(len(RAMP_STARTS), (count,), generator=random)
    drawn = lesson(table, starts, weights)
    sight = drawn.sight
    unseen = happens(0.15).view(-1, 1, 1)
    noise = 1 + 0.02 * torch.randn(count, RAMP_LEVELS, 3, generator=random)
    ramps = torch.where(unseen, torch.nan, sight.ramps * noise)
    # How many steps a trial has tells families apart, so it is blurred.
    steps = sight.steps * 2.0 ** (0.3 * torch.randn(count, generator=random))
    return replace(drawn, sight=replace(sight, ramps=ramps, steps=steps))


def with_history(drawn: Lesson, random: torch.Generator) -> Sight:
    """Draw trials that a study may have had, and how many it may have left."""
    left = 1.0 + torch.randint(MOST_LEFT, (len(drawn.worth),), generator=random)
    return replace(drawn.sight, gains=_history(drawn, random), left=left)


def _history(drawn: Lesson, random: torch.Generator) -> torch.Tensor:
    """Draw trials that a study may have had: some at random, more of them good ones."""
    count, levels, cells = drawn.regrets.shape
    flat = drawn.regrets.flatten(1)
    luck = torch.rand(count, 1, generator=random) * 2.0
    score = flat + luck * torch.rand(flat.shape, generator=random)
    chosen = score.topk(HISTORY, largest=False).indices
    shuffled = torch.rand(chosen.shape, generator=random).argsort(1)
    chosen = chosen.gather(1, shuffled)
    trials = torch.randint(HISTORY + 1, (count, 1), generator=random)
    trials = trials * (torch.rand(count, 1, generator=random) < 0.7)
    tried = torch.zeros_like(flat).scatter_(1, chosen, (torch.arange(HISTORY) < trials).float())
    gains = measured(drawn.gains.flatten(1), random)
    return torch.where(tried > 0, gains, torch.nan).view(count, levels, cells)


def measured(gains: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Return gains as another seed may have them."""
    noise = NOISE * torch.randn(gains.shape, generator=random)
    return torch.where(gains.isfinite(), gains * (1 + noise), gains)
