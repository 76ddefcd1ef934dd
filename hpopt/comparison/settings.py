"""Settings of a comparison, and of each of its studies."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hpopt_envs.settings import setting

from ..commands import with_credentials
from ..errors import StudyError, io_error
from ..record.folders import MANIFEST, check_name
from ..settings.fields import Field, fields_of
from ..settings.groups import DEFAULT_TRIALS, WHO
from ..settings.study import Settings
from ..study.header import kept
from .contestants import FORM, Contestant, parse_contestants
from .displacing import check_displaced, displacement
from .fitting import fitting

AGENTS = ("learned", "range-test", "tpe", "tpe-cold", "gp", "ppo")
OWN = (  # settings of a study that the comparison decides
    *("agent", "portfolio", "seed", "displacement", "in_order"),
    *("cost", "time_limit", "target", "track", "finalists"),
)
MINE = ("agents", "seeds", "against", "displace")  # settings that no study has
CONFIRM_SEEDS = 2
HELP = {  # where the same name means something else here
    "task": "tasks, comma-separated: names from `hpopt tasks` or module:Class; a table of finished "
    "runs stands for all its tasks (default: lm)",
    "trials": "full-run equivalents of cost that every study may spend "
    f"(default: {DEFAULT_TRIALS})",
    "workers": "studies that run at a time; the result doesn't depend on it (default: 1)",
    "name": "name of the comparison; an earlier one's goes on with it (default: one made of the "
    "time)",
    "experiment": "name of the experiment in MLflow (default: MLFLOW_EXPERIMENT_NAME, else the "
    "comparison)",
    "confirm_seeds": "fresh seeds on which the best of each searcher and task is trained again; "
    f"0 for none (default: {CONFIRM_SEEDS})",
}


@dataclass(frozen=True)
class ComparisonSettings:
    """What a comparison is asked to do; `hpopt compare --help` explains each.

    Attributes:
        study: what all its studies share; `name`, `workers`, `trials` and `confirm_seeds` are the
            comparison's.
    """

    agents: Sequence[str] = setting(
        AGENTS,
        f"searchers, comma-separated, each {FORM}; default and random are always there "
        f"(default: those of {','.join(AGENTS)} that the tasks allow)",
        group=WHO,
        metavar="A,A",
    )
    seeds: int = setting(
        3,
        "studies of each searcher and task, paired over searchers (default: 3)",
        group=WHO,
        metavar="N",
    )
    against: str = setting(
        "tpe", "searcher that the others are tested against (default: tpe)", group=WHO
    )
    displace: float = setting(
        0.0,
        "standard deviation of octaves by which each task and seed has the learning rate's default "
        "and range moved (default: 0.0)",
        group=WHO,
        metavar="SD",
        least=0,
    )
    study: Settings = Settings()  # noqa: RUF009 (it is frozen)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ComparisonSettings":
        """Build checked settings from what a user says, by flat names.

        Args:
            values: missing ones take their defaults.

        Raises:
            HpoptError: one line, where something can't be.
        """
        for name, value in values.items():
            if name in OWN:
                raise StudyError(f"{name}: must be left out, since a comparison decides it")
            if name in COMPARISON_FIELDS:
                COMPARISON_FIELDS[name].check(value)
        mine = {name: values[name] for name in MINE if name in values}
        shared = {name: value for name, value in values.items() if name not in mine}
        budget = {"trials": DEFAULT_TRIALS, "confirm_seeds": CONFIRM_SEEDS}
        settings = cls(**mine, study=Settings.of({**budget, **shared}))
        if settings.study.searcher.policy and not any(
            Contestant.parse(label).spec.has_policy for label in mine.get("agents", AGENTS)
        ):
            raise StudyError("policy: must go with agent learned, but it doesn't take part")
        who = mine.get("agents") or fitting(AGENTS, settings.study, settings.tasks)
        settings = dataclasses.replace(settings, agents=tuple(who))
        settings._check()
        return settings

    def _check(self) -> None:
        labels = [contestant.label for contestant in self.contestants]
        if self.against not in labels:
            raise StudyError(
                f"against: must be one of the agents, {', '.join(labels)}, but got {self.against!r}"
            )
        if self.study.budget.trials is None:
            raise StudyError("trials: must be given, in full-run equivalents of cost")
        if self.displace:
            check_displaced(self)

    @cached_property
    def contestants(self) -> tuple[Contestant, ...]:
        return parse_contestants(self.agents)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks; a table stands for all tasks in it."""
        from hpopt_envs.stand_ins.finished_runs import named_tasks  # not above: they bring numpy
        from hpopt_envs.worlds import FINISHED_RUNS, world_of

        names: list[str] = []
        for asked in self.study.environment.task.split(","):
            if world_of(asked) is FINISHED_RUNS:
                names += named_tasks(asked)
            else:
                names.append(asked)
        return tuple(dict.fromkeys(names))

    @property
    def runs_commands(self) -> bool:
        """Whether trials are processes of the user's own."""
        return self.study.environment.script.command is not None

    @property
    def equivalents(self) -> int:
        """Full-run equivalents of cost that each study may spend."""
        assert self.study.budget.trials is not None
        return self.study.budget.trials

    def folder(self, name: str) -> Path:
        """Return where a comparison of that name is kept, its studies below it."""
        return Path(self.study.tracking.runs) / name

    def study_settings(self, name: str, task: str, who: Contestant, seed: int) -> Settings:
        """Return settings of one study; its cost is set where the task is loaded."""
        return self.study.changed(
            task=task,
            agent=who.agent,
            pruner=who.pruner,
            prior=who.prior,
            policy=self.study.searcher.policy if who.spec.has_policy else None,
            space=who.space or self.study.environment.space,
            seed=seed,
            displacement=self.displacement(task, seed),
            name=study_name(task, who.file_name, seed),
            workers=1,
            # Of its process, which the comparison watches; of a command, whoever runs it does.
            silence_limit=self.study.machine.silence_limit if self.runs_commands else None,
            confirm_seeds=0,
            experiment=self.study.tracking.experiment or name,
            tracking_uri=self.study.tracking.uri,
            runs=str(self.folder(name)),
        )

    def displacement(self, task: str, seed: int) -> float:
        """Return the octaves that a block's learning rate is displaced by."""
        return displacement(self.displace, task, seed)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        return {
            "agents": list(self.agents),
            "seeds": self.seeds,
            "against": self.against,
            "displace": self.displace,
            "study": kept(self.study),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ComparisonSettings":
        return cls(
            agents=tuple(data["agents"]),
            seeds=data["seeds"],
            against=data["against"],
            displace=data.get("displace", 0.0),  # earlier ones displaced nothing
            study=Settings.from_record(data["study"]),
        )


def _fields() -> dict[str, Field]:
    """Return the settings of a comparison, by their flat names, with what they mean here."""
    found = {name: f for name, f in fields_of(ComparisonSettings).items() if name not in OWN}
    for name, text in HELP.items():
        about = {**found[name].about, "help": text}
        found[name] = dataclasses.replace(found[name], about=about)
    return found


COMPARISON_FIELDS = _fields()


def study_name(task: str, searcher: str, number: int | str) -> str:
    """Return the name of a comparison's study, in the characters that a study's name may have."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", task.rpartition("/")[2])
    return f"{plain}.{searcher}.{number}"


def read_settings(name: str, runs: str) -> ComparisonSettings | None:
    """Return settings of a comparison; None where there is none of that name.

    Raises:
        StudyError: there can't be one of that name, or its settings can't be read.
    """
    check_name(name, "name")
    manifest = Path(runs) / name / MANIFEST
    try:
        settings = read_manifest(manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    uri = settings.study.tracking.tracking_uri
    uri = None if uri is None else with_credentials(uri)
    study = settings.study.changed(runs=runs, tracking_uri=uri)
    return dataclasses.replace(settings, study=study)


def read_manifest(manifest: Path) -> ComparisonSettings:
    """Return settings of a comparison from its file.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        StudyError: it can't be read.
    """
    try:
        return ComparisonSettings.from_json(json.loads(manifest.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise StudyError(f"the comparison can't be read: {io_error(error)}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StudyError(
            f"{manifest} must be as the comparison wrote it, but was changed or damaged: "
            f"{type(error).__name__}"
        ) from None
