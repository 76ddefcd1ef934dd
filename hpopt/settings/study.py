"""Settings of a study: one definition for the command line, TOML files and Python."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpopt_search_spaces import Value
from hpopt_search_spaces.checks import nearest_names

from ..errors import StudyError
from .checks import check_choice, check_number, check_text, is_texts
from .options import setting
from .parsing import (
    NO_LIMIT,
    parse_flag,
    parse_integer,
    parse_limit,
    parse_names,
    parse_number,
    parse_seconds,
    parse_values,
)

Level = Literal["trials", "parents"]  # whether each trial gets a run, or only the study

DEFAULT_TRIALS = 8
DATA = (  # what tasks are told of a user's data: the fields of `hpopt_envs.tasks.Source`
    *("train_file", "validation_file", "test_file", "dataset", "retain_file"),
    *("text_column", "label_column", "prompt_column", "completion_column", "messages_column"),
    *("chosen_column", "rejected_column", "prompt_template", "completion_template"),
    *("reward", "constraint", "max_new_tokens", "samples_per_prompt"),
    *("class_weights", "too_long"),
)
COUNTS = (  # of at least 1
    *("trials", "trial_tokens", "segment_tokens", "sequence_length", "workers"),
    *("max_new_tokens", "samples_per_prompt"),
)
EXTENSIBLE = ("trials", "cost", "time_limit")  # what `resume` may change


@dataclass(frozen=True)
class Settings:
    """What a study is asked to do; `hpopt search --help` explains each."""

    task: str = setting("lm", "a name from `hpopt tasks`, or module:Class of your own")
    model: str | None = setting(
        None, "Hugging Face id, local path or module:factory (default: the task's own)"
    )
    space: str | None = setting(
        None, "a name from `hpopt spaces`, or a TOML file (default: the task's own)"
    )
    train_file: str | None = setting(
        None, "data of yours: CSV, JSON lines, Parquet or text", str, "FILE"
    )
    validation_file: str | None = setting(
        None, "what searchers are judged by (default: a tenth of --train-file)", str, "FILE"
    )
    test_file: str | None = setting(
        None, "what the end is judged by (default: a tenth of --train-file)", str, "FILE"
    )
    dataset: str | None = setting(
        None, "in place of files: a Hugging Face id, or a folder", str, "ID"
    )
    retain_file: str | None = setting(
        None, "text that the model is to keep modeling (default: what it writes)", str, "FILE"
    )
    text_column: str | None = setting(None, "of the data (default: text)", str, "NAME")
    label_column: str | None = setting(None, "classes (default: label)", str, "NAME")
    prompt_column: str | None = setting(None, "what completions follow", str, "NAME")
    completion_column: str | None = setting(None, "what is to be learnt", str, "NAME")
    messages_column: str | None = setting(None, "chats: lists of role, content", str, "NAME")
    chosen_column: str | None = setting(None, "preferred (default: chosen)", str, "NAME")
    rejected_column: str | None = setting(None, "less so (default: rejected)", str, "NAME")
    prompt_template: str | None = setting(
        None, "in place of a column, such as 'summarize: {document}'", str, "TEXT"
    )
    completion_template: str | None = setting(
        None, "in place of a column, such as '{translation[en]}'", str, "TEXT"
    )
    reward: str | None = setting(
        None,
        "of what is written: pep257, regex:PATTERN, length:WORDS, model:ID[:LABEL], "
        "module:function",
        str,
        "SCORE",
    )
    constraint: Sequence[str] | None = setting(
        None,
        "in place of a reward: a score's mean, such as 'regex:^Return=0.5'; may be repeated",
        list,
        "SCORE=MEAN",
        repeats=True,
    )
    max_new_tokens: int | None = setting(None, "of what is written", parse_integer, "N")
    samples_per_prompt: int | None = setting(
        None, "drawn in each step of alignment", parse_integer, "N"
    )
    class_weights: str | None = setting(
        None, "none, or balanced: classes count alike in a classifier's training", str, "W"
    )
    too_long: str | None = setting(
        None, "refuse examples over the sequence length (default), or truncate", str, "WHAT"
    )
    fix: Mapping[str, Value] | None = setting(
        None,
        "hold what the space doesn't have, such as optimizer=sgd or lora_rank=16",
        parse_values,
        "VALUES",
    )
    agent: str = setting(
        "auto", "who decides: a name from `hpopt agents`; auto: range-test where it can, else tpe"
    )
    pruner: str = setting(
        "none", "stops trials early: none, median, hyperband, successive-halving, promotion"
    )
    prior: str = setting("default", "default: the default configuration is tried first; none: not")
    portfolio: Sequence[str] | None = setting(
        None, "studies of other tasks that the portfolio agent transfers", parse_names, "NAME,NAME"
    )
    trials: int | None = setting(
        None,
        f"budget in full trials of training tokens (default: {DEFAULT_TRIALS})",
        parse_integer,
        "N",
    )
    cost: float | None = setting(
        None, "budget in token-equivalents, confirmation included", parse_number, "C"
    )
    time_limit: float | None = setting(
        None, "budget of time, confirmation included: 90, 15m, 2h", parse_seconds, "T"
    )
    target: float | None = setting(
        None, "stop when a trial's value reaches this", parse_number, "V"
    )
    trial_tokens: int | None = setting(None, "training tokens a trial", parse_integer, "N")
    segment_tokens: int | None = setting(
        None, "training tokens between decisions", parse_integer, "N"
    )
    sequence_length: int | None = setting(
        None, "tokens an example (default: 64)", parse_integer, "N"
    )
    seed: int = setting(0, "keys every random draw", parse_integer, "N")
    workers: int = setting(1, "trials run in this many processes", parse_integer, "N")
    in_order: bool = setting(
        True,
        "false: take replies as they come; faster, but timing changes the study",
        parse_flag,
        "B",
    )
    name: str | None = setting(None, "of the study (default: a new one is made)")
    experiment: str | None = setting(None, "in MLflow (default: the task)")
    tracking_uri: str | None = setting(
        None, "of MLflow (default: sqlite:///runs/mlflow.db)", str, "URI"
    )
    track: str = setting(
        "auto", "MLflow runs for: trials, parents; auto: parents where simulated, or a table"
    )
    objective: str | None = setting(
        None, "one of the task's metrics, METRIC, METRIC:min or METRIC:max", str, "METRIC"
    )
    forgetting_weight: float | None = setting(
        None, "weight of forgetting in the objective (default: the task's own)", parse_number, "W"
    )
    max_divergence: float | str | None = setting(
        None,
        "limit on the divergence from the base model, in nats a token (a text, of a classifier), "
        "or none (default: the task's own)",
        parse_limit,
        "D",
    )
    device: str = setting("auto", "cpu, cuda or auto")
    precision: str = setting(
        "auto", "of forward passes: float32, bfloat16, or auto: bfloat16 where it pays"
    )
    gradient_checkpointing: bool = setting(
        False, "true: save memory by computing activations twice", parse_flag, "B"
    )
    baseline: Mapping[str, Value] | None = setting(
        None, "what you have now, such as learning_rate=2e-5,batch_size=32", parse_values, "VALUES"
    )
    confirm_seeds: int = setting(
        2, "fresh seeds to run the winner and the default on; 0: none", parse_integer, "N"
    )
    runs: str = setting("runs", "folder that studies are kept in", str, "FOLDER")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """Build checked settings from a mapping; missing ones take their defaults.

        Raises:
            StudyError: an unknown name (with the nearest ones), or an impossible value.
        """
        known = [one.name for one in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise StudyError(f"unknown setting {name!r} ({nearest_names(name, known)})")
        settings = cls(**values)
        settings._check()
        if settings.trials is settings.cost is settings.time_limit is None:
            settings = dataclasses.replace(settings, trials=DEFAULT_TRIALS)
        return settings

    @property
    def tracking_level(self) -> Level:
        """Which MLflow runs are made: "trials" or "parents"."""
        if self.track == "auto":
            from hpopt_envs.worlds import world_of  # not above: it brings numpy

            return "trials" if world_of(self.task).trains else "parents"
        return "parents" if self.track == "parents" else "trials"

    @property
    def uri(self) -> str:
        """The MLflow tracking URI."""
        return self.tracking_uri or f"sqlite:///{Path(self.runs) / 'mlflow.db'}"

    def _check(self) -> None:
        for one in dataclasses.fields(self):
            if one.metadata["parse"] is str:
                check_text(one.name, getattr(self, one.name), one.default is None)
        for name in COUNTS:
            check_number(name, getattr(self, name), 1, whole=True)
        for name in ("seed", "confirm_seeds"):
            check_number(name, getattr(self, name), 0, whole=True)
        for name in ("cost", "time_limit"):
            check_number(name, getattr(self, name), 0, above=True)
        if self.max_divergence != NO_LIMIT:
            check_number("max_divergence", self.max_divergence, 0, above=True, other=NO_LIMIT)
        check_number("forgetting_weight", self.forgetting_weight, 0)
        check_number("target", self.target, -math.inf)
        check_choice("prior", self.prior, ("default", "none"))
        check_choice("track", self.track, ("auto", "trials", "parents"))
        for name in ("baseline", "fix"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise StudyError(f"{name}: must be a table of values, but got {value!r}")
        if self.portfolio is not None and not is_texts(self.portfolio):
            raise StudyError(f"portfolio: must be a list of names, but got {self.portfolio!r}")
        if self.constraint is not None and not (self.constraint and is_texts(self.constraint)):
            raise StudyError(
                f"constraint: must be a list of SCORE=MEAN, but got {self.constraint!r}"
            )
        for name in ("in_order", "gradient_checkpointing"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise StudyError(f"{name}: must be true or false, but got {value!r}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name or "default"):
            raise StudyError(
                "name: must be up to 100 letters, digits, '.', '_' and '-', and begin with one of "
                f"the first two, but got {self.name!r}"
            )
