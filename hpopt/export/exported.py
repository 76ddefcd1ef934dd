"""What a study recommends as trainers see it: what is held, and what changes over the run."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpopt_envs.models import length_limit, load_tokenizer
from hpopt_envs.settings import Source
from hpopt_envs.tasks import ParametricLoss, Task
from hpopt_envs.tasks.suite import BUILT_IN
from hpopt_search_spaces import Value

from ..record.recommended import Recommended
from .material import load_data

MOVING = (  # what exported code can change during a run
    *("learning_rate", "schedule_shape", "warmup_fraction", "final_fraction"),
    *("batch_size", "divergence_weight", "final_divergence_weight"),
)


@dataclass(frozen=True)
class Exported:
    """A recommended schedule, divided by what a trainer can do with it.

    Attributes:
        recommended: what is exported.
        stretches: of the run, in order: "until" which fraction of it, in (0, 1], and what of
            `MOVING` holds there.
        held: the other hyperparameters, which hold from the start to the end.
        varied: names of those that are neither in `MOVING` nor held.
    """

    recommended: Recommended
    stretches: tuple[dict[str, Any], ...]
    held: dict[str, Value]
    varied: tuple[str, ...]

    @classmethod
    def of(cls, recommended: Recommended) -> "Exported":
        """Divide a recommended schedule."""
        stretches: list[dict[str, Any]] = []
        for part in recommended.schedule.stretches:
            values = {n: v for n, v in part.hyperparameters.items() if n in MOVING}
            if stretches and values == {n: v for n, v in stretches[-1].items() if n != "until"}:
                stretches.pop()
            stretches.append({"until": part.end, **values})
        first, *later = recommended.schedule.hyperparameters
        others = {n for values in (first, *later) for n in values if n not in MOVING}
        varied = {n for n in others if any(values.get(n) != first.get(n) for values in later)}
        held = {n: v for n, v in first.items() if n in others - varied}
        return cls(recommended, tuple(stretches), held, tuple(sorted(varied)))

    @property
    def shaped(self) -> bool:
        """Whether learning rates change with the position within a stretch."""
        return any(
            s.get("schedule_shape", "constant") != "constant" or s.get("warmup_fraction", 0) != 0
            for s in self.stretches
        )

    @property
    def steady(self) -> bool:
        """Whether it is a configuration, with a shape that a trainer knows.

        A trainer gives its warm-up to Schedule-Free a second time, and a share of the run as if it
        were steps.
        """
        whole = self.recommended.reach == 1.0 and not self.averages
        return len(self.stretches) == 1 and (whole or not self.shaped)

    @property
    def averages(self) -> bool:
        """Whether its optimizer is Schedule-Free, which is measured at an average."""
        return self.held.get("optimizer") == "schedule-free"

    @property
    def task(self) -> str:
        """The task's name."""
        return self.recommended.history.facts.task

    @property
    def kind(self) -> type[Task] | None:
        """The task's class; None for what isn't built in."""
        task = BUILT_IN.get(self.task)
        return None if task is None else task.kind

    @cached_property
    def form(self) -> str:
        """What an example is made of; see `hpopt_envs.Task.form`.

        Raises:
            WorldError: an older study doesn't say, and its data can't be loaded any more.
        """
        history = self.recommended.history
        return history.facts.form or load_data(history)[0].form

    @property
    def environment(self) -> dict[str, Any]:
        """The settings of the study's environment."""
        made: dict[str, Any] = self.recommended.history.header["environment"]
        return made

    @property
    def source(self) -> Source:
        """What was said of the data."""
        return Source.of(self.environment["data"])

    @property
    def columns(self) -> dict[str, str]:
        """The names of columns, by what is in them; those of templates are called by that."""
        said = self.source
        return {
            "text": said.text_column or "text",
            "label": said.label_column or "label",
            "messages": said.messages_column or "messages",
            "prompt": said.prompt_column or "prompt",
            "completion": said.completion_column or "completion",
            "chosen": said.chosen_column or "chosen",
            "rejected": said.rejected_column or "rejected",
        }

    @property
    def template_kwargs(self) -> dict[str, Any]:
        """What chat templates get beside every chat."""
        made: dict[str, Any] = json.loads(self.source.chat_template_kwargs or "{}")
        return made

    @property
    def longest(self) -> int | None:
        """Tokens that an example is cut to; None where none is."""
        facts, asked = self.recommended.history.facts, self.environment["sequence_length"]
        if self.form == "blocks":
            return facts.sequence_length
        if asked is None and self.source.too_long == "truncate":
            return length_limit(facts.model, load_tokenizer(facts.model), None, least=1)
        return None if asked is None else int(asked)

    @property
    def work(self) -> list[tuple[int, int]]:
        """Optimizer steps, and their batch size, of each segment."""
        run, facts = self.recommended.example, self.recommended.history.facts
        if run is not None:
            path = [(s.optimizer_steps, s.hyperparameters["batch_size"]) for s in run.path]
            return [(steps, int(size)) for steps, size in path]
        segments = self.recommended.schedule.segments  # none of which ended
        sizes = [(tokens, int(values["batch_size"])) for values, tokens in segments]
        return [(round(n / facts.sequence_length / size), size) for n, size in sizes]

    @property
    def epochs(self) -> float:
        """How often the run goes over the training data."""
        facts = self.recommended.history.facts
        whole = facts.examples or facts.epoch_tokens / facts.sequence_length
        return sum(steps * size for steps, size in self.work) / whole

    @property
    def takes_retained(self) -> bool:
        """Whether there is a penalty that is measured on other text than the task's own."""
        if not self.penalized or self.form == "labels":
            return False
        has_own = self.source.retain_file is None and self.source.has_data
        return not (self.form == "sources" and has_own)

    @property
    def penalized(self) -> bool:
        """Whether there ever is a penalty on divergence beside the task's loss."""
        kind, weight = self.kind, "divergence_weight"
        if kind and issubclass(kind, ParametricLoss) and weight in kind.hyperparameters:
            return False
        names = ("divergence_weight", "final_divergence_weight")
        return any(float(s.get(name, 0.0)) > 0.0 for s in self.stretches for name in names)

    @property
    def batch_sizes(self) -> list[Value]:
        """Those that the schedule has, in order."""
        return [stretch["batch_size"] for stretch in self.stretches]
