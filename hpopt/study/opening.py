"""The journal and the workers of a study, new or taken up again."""

import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hpopt_envs.worlds import world_of

from ..commands import resume_command, with_credentials
from ..errors import StudyError
from ..pool.base import Pool
from ..pool.local import LocalPool
from ..pool.processes import ProcessPool
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.journal import Journal
from ..searchers.base import AgentSpec
from ..searchers.registry import (
    check_prior,
    check_space,
    choose_agent,
    find_agent,
    find_pruner,
)
from ..settings.groups import EXTENSIBLE, BudgetSettings
from ..settings.study import FIELDS, Settings
from .header import (
    agent_of,
    check_policy,
    check_same,
    check_versions,
    environment_settings,
    make_header,
)
from .open_study import OpenStudy, make_budget

FACTORY = "hpopt_envs.factory:make_env"
LONGEST_PART = 30  # of a name that is made of task and agent
OpenPool = Callable[[Settings, dict[str, Any], StudyFolder, str], Pool]


def open_pool(
    settings: Settings, environment: dict[str, Any], folder: StudyFolder, factory: str
) -> Pool:
    """Open the pool of a study: its workers are processes where one must outlive them."""
    machine, silence_limit = settings.machine, settings.machine.silence_limit
    if world_of(settings.environment.task).runs_commands:
        # Whoever runs a command ends it where it is silent, and waits for it without a limit.
        place = {"folder": str(folder.trials.absolute()), "silence_limit": silence_limit}
        environment = {**environment, **place}
        silence_limit = None if machine.workers == 1 else math.inf
    if machine.workers == 1 and silence_limit is None:
        return LocalPool(factory, environment)
    return ProcessPool(
        factory, environment, machine.workers, folder.workers_log, machine.in_order, silence_limit
    )


@contextmanager
def new_folder(settings: Settings) -> Iterator[StudyFolder]:
    """Make the folder of a new study, and take it away again where the study can't begin.

    Raises:
        StudyError: the name is taken, or the folder can't be made.
    """
    name = settings.tracking.name or _new_name(settings)
    study = StudyFolder(Path(settings.tracking.runs) / name)
    folder = study.path
    if study.journal.exists():
        raise StudyError(
            f"name: must be new, but {folder} exists; "
            f"`{resume_command(name, settings.tracking.runs)}` goes on with it"
        )
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"runs: {folder} can't be made: {error.strerror}") from None
    try:
        yield study
    except BaseException:
        taken = study.journal.exists()  # by another process, which was quicker
        if folder in made and not taken:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made[1:]:
                with suppress(OSError):  # somebody else's study is in it by now
                    parent.rmdir()
        raise


