"""What every configuration of a grid comes to on nano tasks, and what a ramp sees of them first.

A family's table is trained side by side, and is a safetensors file with its description in JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hpopt_envs.nano.facts import Study, study_of
from hpopt_envs.nano.families import LEAST_BATCH, Family
from hpopt_envs.nano.world import Lanes, World
from hpopt_envs.records import RunFacts
from hpopt_envs.schedules import AGENT_SHAPE, HELD_SHAPE
from hpopt_envs.settings import EnvironmentSettings
from hpopt_search_spaces import Value

from ..policies.grid import BATCH_MULTIPLES, DIVERGENCE_WEIGHTS, ramp_steps

OCTAVES = range(-8, 8)  # of the learning rate, from the default
RAMP_LEVELS = 12  # of the default space's range
RAMP_STARTS = range(OCTAVES[0], OCTAVES[-1] - RAMP_LEVELS + 2)
VERSION = "1"


@dataclass(frozen=True)
class Table:
    """K tasks of a family. Losses are in nats; infinite where training exploded.

    Attributes:
        loss, forgetting: on validation at a trial's end, shape (K, octaves, weights, batches).
        base_loss: the base models' loss there, shape (K,).
        probe_loss: the base models' loss on the ramps' probe batches, shape (K, starts).
        ramps: what `Sight.ramps` has, of ramps that begin at each of `RAMP_STARTS`, shape
            (K, starts, levels, 3).
        forgetting_weight: of the tasks' own objectives, shape (K,).
        steps: of the least batch in a trial, shape (K,).
        adapters: 1.0 where these are trained, shape (K,).
    """

    loss: torch.Tensor
    forgetting: torch.Tensor
    base_loss: torch.Tensor
    probe_loss: torch.Tensor
    ramps: torch.Tensor
    forgetting_weight: torch.Tensor
    steps: torch.Tensor
    adapters: torch.Tensor

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> "Table":
        """Return all tasks in one table."""
        names: list[Any] = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(t, name) for t in tables]) for name in names})

    def of(self, rows: torch.Tensor) -> "Table":
        """Return some of the tasks, by index or by mask."""
        names: list[Any] = [field.name for field in fields(self)]
        return Table(**{name: getattr(self, name)[rows] for name in names})

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write it, all at once, with what is to be said about it."""
        tensors = {name: tensor.contiguous() for name, tensor in vars(self).items()}
        half = path.with_suffix(".part")
        save_file(tensors, half, {"about": json.dumps({**about, "version": VERSION})})
        half.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Table":
        """Read one that `save` wrote."""
        with safe_open(path, framework="pt") as file:
            return cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118

    @staticmethod
    def about(path: Path) -> dict[str, Any]:
        """Return what `save` was to say about a file."""
        with safe_open(path, framework="pt") as file:
            said: dict[str, Any] = json.loads(file.metadata()["about"])
        return said


def make_table(family: Family, tasks: int) -> Table:
    """Train a family's table.

    Args:
        family: of the tasks.
        tasks: how many; their seeds begin at 0.
    """
    drawn = [family.task(k) for k in range(tasks)]
    world = World(sorted(drawn, key=lambda task: task.optimizer))
    base = world.start([0] * tasks)
    settings = EnvironmentSettings(task=drawn[0].name)
    studies = [study_of(world, k, base, settings) for k in range(tasks)]
    cells = [
        _train_cell(world, studies, 2.0**octave, weight, LEAST_BATCH * multiple)
        for octave in OCTAVES
        for weight in DIVERGENCE_WEIGHTS
        for multiple in BATCH_MULTIPLES
    ]
    shape = (len(OCTAVES), len(DIVERGENCE_WEIGHTS), len(BATCH_MULTIPLES), tasks)
    loss, forgetting = (
        torch.stack([cell[part] for cell in cells]).view(shape).permute(3, 0, 1, 2)
        for part in (0, 1)
    )
    ramps = [_ramp(world, studies, octave) for octave in RAMP_STARTS]
    facts = [study.facts for study in studies]
    return Table(
        loss=loss,
        forgetting=forgetting,
        base_loss=torch.tensor([one.base_metrics["loss"] for one in facts]),
        probe_loss=torch.stack([before for before, _ in ramps], 1),
        ramps=torch.stack([seen for _, seen in ramps], 1),
        forgetting_weight=torch.tensor([one.forgetting_weight for one in facts]),
        steps=torch.full((tasks,), float(family.horizon)),
        adapters=torch.full((tasks,), float(family.rank is not None)),
    )


def _train_cell(
    world: World, studies: Sequence[Study], factor: float, weight: float, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return loss and forgetting of whole trials with linear decay, shape (K,) each."""
    own: dict[str, Value] = {**HELD_SHAPE, "divergence_weight": weight, "batch_size": batch}
    facts, lanes = studies[0].facts, world.start([0] * len(studies))
    asked = [_asked(study, factor, own) for study in studies]
    came = world.train(lanes, asked, [0] * len(studies), facts.trial_tokens, facts.trial_tokens)
    losses = world.evaluate(lanes, "validation", studies[0].whole)
    lost = came.exploded(_limits(studies)) | ~(losses.target + losses.forgetting).isfinite()
    infinite = torch.full_like(losses.target, torch.inf)
    return (
        torch.where(lost, infinite, losses.target),
        torch.where(lost, infinite, losses.forgetting),
    )


def _ramp(world: World, studies: Sequence[Study], start: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probe losses before a ramp, and what is seen after each of its levels."""
    facts, count = studies[0].facts, len(studies)
    lanes = world.start([start - RAMP_STARTS[0] + 1] * count)  # each with batches of its own
    before, _ = world.probe(lanes)
    tokens = LEAST_BATCH * world.form.tokens
    tokens *= ramp_steps(facts.trial_tokens // tokens, RAMP_LEVELS)
    own: dict[str, Value] = {**AGENT_SHAPE, "batch_size": LEAST_BATCH}
    lost, seen = torch.zeros(count, dtype=torch.bool), []
    for level in range(RAMP_LEVELS):
        asked = [
            {**study.space.defaults(), **_asked(study, 2.0 ** (start + level), own)}
            for study in studies
        ]
        came = world.train(lanes, asked, [level] * count, tokens, facts.trial_tokens)
        loss, forgetting = world.probe(lanes)
        lost |= came.exploded(_limits(studies)) | ~(loss + forgetting).isfinite()
        infinite = torch.full_like(loss, torch.inf)
        channels = (loss, forgetting, came.norm)
        seen.append(torch.stack([torch.where(lost, infinite, one) for one in channels], -1))
        _heal(world, lanes, lost)
    return before, torch.stack(seen, 1)


def _heal(world: World, lanes: Lanes, lost: torch.Tensor) -> None:
    """Put what has exploded back to the base weights, where it is of no use but does no harm."""
    rows = torch.nonzero(lost)[:, 0].tolist()
    if rows:
        world.restart(lanes, rows, [lanes.seeds[row] for row in rows])


def _asked(study: Study, factor: float, own: Mapping[str, Value]) -> dict[str, Value]:
    rate = float(study.space.defaults()["learning_rate"]) * factor
    return {**study.facts.fixed, **own, "learning_rate": rate}


def _limits(studies: Sequence[Study]) -> torch.Tensor:
    facts: list[RunFacts] = [study.facts for study in studies]
    return torch.tensor([one.exploded_loss for one in facts])
