"""Settings of a comparison, and of each of its studies."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import StudyError
from ..settings.options import setting
from ..settings.parsing import parse_integer, parse_names
from ..settings.study import DEFAULT_TRIALS, Settings
from .contestants import FORM, Contestant, parse_contestants

MANIFEST = "comparison.json"
AGENTS = ("range-test", "tpe", "tpe-cold", "gp", "ppo")
OWN = (  # settings of a study that the comparison decides
    *("agent", "pruner", "prior", "portfolio", "seed", "in_order"),
    *("cost", "time_limit", "target", "track"),
)
SHARED = tuple(f.name for f in fields(Settings) if f.name not in OWN)
HELP = {  # where the same name means something else here
    "task": "names from `hpopt tasks` or module:Class, comma-separated; a table is all its tasks",
    "trials": f"full-run equivalents of cost for every study (default: {DEFAULT_TRIALS})",
    "workers": "studies that run at a time; the result doesn't depend on it",
    "name": "of the comparison (default: a new one is made); the same again goes on with it",
    "experiment": "in MLflow (default: the comparison)",
    "confirm_seeds": "fresh seeds to run the best of each searcher and task on; 0: none",
}


@dataclass(frozen=True)
class ComparisonSettings:
    """What a comparison is asked to do; `hpopt compare --help` explains each.

    Attributes:
        study: what all its studies share; `name`, `workers`, `trials` and `confirm_seeds` are the
            comparison's.
    """

    agents: tuple[str, ...] = setting(
        AGENTS, f"comma-separated; default and random are added; each {FORM}", parse_names, "A,A"
    )
    seeds: int = setting(3, "studies of each searcher and task, paired", parse_integer, "N")
    against: str = setting("tpe", "the searcher that the others are tested against")
    study: Settings = dataclasses.field(default_factory=Settings)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ComparisonSettings":
        """Build checked settings from a mapping; missing ones take their defaults.

        Raises:
            StudyError: one line, where something can't be.
        """
        own = {f.name for f in fields(cls) if f.metadata}
        mine = {name: value for name, value in values.items() if name in own}
        for name in values:
            if name in OWN:
                raise StudyError(f"{name}: must be left out, since a comparison decides it")
        shared = {name: value for name, value in values.items() if name not in own}
        settings = cls(**mine, study=Settings.of({"trials": DEFAULT_TRIALS, **shared}))
        settings._check()
        return settings

    def _check(self) -> None:
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise StudyError(f"seeds: must be a whole number of at least 1, but got {self.seeds!r}")
        labels = [contestant.label for contestant in self.contestants]
        if self.against not in labels:
            raise StudyError(
                f"against: must be one of the agents, {', '.join(labels)}, but got {self.against!r}"
            )
        if self.study.trials is None:
            raise StudyError("trials: must be given, in full-run equivalents of cost")

    @cached_property
    def contestants(self) -> tuple[Contestant, ...]:
        return parse_contestants(self.agents)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks; a table stands for all tasks in it."""
        from hpopt_envs.stand_ins.finished_runs import named_tasks  # not above: they bring numpy
        from hpopt_envs.worlds import FINISHED_RUNS, world_of

        names: list[str] = []
        for asked in self.study.task.split(","):
            if world_of(asked) is FINISHED_RUNS:
                names += named_tasks(asked)
            else:
                names.append(asked)
        return tuple(dict.fromkeys(names))

    @property
    def equivalents(self) -> int:
        """Full-run equivalents of cost that each study may spend."""
        assert self.study.trials is not None
        return self.study.trials

    def folder(self, name: str) -> Path:
        """Where a comparison of that name is kept, its studies below it."""
        return Path(self.study.runs) / name

    def study_settings(self, name: str, task: str, who: Contestant, seed: int) -> Settings:
        """Settings of one study; its cost is set where the task is loaded."""
        return dataclasses.replace(
            self.study,
            task=task,
            agent=who.agent,
            pruner=who.pruner,
            prior=who.prior,
            space=who.space or self.study.space,
            seed=seed,
            name=study_name(task, who.file_name, seed),
            workers=1,
            confirm_seeds=0,
            experiment=self.study.experiment or name,
            tracking_uri=self.study.uri,
            runs=str(self.folder(name)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ComparisonSettings":
        return cls(
            agents=tuple(data["agents"]),
            seeds=data["seeds"],
            against=data["against"],
            study=Settings(**data["study"]),
        )


def study_name(task: str, searcher: str, number: int | str) -> str:
    """The name of a comparison's study, in the characters that a study's name may have."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", task.rpartition("/")[2])
    return f"{plain}.{searcher}.{number}"


def read_settings(name: str, runs: str) -> ComparisonSettings | None:
    """Settings of a comparison; None where there is none of that name."""
    manifest = Path(runs) / name / MANIFEST
    if not manifest.is_file():
        return None
    settings = ComparisonSettings.from_json(json.loads(manifest.read_text()))
    return dataclasses.replace(settings, study=dataclasses.replace(settings.study, runs=runs))
