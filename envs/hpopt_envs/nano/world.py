"""K fine-tuning runs of tiny models, advanced side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hpopt_search_spaces import Value

from ..errors import WorldError
from ..randomness import key
from ..training.surprise import LEAST_ENTROPY
from .examples import Examples, Form, make_examples, stack_examples
from .families import ALL, NanoTask
from .gradients import Penalty, divergence, gradient
from .measures import Losses, Stretch, cross_entropy
from .optimizers import Moments, Optimizers
from .orders import Orders
from .parts import LowRank, Part, Whole
from .pretraining import pretrain
from .sources import Source, draw_source

CHUNK = 64  # examples of an evaluation's forward pass
PROBE_EXAMPLES = 16
ADAPTER_SCALE = 2.0


@dataclass
class Lanes:
    """The state of K runs.

    Attributes:
        seeds: of each, that its draws are keyed by.
        trained: task tokens of each so far.
        theta: parameters, shape (K, parameters).
        weights: that they make, shape (K, weights).
        moments: of their optimizers.
    """

    seeds: list[int]
    trained: list[int]
    theta: torch.Tensor
    weights: torch.Tensor
    moments: Moments


class World:
    """K tasks of one shape: data, base models, and runs that fine-tune them.

    Args:
        tasks: of families that share architecture, number of classes and rank; any number of
            seeds and sources.

    Raises:
        WorldError: their shapes differ, or there is no text.
    """

    def __init__(self, tasks: Sequence[NanoTask]) -> None:
        family = tasks[0].family
        shape = (family.architecture, family.classes, family.rank)
        for task in tasks:
            own = task.family
            if (own.architecture, own.classes, own.rank) != shape:
                raise WorldError(f"nano tasks: {task.name} has another shape than {tasks[0].name}")
        self.tasks = tuple(tasks)
        self.architecture = family.architecture
        self.form = Form.of(self.architecture, family.classes)
        self.data = stack_examples([_examples(task, self.form) for task in tasks])
        self.base = pretrain(
            self.architecture,
            torch.stack([self.architecture.draw(task.random("weights")) for task in tasks]),
            self.data["pretraining"],
            [task.pretraining for task in tasks],
            [task.random("pretraining") for task in tasks],
        )
        self.part = _part(self.base, self.tasks)
        self._logs: dict[str, torch.Tensor] = {}

    def start(self, seeds: Sequence[int]) -> Lanes:
        """Return new runs at the base weights, one for each task."""
        theta = self._theta(range(len(seeds)), seeds)
        return self.restore(list(seeds), [0] * len(seeds), theta, Moments.zero(theta))

    def restart(self, lanes: Lanes, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin some of the runs anew, in place."""
        lanes.theta[rows] = self._theta(rows, seeds)
        for moments in (lanes.moments.first, lanes.moments.second, lanes.moments.steps):
            moments[rows] = 0.0
        for row, seed in zip(rows, seeds, strict=True):
            lanes.seeds[row], lanes.trained[row] = seed, 0
        lanes.weights = self.part.weights(lanes.theta)

    def restore(
        self, seeds: list[int], trained: list[int], theta: torch.Tensor, moments: Moments
    ) -> Lanes:
        """Return runs whose parameters and moments were kept."""
        return Lanes(seeds, trained, theta, self.part.weights(theta), moments)

    def _theta(self, rows: Sequence[int], seeds: Sequence[int]) -> torch.Tensor:
        random = [np.random.default_rng(key(seed, "weights")) for seed in seeds]
        return self.part.start(list(rows), random)

    @torch.no_grad()
    def train(
        self,
        lanes: Lanes,
        asked: Sequence[Mapping[str, Value]],
        segments: Sequence[int],
        tokens: int,
        horizon: int,
    ) -> Stretch:
        """Train all runs, in place.

        Args:
            lanes: of all.
            asked: hyperparameters of each.
            segments: number of each one's segment; draws are keyed by seed and segment.
            tokens: task tokens, a multiple of every batch.
            horizon: tokens of a trial.
        """
        examples = tokens // self.form.tokens
        orders = Orders.of(asked, lanes.trained, examples, self.form.tokens, horizon)
        rows, kept = self._draw(lanes.seeds, segments, examples)
        optimizers = Optimizers(orders.optimizers, orders.decays[:, None] * self.part.trained)
        penalises = bool((orders.penalties > 0).any())
        whole_steps = bool(orders.due.all())
        gathered = torch.zeros_like(lanes.theta)
        losses, penalties, norms = [], [], []
        for number, due in enumerate(orders.due):
            here = slice(number * orders.micro, (number + 1) * orders.micro)
            penalty = None
            if penalises:
                half = slice(here.start // 2, here.stop // 2)
                penalty = self._penalty(kept[:, half], orders.penalties[number])
            windows, labels = self.data["train"].rows(rows[:, here])
            loss, diverged, change = gradient(
                self.architecture, lanes.weights, windows, labels, penalty
            )
            change = self.part.pull(lanes.theta, change)
            if not whole_steps:
                change = gathered.addcmul_(change, orders.shares[:, None])
            losses.append(loss)
            penalties.append(diverged)
            norms.append(change.norm(dim=1))
            if bool(due.any()):
                clip = (orders.limits / (norms[-1] + 1e-6)).clamp(max=1.0)[:, None]
                rates = orders.rates[number]
                optimizers.step(lanes.theta, change * clip, lanes.moments, rates, due)
                lanes.weights = self.part.weights(lanes.theta)
                if not whole_steps:
                    gathered[due] = 0.0
        lanes.trained = [before + tokens for before in lanes.trained]
        return Stretch.of(orders, losses, penalties, norms)

    def _draw(
        self, seeds: Sequence[int], segments: Sequence[int], examples: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what a segment trains on: rows of examples, and half as many of retained ones."""
        train, retained = self.data["train"].sizes, self.data["retained_train"].sizes
        rows, kept = [], []
        for k, (seed, segment) in enumerate(zip(seeds, segments, strict=True)):
            random = np.random.default_rng(key(seed, "segment", segment))
            rows.append(random.integers(train[k], size=examples))
            kept.append(random.integers(retained[k], size=examples // 2))
        return torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(kept))

    def _penalty(self, rows: torch.Tensor, weights: torch.Tensor) -> Penalty:
        windows, _ = self.data["retained_train"].rows(rows)
        reference = self._reference
        flat = (rows + torch.arange(len(rows))[:, None] * reference.shape[1]).view(-1)
        picked = reference.flatten(0, 1).index_select(0, flat)
        return Penalty(windows, picked.view(*rows.shape, *reference.shape[2:]), weights)

    @torch.no_grad()
    def evaluate(
        self, lanes: Lanes, split: str, examples: int, rows: Sequence[int] | None = None
    ) -> Losses:
        """Measure runs on the first examples of a split.

        Args:
            lanes: of all.
            split: "validation" or "test".
            examples: of the target; half as many of retained text.
            rows: which runs; None for all.
        """
        some = slice(None) if rows is None else list(rows)
        weights = lanes.weights[some]
        target, retained = self.data[split], self.data[f"retained_{split}"]
        half = examples // 2
        logs = self.predict(weights, target.windows[some, :examples], self.form.targets)
        labels = target.labels[some, :examples]
        kept = self.predict(weights, retained.windows[some, :half], self.form.retained_targets)
        kept_labels = retained.labels[some, :half]
        known = self._known(split)[some, :half]
        return Losses(
            target=cross_entropy(logs, labels),
            accuracy=(logs.argmax(-1) == labels).float().mean((1, 2)),
            forgetting=cross_entropy(kept, kept_labels) - cross_entropy(known, kept_labels),
            divergence=divergence(known.exp(), kept).mean((1, 2)),
        )

    @torch.no_grad()
    def probe(self, lanes: Lanes) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure each run on training examples of its own, which are the same over a trial.

        Returns:
            The loss on the target, and how much the loss on half as many retained examples has
            risen since the base model; both of shape (K,).
        """
        windows, labels = self._probed(lanes.seeds, "train", PROBE_EXAMPLES)
        loss = cross_entropy(self.predict(lanes.weights, windows, self.form.targets), labels)
        windows, labels = self._probed(lanes.seeds, "retained_train", PROBE_EXAMPLES // 2)
        now, before = (
            cross_entropy(self.predict(weights, windows, self.form.retained_targets), labels)
            for weights in (lanes.weights, self.base)
        )
        return loss, now - before

    def _probed(
        self, seeds: Sequence[int], table: str, examples: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return windows and labels of the examples that each run is probed on."""
        stacked = self.data[table]
        rows = [
            np.random.default_rng(key(seed, "probe", table)).integers(size, size=examples)
            for seed, size in zip(seeds, stacked.sizes, strict=True)
        ]
        return stacked.rows(torch.from_numpy(np.stack(rows)))

    @cached_property
    def surprise(self) -> torch.Tensor:
        """The base models' loss on retained validation text, relative to their entropy there (K,).

        See `hpopt_envs.training.surprise`.
        """
        logs = self._known("validation")
        entropy = torch.special.entr(logs.exp()).sum(-1).mean((1, 2))
        loss = cross_entropy(logs, self.data["retained_validation"].labels)
        return torch.div(loss, entropy.clamp(min=LEAST_ENTROPY))

    @torch.no_grad()
    def predict(self, weights: torch.Tensor, windows: torch.Tensor, last: int) -> torch.Tensor:
        """Return log-probabilities at the last positions, shape (n, examples, last, vocabulary)."""
        blocks = self.architecture.cut(weights)
        return torch.cat(
            [
                self.architecture.logits(blocks, part)[:, :, -last:].log_softmax(-1)
                for part in torch.split(windows, CHUNK, dim=1)
            ],
            dim=1,
        )

    @cached_property
    def _reference(self) -> torch.Tensor:
        """The base models' probabilities on the text that penalties are measured on."""
        return self._known("train").exp()

    def _known(self, split: str) -> torch.Tensor:
        """Return the base models' log-probabilities on retained text."""
        if split not in self._logs:
            windows = self.data[f"retained_{split}"].windows
            self._logs[split] = self.predict(self.base, windows, self.form.retained_targets)
        return self._logs[split]


def _examples(task: NanoTask, form: Form) -> Examples:
    family, random = task.family, task.random("data")
    retained = draw_source(task.source, family.architecture.vocabulary, random)
    if not family.classes:
        learned: tuple[Source, ...] = (retained.moved(random, task.distance),)
    elif task.source == "text":
        learned = (retained, retained.moved(random, 1.0))  # there are two domains
    else:
        others = [retained.moved(random, task.distance) for _ in range(family.classes - 1)]
        learned = (retained, *others)
    return make_examples(form, learned, retained, task.examples, task.noise, random)


def _part(base: torch.Tensor, tasks: Sequence[NanoTask]) -> Part:
    """Return what is trained of each task's model."""
    family = tasks[0].family
    blocks, rank = family.architecture.blocks, family.rank
    if rank is not None:
        scales = torch.tensor([ADAPTER_SCALE * task.scale for task in tasks])
        return LowRank(family.architecture, base, rank, scales)
    trained = torch.zeros_like(base, dtype=torch.bool)
    scale = torch.ones_like(base)
    for k, task in enumerate(tasks):
        for name, block in blocks.items():
            if task.part in (ALL, block.part):
                trained[k, block.begin : block.end] = True
                scale[k, block.begin : block.end] = task.scale * task.block_scales[name]
    return Whole(base, trained, scale)
