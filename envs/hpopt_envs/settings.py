"""What an environment is made of: the one definition of its settings and of their help texts."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpopt_search_spaces import Value, nearest_names

from .errors import WorldError

_CHOICES = {"class_weights": ("none", "balanced"), "too_long": ("refuse", "truncate")}
# Groups that a command line explains settings in.
_DATA = "task and data"
_TUNED = "what is tuned"
_BUDGET = "budget"
_MACHINE = "machine"


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    metavar: str = "",
    name: str = "",
    repeats: bool = False,
) -> Any:
    """Return a field of a dataclass that a command line can ask for and explain.

    Args:
        default: where a user says nothing.
        help: one line: what it is, for which tasks, and what it is by default.
        group: what it is explained together with.
        metavar: stands for its value; "" leaves that to the command line.
        name: how a user writes it, where that isn't the field's name.
        repeats: whether it may be given several times.
    """
    about = {"help": help, "group": group, "metavar": metavar, "name": name, "repeats": repeats}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Source:
    """What the settings of a study say of its data; None where they say nothing.

    Built-in tasks name the ones that they take; what is in a column is for the task to say.
    """

    train_file: str | None = setting(
        None,
        "rows to train on: CSV, JSON lines, Parquet or text (default: the task's embedded data)",
        group=_DATA,
        metavar="FILE",
    )
    validation_file: str | None = setting(
        None,
        "rows that searchers are judged by (default: a tenth of the training rows)",
        group=_DATA,
        metavar="FILE",
    )
    test_file: str | None = setting(
        None,
        "rows that the end of a study is judged by (default: a tenth of the training rows)",
        group=_DATA,
        metavar="FILE",
    )
    dataset: str | None = setting(
        None,
        "data set in place of files: a Hugging Face id, or a folder (default: none)",
        group=_DATA,
        metavar="ID",
    )
    retain_file: str | None = setting(
        None,
        "lm, text2text: rows of what the model is not to forget (default: what it writes itself)",
        group=_DATA,
        metavar="FILE",
    )
    text_column: str | None = setting(
        None,
        "lm, classify: column of the texts (default: text)",
        group=_DATA,
        metavar="NAME",
    )
    label_column: str | None = setting(
        None,
        "classify: column of the classes (default: label)",
        group=_DATA,
        metavar="NAME",
    )
    prompt_column: str | None = setting(
        None,
        "lm, text2text, align, dpo: column of what the model responds to (default: prompt)",
        group=_DATA,
        metavar="NAME",
    )
    completion_column: str | None = setting(
        None,
        "lm, text2text: column of the texts to be written after a prompt (default: completion)",
        group=_DATA,
        metavar="NAME",
    )
    messages_column: str | None = setting(
        None,
        "lm: column of chats, lists of messages with role and content (default: messages)",
        group=_DATA,
        metavar="NAME",
    )
    chosen_column: str | None = setting(
        None,
        "dpo: column of the preferred responses (default: chosen)",
        group=_DATA,
        metavar="NAME",
    )
    rejected_column: str | None = setting(
        None,
        "dpo: column of the responses that others were preferred to (default: rejected)",
        group=_DATA,
        metavar="NAME",
    )
    prompt_template: str | None = setting(
        None,
        "text2text: prompts made of columns, such as 'summarize: {document}' (default: a column)",
        group=_DATA,
        metavar="TEXT",
    )
    completion_template: str | None = setting(
        None,
        "text2text: completions made of columns, such as '{translation[en]}' (default: a column)",
        group=_DATA,
        metavar="TEXT",
    )
    reward: str | None = setting(
        None,
        "align: score of responses: pep257, regex:PATTERN, length:WORDS, model:ID[:LABEL], "
        "module:function (default: pep257)",
        group=_DATA,
        metavar="SCORE",
    )
    constraint: Sequence[str] | None = setting(
        None,
        "align: mean of a score to reach, such as 'regex:^Return=0.5' (default: none, a reward)",
        group=_DATA,
        metavar="SCORE=MEAN",
        repeats=True,
    )
    max_new_tokens: int | None = setting(
        None,
        "text2text, align: most tokens of a response (default: what targets have; align: 64)",
        group=_DATA,
        metavar="N",
    )
    samples_per_prompt: int | None = setting(
        None,
        "align: responses that a step draws to each prompt of yours (default: 8)",
        group=_DATA,
        metavar="N",
    )
    class_weights: str = setting(
        "none",
        "classify: balanced: all classes count alike in the training loss (default: none)",
        group=_DATA,
        metavar="W",
    )
    too_long: str = setting(
        "refuse",
        "what to do with examples over the sequence length: refuse or truncate (default: refuse)",
        group=_DATA,
        metavar="WHAT",
    )

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise WorldError(f"{name}: must be one of {', '.join(choices)}, but got {value!r}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Source":
        """Return a source from a mapping, None in which says nothing.

        Raises:
            WorldError: a name is unknown, or a value impossible.
        """
        _check_names(settings, cls)
        return cls(**{name: value for name, value in settings.items() if value is not None})

    @property
    def given(self) -> dict[str, Any]:
        """The settings that say something, by name: those that aren't at their default."""
        return {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        }

    @property
    def has_data(self) -> bool:
        """Whether it names data, rather than leaving the task to what is embedded."""
        return self.dataset is not None or self.train_file is not None


