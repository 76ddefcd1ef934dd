"""Settings of a study: one definition for the command line, TOML files and Python."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hpopt_envs import EnvironmentSettings
from hpopt_envs.settings import Script
from hpopt_envs.worlds import SCRIPT, world_of
from hpopt_search_spaces.checks import nearest_names

from ..commands import EXPERIMENT, TRACKING_URI
from ..errors import StudyError
from .fields import Field, fields_of
from .groups import (
    DEFAULT_TRIALS,
    FINAL_SEEDS,
    FINAL_SHARE,
    BudgetSettings,
    MachineSettings,
    SearcherSettings,
    TrackingSettings,
)
from .parsing import parse_label

Level = Literal["trials", "parents"]  # what gets runs in MLflow: trials too, or studies alone

# Parts of what a user calls the agent, which are recorded apart.
SAID_WITH_THE_AGENT = {
    "pruner": "must be said with the agent, such as tpe+median",
    "prior": "must be said with the agent: tpe-cold is tpe without the default to begin with",
}


@dataclass(frozen=True)
class Settings:
    """What a study is asked to do, in groups; `FIELDS` has the flat names that users write.

    Attributes:
        environment: what is fine-tuned, how it is judged, and what may be tuned.
        searcher: who decides.
        budget: what may be spent.
        tracking: where the study is kept.
        machine: how trials run.
    """

    environment: EnvironmentSettings = EnvironmentSettings()  # noqa: RUF009 (it is frozen)
    searcher: SearcherSettings = SearcherSettings()  # noqa: RUF009
    budget: BudgetSettings = BudgetSettings(trials=DEFAULT_TRIALS)  # noqa: RUF009
    tracking: TrackingSettings = TrackingSettings()  # noqa: RUF009
    machine: MachineSettings = MachineSettings()  # noqa: RUF009

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Settings":
        """Build checked settings from what a user says, by flat names.

        Args:
            values: missing ones take their defaults.

        Raises:
            HpoptError: an unknown name (with the nearest ones), or an impossible value.
        """
        for name, value in values.items():
            if name in SAID_WITH_THE_AGENT:
                raise StudyError(f"{name}: {SAID_WITH_THE_AGENT[name]}")
            if name not in FIELDS:
                raise StudyError(f"unknown setting {name!r} ({nearest_names(name, FIELDS)})")
            FIELDS[name].check(value)
        said = _of_mlflow() | dict(values)
        if said.get("portfolio") and said.get("agent", "auto") == "auto":
            said["agent"] = "portfolio"
        _imply_script(said)
        agent, prior, pruner = parse_label(str(said.get("agent", SearcherSettings.agent)))
        return cls.from_record({**said, "agent": agent, "prior": prior, "pruner": pruner})

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> "Settings":
        """Build settings from what `flat` returned, in a journal or a comparison's file."""
        groups: dict[str, dict[str, Any]] = {f.name: {} for f in dataclasses.fields(cls)}
        for name, value in values.items():
            group, *inner = ("searcher", name) if name in SAID_WITH_THE_AGENT else FIELDS[name].path
            where = groups[group]
            for step in inner[:-1]:
                where = where.setdefault(step, {})
            where[inner[-1]] = tuple(value) if isinstance(value, list) else value
        budget = BudgetSettings(**groups["budget"])
        if budget.trials is budget.cost is budget.time_limit is None:
            budget = dataclasses.replace(budget, trials=DEFAULT_TRIALS)
        _check_name(groups["tracking"].get("name"))
        return cls(
            environment=EnvironmentSettings.of(groups["environment"]),
            searcher=SearcherSettings(**groups["searcher"]),
            budget=budget,
            tracking=TrackingSettings(**groups["tracking"]),
            machine=MachineSettings(**groups["machine"]),
        )

    def flat(self) -> dict[str, Any]:
        """Return all values by their flat names, as JSON can carry them."""
        values = {name: _plain(_value(self, field)) for name, field in FIELDS.items()}
        return values | {name: getattr(self.searcher, name) for name in SAID_WITH_THE_AGENT}

    def changed(self, **values: Any) -> "Settings":
        """Return these settings but for some, by their flat names; they aren't checked again."""
        return Settings.from_record({**self.flat(), **values})

    @property
    def confirm_seeds(self) -> int:
        """Fresh seeds of the final, at most; none where nothing can be trained again."""
        if not world_of(self.environment.task).repeats or not _takes_seeds(self.environment):
            return 0
        asked = self.budget.confirm_seeds
        return FINAL_SEEDS if asked is None else asked

    @property
    def final_share(self) -> float | None:
        """Share of the search's cost that the final may take; None where seeds are asked for."""
        return FINAL_SHARE if self.budget.confirm_seeds is None else None

    @property
    def tracking_level(self) -> Level:
        """Which MLflow runs are made."""
        track = self.tracking.track
        if track == "auto":
            return "trials" if world_of(self.environment.task).trains else "parents"
        return "parents" if track == "parents" else "trials"


def _imply_script(said: dict[str, Any]) -> None:
    """Let a command stand for the task; refuse what is said of one that isn't there."""
    given = [f.name for f in dataclasses.fields(Script) if said.get(f.name) is not None]
    if "command" in given:
        if said.get("task", SCRIPT.task) != SCRIPT.task:
            raise StudyError(f"task: must be left out with command, but got {said['task']!r}")
        said["task"] = SCRIPT.task
    elif given:
        raise StudyError(f"{given[0]}: must go with command, but there is none")


def _takes_seeds(environment: EnvironmentSettings) -> bool:
    """Return whether a run can be had on another seed, which a command must have a place for."""
    script = environment.script
    return script.command is None or "seed" in script.placeholders


def _of_mlflow() -> dict[str, str]:
    """Return what MLflow's own variables say, which options go before."""
    said = {"tracking_uri": os.environ.get(TRACKING_URI), "experiment": os.environ.get(EXPERIMENT)}
    return {name: value for name, value in said.items() if value}


def _check_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise StudyError(
            "name: must be up to 100 letters, digits, '.', '_' and '-', and begin with one of "
            f"the first two, but got {name!r}"
        )


FIELDS: dict[str, Field] = fields_of(Settings)


def _value(settings: Settings, field: Field) -> Any:
    value: Any = settings
    for name in field.path:
        value = getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
