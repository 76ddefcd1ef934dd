"""Settings of a study beside its environment's, which are `hpopt_envs.EnvironmentSettings`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hpopt_envs.settings import setting

from .parsing import LABEL, parse_seconds

DEFAULT_TRIALS = 8
FINAL_SEEDS = 5  # of a final, where nobody says how many
FINAL_SHARE = 0.5  # of the search's cost that it may take then
WHO, BUDGET, RECORD, MACHINE = "who decides", "budget", "record", "machine"
EXTENSIBLE = ("trials", "cost", "time_limit")  # what `resume` may change


@dataclass(frozen=True)
class SearcherSettings:
    """Who decides. `agent`, `pruner` and `prior` are the parts of what a user calls the agent."""

    agent: str = setting(
        "auto",
        f"who decides, {LABEL}: of `hpopt agents`, or module:Class of your own "
        "(default: auto: learned where it can act, else tpe)",
        group=WHO,
    )
    pruner: str = "none"
    prior: str = "default"
    portfolio: Sequence[str] | None = setting(
        None,
        "earlier studies of other tasks whose best configurations agent portfolio tries "
        "(default: none; implies that agent)",
        group=WHO,
        metavar="NAME,NAME",
    )
    policy: str | None = setting(
        None,
        "folder of the policy that agent learned goes by, as `hpopt pretrain` writes it (default: "
        "the one that comes with hpopt)",
        group=WHO,
        metavar="FOLDER",
    )
    seed: int = setting(
        0, "number that keys every random draw (default: 0)", group=WHO, metavar="N", least=0
    )


@dataclass(frozen=True)
class BudgetSettings:
    """What a study may spend; the first limit reached ends it."""

    trials: int | None = setting(
        None,
        "budget in full trials' worth of training tokens "
        f"(default: {DEFAULT_TRIALS}, where no other limit is given)",
        group=BUDGET,
        metavar="N",
    )
    cost: float | None = setting(
        None,
        "budget in token-equivalents, the final included (default: no limit)",
        group=BUDGET,
        metavar="C",
        above=0,
    )
    time_limit: float | None = setting(
        None,
        "budget of time, the final included, such as 90, 15m or 2h (default: no limit)",
        group=BUDGET,
        metavar="T",
        above=0,
        parse=parse_seconds,
    )
    target: float | None = setting(
        None,
        "value of the objective at which the search stops (default: none)",
        group=BUDGET,
        metavar="V",
    )
    finalists: int = setting(
        3,
        "the best few trials that are run again at the end, on fresh seeds, beside the default and "
        "the baseline (default: 3)",
        group=BUDGET,
        metavar="N",
        least=1,
    )
    confirm_seeds: int | None = setting(
        None,
        "fresh seeds of these runs, at most; 0 for none (default: as many as half of the search's "
        f"cost pays for, up to {FINAL_SEEDS})",
        group=BUDGET,
        metavar="N",
        least=0,
    )


@dataclass(frozen=True)
class TrackingSettings:
    """Where a study is kept, and how it is recorded in MLflow."""

    name: str | None = setting(
        None, "name of the study (default: one made of task, agent, seed and time)", group=RECORD
    )
    runs: str = setting(
        "runs", "folder that studies are kept in (default: runs)", group=RECORD, metavar="FOLDER"
    )
    tracking_uri: str | None = setting(
        None,
        "MLflow's tracking URI (default: MLFLOW_TRACKING_URI, else sqlite:///runs/mlflow.db, in "
        "the folder of studies)",
        group=RECORD,
        metavar="URI",
    )
    experiment: str | None = setting(
        None,
        "name of the experiment in MLflow (default: MLFLOW_EXPERIMENT_NAME, else the task)",
        group=RECORD,
    )
    track: str = setting(
        "auto",
        "what gets runs in MLflow: trials, with their study, or parents, studies alone (default: "
        "auto, parents where nothing is trained)",
        group=RECORD,
        metavar="WHAT",
        choices=("auto", "trials", "parents"),
    )

    @property
    def uri(self) -> str:
        """The MLflow tracking URI."""
        if self.tracking_uri:
            return self.tracking_uri
        # A URI's path ends at "?" and has "%" before codes of characters.
        place = re.sub("[%?#]", lambda found: quote(found[0]), str(Path(self.runs) / "mlflow.db"))
        return f"sqlite:///{place}"


@dataclass(frozen=True)
class MachineSettings:
    """How trials run."""

    workers: int = setting(
        1, "processes that trials run in, side by side (default: 1)", group=MACHINE, metavar="N"
    )
    in_order: bool = setting(
        True,
        "false: take the workers' replies as they come: faster, but timing changes the study "
        "(default: true)",
        group=MACHINE,
        metavar="B",
    )
    silence_limit: float | None = setting(
        None,
        "time after which a worker that says nothing counts as dead, such as 90, 15m or 2h "
        "(default: 20 times the longest segment, at least 10m; one worker: only where given); with "
        "--command, after which a script is ended (default: none)",
        group=MACHINE,
        metavar="T",
        above=0,
        parse=parse_seconds,
    )