@dataclass(frozen=True)
class EnvironmentSettings:
    """The arguments of `hpopt_envs.make_env`.

    What isn't for users of a command line has no help text: `view` (how actions are read, see
    `hpopt_envs.episode.actions`), `validate_segments` (measure on validation between segments) and
    `threads` (of the CPU for a large model; a small one always gets one). `data` may be given as a
    mapping; `space` is a name, a TOML file, or `SearchSpace.to_dict()`.
    """

    task: str = setting(
        "lm",
        "what is fine-tuned: a name from `hpopt tasks`, or module:Class of your own (default: lm)",
        group=_DATA,
    )
    model: str | None = setting(
        None,
        "base model: a Hugging Face id, a local path or module:factory (default: the task's own)",
        group=_DATA,
    )
    space: str | Mapping[str, Any] | None = setting(
        None,
        "search space: a name from `hpopt spaces`, or a TOML file (default: the task's own)",
        group=_TUNED,
    )
    data: Source = Source()
    view: str = "absolute"
    validate_segments: bool = True
    sequence_length: int | None = setting(
        None,
        "tokens of the longest example (default: the data's longest; lm on plain text: 64 or 256)",
        group=_DATA,
        metavar="N",
    )
    segment_tokens: int | None = setting(
        None,
        "training tokens between decisions (default: 4096, or more where batch sizes need it)",
        group=_BUDGET,
        metavar="N",
    )
    trial_tokens: int | None = setting(
        None,
        "training tokens of a full trial (default: 16 segments, or an epoch if that is less)",
        group=_BUDGET,
        metavar="N",
    )
    objective: str | None = setting(
        None,
        "metric that is tuned: METRIC, METRIC:min or METRIC:max (default: the task's own)",
        group=_DATA,
        metavar="METRIC",
    )
    forgetting_weight: float | None = setting(
        None,
        "weight of forgetting in the objective, where data is retained (default: the task's own)",
        group=_DATA,
        metavar="W",
    )
    max_divergence: float | str | None = setting(
        None,
        "most divergence from the base model, in nats a token, or none (default: the task's own)",
        group=_TUNED,
        metavar="D",
    )
    baseline: Mapping[str, Value] | None = setting(
        None,
        "values you use now, such as learning_rate=2e-5,batch_size=32 (default: the space's own)",
        group=_TUNED,
        metavar="VALUES",
    )
    fixed: Mapping[str, Value] | None = setting(
        None,
        "values held beside the space, such as optimizer=sgd,lora_rank=16 (default: the task's)",
        group=_TUNED,
        metavar="VALUES",
        name="fix",
    )
    device: str = setting(
        "auto",
        "where models are trained: cpu, cuda or auto (default: auto, cuda where there is one)",
        group=_MACHINE,
    )
    precision: str = setting(
        "auto",
        "number format of forward passes: float32, bfloat16 or auto (default: auto, what pays)",
        group=_MACHINE,
    )
    gradient_checkpointing: bool = setting(
        False,
        "true: compute activations again in the backward pass, which saves memory (default: false)",
        group=_MACHINE,
        metavar="B",
    )
    threads: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.data, Source):  # a mapping, as journals have it, or None
            object.__setattr__(self, "data", Source.of(self.data or {}))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "EnvironmentSettings":
        """Return settings from a mapping; what isn't in it is at its default.

        Raises:
            WorldError: a name is unknown, or what is said of the data is impossible.
        """
        _check_names(settings, cls)
        return cls(**settings)


def _check_names(settings: Mapping[str, Any], kind: type[Any]) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    for name in settings:
        if name not in known:
            raise WorldError(f"{name}: there is no such setting ({nearest_names(name, known)})")
