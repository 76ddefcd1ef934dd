"""A nano task as a training run: one of a world's lanes, alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hpopt_search_spaces import SearchSpace, Value

from ..records import Outcome
from ..settings import EnvironmentSettings
from ..training_run import Evaluation, Probe, Progress
from .facts import Study, evaluation, probe_cost, study_of
from .families import read_task
from .optimizers import Moments
from .world import Lanes, World


class NanoRun:
    """See `TrainingRun` for what each method promises.

    Args:
        world: of one task.
        study: of that.
    """

    def __init__(self, world: World, study: Study) -> None:
        self.facts = study.facts
        self._world = world
        self._study = study

    def start(self, seed: int) -> Lanes:
        return self._world.start([seed])

    def advance(
        self,
        state: Lanes,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        tokens = tokens or self.facts.segment_tokens
        came = self._world.train(
            state, [hyperparameters], [segment], tokens, self.facts.trial_tokens
        )
        loss, norm, share = float(came.loss), float(came.norm), float(came.penalised)
        exploded = bool(came.exploded(torch.tensor([self.facts.exploded_loss])))
        return Progress(
            tokens=tokens,
            optimizer_steps=int(came.steps),
            train_loss=loss,
            penalty=float(came.penalty) if share > 0 else None,
            gradient_norm=norm,
            gradient_norm_std=float(came.norm_std),
            clip_fraction=float(came.clipped),
            noise_scale=None,
            cost=tokens * (1.0 + self.facts.penalty_cost * share),
            outcome=Outcome.EXPLODED if exploded else None,
            reason=f"mean training loss {loss:.4g}" if exploded else "",
        )

    def probe(self, state: Lanes) -> Probe:
        loss, forgetting = self._world.probe(state)
        return Probe(float(loss), probe_cost(self.facts), float(forgetting))

    def evaluate(self, state: Lanes, split: str, whole: bool) -> Evaluation:
        size = self._study.whole if whole else self._study.subset
        losses = self._world.evaluate(state, split, size)
        weight = self.facts.forgetting_weight
        return evaluation(
            self._world.tasks[0], weight, losses, 0, size * self.facts.sequence_length
        )

    def snapshot(self, state: Lanes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        moments = state.moments
        tensors = {
            "theta": state.theta.clone(),
            "first": moments.first.clone(),
            "second": moments.second.clone(),
            "steps": moments.steps.clone(),
        }
        return tensors, {"seed": state.seeds[0], "training_tokens": state.trained[0]}

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> Lanes:
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        moments = Moments(own["first"], own["second"], own["steps"])
        return self._world.restore([meta["seed"]], [meta["training_tokens"]], own["theta"], moments)

    def save_weights(self, state: Lanes, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        blocks = self._world.architecture.cut(state.weights)
        file = folder / "model.safetensors"
        save_file({name: block[0].contiguous() for name, block in blocks.items()}, file)


def nano_run(settings: EnvironmentSettings) -> tuple[NanoRun, SearchSpace]:
    """Build the run of a nano task.

    Returns:
        The run, and the space that is asked for, resolved.

    Raises:
        SpaceError, WorldError: there is no such task, or the settings ask for what it doesn't have.
    """
    world = World([read_task(settings.task)])
    study = study_of(world, 0, world.start([0]), settings)
    return NanoRun(world, study), study.space
