"""Facts that travel upward: what a trial did, and what came of it.

Everything here is frozen plain data that JSON can carry (see `hpopt_envs.messages`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from hpopt_search_spaces import Value


class Outcome(Enum):
    """How a trial ended."""

    COMPLETED = "completed"  # trained to its horizon
    STOPPED = "stopped"  # ended early by its agent or by a pruner
    EXPLODED = "exploded"  # the loss became non-finite, or grew past the limit
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"  # anything else: `reason` says what


class Control(Enum):
    """What an action asks for besides hyperparameters; the value is its index in action spaces.

    The best point of a trial is the one of the lowest objective where it is validated between
    segments, else of the lowest probe loss. A task without a probe loss that can be compared
    (`RunFacts.has_probe`) trains on where a probe is asked for.
    """

    CONTINUE = 0  # train a segment
    STOP = 1  # end the trial after the segment
    ROLL_BACK = 2  # before the segment, go back to the best point, else to the base weights
    PROBE = 3  # measure the probe loss after the segment, whose explosion then ends no trial


@dataclass(frozen=True)
class Segment:
    """The training between two decisions.

    Attributes:
        id: position in the trial, from 0.
        parent: the segment that it continues from; None for the base weights.
        hyperparameters: what it was trained with, native values.
        tokens: task tokens trained on in this segment.
        training_tokens: task tokens on the path from the base weights to its end.
        optimizer_steps: optimizer steps in this segment.
        train_loss: mean task loss over the segment (nats per token), penalty not included.
        penalty: mean of D_f over the segment's retained text (nats per token); None at weight 0.
        gradient_norm: mean of the global gradient norm before clipping.
        gradient_norm_std: its standard deviation over the segment's steps.
        clip_fraction: share of steps whose gradient was clipped, in [0, 1].
        noise_scale: the gradient's simple noise scale, in batches (see
            `hpopt_envs.training.gradients`); None where batches weren't cut.
        metrics: measured on validation (or test) after the segment; empty where nothing was.
        objective: task value + forgetting weight × forgetting, as minimised; None where unmeasured.
        control: what the action asked for besides hyperparameters.
        cost: token-equivalents spent on it, its evaluation included.
        study_cost: token-equivalents spent in the study up to its end (set by the pool).
        flops: estimate, 6 × parameters × cost.
        wall_seconds: time taken, its evaluation included; no part of equality.
        probe_loss: task loss on the trial's probe batch after it; infinite where that exploded,
            None where it wasn't measured.
        probe_forgetting: rise of the task loss on retained examples beside it since the base model;
            None where nothing is retained, or where it wasn't measured.
        test_metrics: measured on the test split, at the end of a trial that is tested; else empty.
        test_objective: of these, as minimised; None where they weren't measured, or aren't finite.
    """

    id: int
    parent: int | None
    hyperparameters: Mapping[str, Value]
    tokens: int
    training_tokens: int
    optimizer_steps: int
    train_loss: float
    penalty: float | None
    gradient_norm: float
    gradient_norm_std: float
    clip_fraction: float
    noise_scale: float | None
    metrics: Mapping[str, float]
    objective: float | None
    control: Control
    cost: float
    study_cost: float
    flops: float
    wall_seconds: float = field(compare=False)
    probe_loss: float | None = None
    probe_forgetting: float | None = None
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    test_objective: float | None = None


@dataclass(frozen=True)
class Trial:
    """One fine-tuning run from the base weights.

    Attributes:
        id: position in the study, from 0.
        seed: what its random draws are keyed by.
        segments: all of them, in the order in which they were trained.
        outcome: how it ended; None while it runs.
        reason: one line where the outcome needs one.
        value: the objective at the end of its path, as minimised; None unless it was measured.
        pruned: a pruner ended it (such a trial can't win).
    """

    id: int
    seed: int
    segments: tuple[Segment, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""
    value: float | None = None
    pruned: bool = False

    @property
    def path(self) -> tuple[Segment, ...]:
        """The segments between the base weights and the final weights."""
        by_id = {segment.id: segment for segment in self.segments}
        path: list[Segment] = []
        here = self.segments[-1] if self.segments else None
        while here is not None:
            path.append(here)
            here = None if here.parent is None else by_id[here.parent]
        return tuple(reversed(path))

    @property
    def trained_tokens(self) -> int:
        """Every task token that it trained on, rolled-back ones included."""
        return sum(segment.tokens for segment in self.segments)

    @property
    def cost(self) -> float:
        """Token-equivalents spent on its finished segments."""
        return sum(segment.cost for segment in self.segments)

    @property
    def can_win(self) -> bool:
        return (
            self.value is not None
            and not self.pruned
            and self.outcome in (Outcome.COMPLETED, Outcome.STOPPED)
        )


@dataclass(frozen=True)
class RunFacts:
    """What is fixed for a study once the model and the data are loaded.

    Attributes:
        task: name of the task.
        model: what was loaded.
        objective_name: the metric that the objective is made of, such as "loss".
        maximize: whether that metric is to be maximised (it is negated inside).
        unit: of the metric, such as "nats/token".
        objective_scale: what rewards are divided by.
        forgetting_weight: weight of forgetting in the objective.
        fixed: hyperparameters that the space doesn't have, held in every trial.
        max_divergence: the limit on divergence (nats per token); None for none.
        has_reference: whether the divergence from the base model is measured.
        sequence_length: task tokens an example (1 where examples are counted).
        epoch_tokens: task tokens in one pass over the training data.
        segment_tokens: task tokens a segment.
        trial_tokens: task tokens a trial: its horizon.
        total_parameters: of the model.
        trainable_parameters: of those, how many are trained.
        lora: whether an adapter is trained.
        base_metrics: of the base model on the whole validation set.
        base_objective: its objective on the whole validation set.
        base_objective_subset: its objective on the subset that is used between segments.
        base_loss: its task loss on that subset, the scale of loss features.
        exploded_loss: a segment's mean training loss above which it has exploded.
        penalty_cost: token-equivalents a training token costs more at a divergence weight > 0;
            0 where trials can't have one.
        validation_cost: token-equivalents of a validation between segments.
        final_validation_cost: token-equivalents of the validation at a trial's end.
        setup_cost: token-equivalents spent once a study (base evaluation, cached reference).
        data_hash: of the training, validation, test and retained data.
        model_hash: of the base weights.
        best_objective: the lowest there is, where that is known (of a table of finished runs).
        token_cost: token-equivalents of a training token without a penalty.
        default_max_divergence: the task's own limit on divergence; None for none.
        has_probe: whether the loss on a probe batch can be compared over a trial.
        baseline: what the user has now, beside which the default holds; empty for most.
        notes: sentences on what was done otherwise than a user may think.
        hyperparameters: names of those that training understands; empty where they aren't known.
        precision: of forward passes, "float32" or "bfloat16".
        examples: of the training data; 0 where it isn't known.
        form: see `hpopt_envs.Task.form`; empty where it isn't known.
        external: whether a program of the user's trains: how long a trial is, and what it costs, is
            known only at its end; there is neither a base model to measure nor a test split.
    """

    task: str
    model: str
    objective_name: str
    maximize: bool
    unit: str
    objective_scale: float
    forgetting_weight: float
    fixed: Mapping[str, Value]
    max_divergence: float | None
    has_reference: bool
    sequence_length: int
    epoch_tokens: int
    segment_tokens: int
    trial_tokens: int
    total_parameters: int
    trainable_parameters: int
    lora: bool
    base_metrics: Mapping[str, float]
    base_objective: float
    base_objective_subset: float
    base_loss: float
    exploded_loss: float
    penalty_cost: float
    validation_cost: float
    final_validation_cost: float
    setup_cost: float
    data_hash: str
    model_hash: str
    best_objective: float | None = None
    token_cost: float = 1.0
    default_max_divergence: float | None = None
    has_probe: bool = True
    baseline: Mapping[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ()
    precision: str = "float32"
    examples: int = 0
    form: str = ""
    external: bool = False

    def __post_init__(self) -> None:
        for name in ("notes", "hyperparameters"):  # lists, as JSON has them
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def segments(self) -> int:
        """Segments a trial."""
        return self.trial_tokens // self.segment_tokens

    def shown(self, objective: float) -> float:
        """Return an objective, minimised inside, as its user knows it."""
        return 0.0 - objective if self.maximize else objective  # 0 rather than −0

    def feasible(self, metrics: Mapping[str, float]) -> bool:
        """Return whether metrics keep the limit on divergence; where there is none, they do."""
        return self.max_divergence is None or metrics["divergence"] <= self.max_divergence

    def constrained(self, objective: float, metrics: Mapping[str, float]) -> float:
        """Return v = objective + scale × max(0, divergence/limit − 1), to be minimised.

        Args:
            objective: as minimised.
            metrics: measured with it; they have "divergence" where there is a limit.
        """
        if self.max_divergence is None or self.feasible(metrics):
            return objective
        excess = metrics["divergence"] / self.max_divergence - 1.0
        return objective + self.objective_scale * excess

    def probed(self, segment: Segment) -> float | None:
        """Return what a probe says of the objective, in nats: loss + weight × forgetting.

        A nat of forgetting weighs against a nat of loss what it does against the objective's scale.
        None where nothing was probed.
        """
        if segment.probe_loss is None or segment.probe_forgetting is None:
            return segment.probe_loss
        weight = self.forgetting_weight / self.objective_scale
        return segment.probe_loss + weight * segment.probe_forgetting