def _new_name(settings: Settings) -> str:
    task = "".join(c if c.isalnum() else "-" for c in settings.environment.task.rpartition(":")[2])
    agent = re.sub(r"[^A-Za-z0-9._-]", "-", settings.searcher.agent)
    about = f"{task[:LONGEST_PART]}-{agent[:LONGEST_PART]}-{settings.searcher.seed}"
    stem = f"{about}-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = stem, 1
    while (Path(settings.tracking.runs) / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def read_sources(settings: Settings, spec: AgentSpec) -> list[History]:
    """Return the studies that a study's searcher is made of; none for most.

    Raises:
        StudyError: it needs them and none is named, or one isn't there; or it has no use for them.
    """
    asked = settings.searcher
    names = dict.fromkeys(asked.portfolio or ())
    if names and not spec.needs_studies:
        raise StudyError(f"portfolio: must go with agent portfolio, but got agent {asked.agent!r}")
    if not names and spec.needs_studies:
        raise StudyError("portfolio: must name studies of other tasks, but got none")
    runs = settings.tracking.runs
    return [StudyFolder.find(name, runs, "portfolio").read() for name in names]


def check_world(settings: Settings) -> None:
    """Make sure that what decides can do so where a trial is a process of the user's own.

    Raises:
        StudyError: it acts inside trials, or pauses them; or the budget is in what nobody knows.
    """
    asked = settings.searcher
    if not world_of(settings.environment.task).runs_commands:
        return
    agent = choose_agent(asked.agent, asked.pruner)
    spec = find_agent(agent, asked.pruner)
    if not spec.holds or spec.needs_dynamic_rate:
        raise StudyError(
            f"agent: {agent} acts inside trials, but a command gets its hyperparameters once; tpe "
            "and others hold them for a whole trial"
        )
    if find_pruner(asked.pruner).pauses:
        raise StudyError(
            f"agent: +{asked.pruner} pauses trials, but a command can't be taken up again; +median "
            "and others end them"
        )
    if settings.budget.cost is not None:
        raise StudyError(
            "cost: must be left out with command, whose cost is known only at its end; trials and "
            "time_limit are budgets"
        )


def policy_digest(settings: Settings) -> str | None:
    """Return the digest of the policy that a study's searcher goes by; None for most.

    Raises:
        StudyError: there is no such policy, or the searcher has no use for one.
    """
    asked = settings.searcher
    if not find_agent(asked.agent).has_policy:
        if asked.policy is not None:
            raise StudyError(f"policy: must go with agent learned, but got agent {asked.agent!r}")
        return None
    from ..policies.files import load_policy

    return load_policy(asked.policy or "").digest


def begin(
    settings: Settings,
    about: Mapping[str, Any] | None = None,
    factory: str = FACTORY,
    open_pool: OpenPool = open_pool,
) -> OpenStudy:
    """Open a new study.

    Args:
        settings: of the study.
        about: what its header says beside them.
        factory: "module:function" that makes its environments.
        open_pool: opens the pool that its trials run in.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    asked = settings.searcher
    spec = find_agent(choose_agent(asked.agent, asked.pruner), asked.pruner)
    check_prior(asked.agent, asked.prior)
    check_world(settings)
    environment = environment_settings(settings, spec)
    sources = read_sources(settings, spec)
    with new_folder(settings) as folder, ExitStack() as closing:
        pool = open_pool(settings, environment, folder, factory)
        closing.callback(pool.close)
        has_probe = pool.facts.has_probe
        agent = choose_agent(asked.agent, asked.pruner, pool.space, has_probe, asked.prior)
        check_space(agent, pool.space, has_probe)
        make_budget(settings, spec, pool.facts).check_first_trial()
        settings = settings.changed(agent=agent)
        policy = policy_digest(settings)
        header = make_header(settings, folder.name, environment, pool, sources, policy)
        journal = Journal.create(folder.journal, header | dict(about or {}))
        closing.pop_all()
        return OpenStudy(journal, pool, settings)


def take_up(
    name: str,
    runs: str,
    changes: Mapping[str, Any],
    factory: str = FACTORY,
    open_pool: OpenPool = open_pool,
) -> OpenStudy:
    """Open an earlier study, see `resume`; `factory` and `open_pool` as in `begin`.

    Raises:
        HpoptError: one line, where it can't go on; its journal stays as it was.
    """
    folder = StudyFolder.find(name, runs, "resume")
    for setting, value in changes.items():
        if setting not in EXTENSIBLE:
            raise StudyError(
                f"resume: may change {', '.join(EXTENSIBLE)} alone, but got {setting!r}"
            )
        FIELDS[setting].check(value)
    with ExitStack() as closing:
        journal = Journal.open(folder.journal)
        closing.callback(journal.close)
        header = journal.events[0]
        check_versions(header)
        saved = {**header["settings"], "runs": runs}
        for event in journal.events:
            if event["event"] == "extended":
                saved |= event["settings"]
        if saved["tracking_uri"] is not None:
            saved["tracking_uri"] = with_credentials(saved["tracking_uri"])
        new = {setting: value for setting, value in changes.items() if saved[setting] != value}
        if "finalists" not in saved:  # begun before there were finals: it gets one at its end
            new["finalists"] = BudgetSettings.finalists
        settings = Settings.from_record({**saved, **new})
        check_world(settings)
        # The study's own space: what "auto" says and what is shipped may have changed since. It is
        # where it was displaced to.
        environment = {**header["environment"], "space": header["space"], "displacement": 0.0}
        pool = open_pool(settings, environment, folder, factory)
        closing.callback(pool.close)
        check_same(header, pool)
        check_policy(header, policy_digest(settings.changed(agent=agent_of(header))))
        if new:
            journal.events.append(journal.append({"event": "extended", "settings": new}))
        closing.pop_all()
        return OpenStudy(journal, pool, settings)


def open_study(settings: Settings, about: Mapping[str, Any], factory: str) -> OpenStudy:
    """Open the study that settings name, whether it is new or was begun before.

    Raises:
        HpoptError: see `begin` and `take_up`.
    """
    name, runs = str(settings.tracking.name), settings.tracking.runs
    if StudyFolder(Path(runs) / name).has_begun:
        return take_up(name, runs, {}, factory)
    return begin(settings, about, factory)
