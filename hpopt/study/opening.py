"""The journal and the workers of a study, new or taken up again."""

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..commands import resume_command
from ..errors import StudyError
from ..pool.base import Pool
from ..pool.budget import Budget, Limits
from ..pool.local import LocalPool
from ..pool.processes import ProcessPool
from ..record.folders import StudyFolder
from ..record.history import History
from ..record.journal import Journal
from ..searchers.portfolio import AGENT
from ..searchers.registry import check_space, choose_agent, find_agent
from ..settings.study import EXTENSIBLE, Settings
from .header import check_same, check_versions, environment_settings, make_header


@contextmanager
def new_folder(settings: Settings) -> Iterator[StudyFolder]:
    """Make the folder of a new study, and take it away again where the study can't begin.

    Raises:
        StudyError: the name is taken, or the folder can't be made.
    """
    name = settings.name or _new_name(settings)
    study = StudyFolder(Path(settings.runs) / name)
    folder = study.path
    if study.journal.exists():
        raise StudyError(
            f"name: must be new, but {folder} exists; "
            f"`{resume_command(name, settings.runs)}` goes on with it"
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
    task = "".join(c if c.isalnum() else "-" for c in settings.task.rpartition(":")[2])
    stem = f"{task}-{settings.agent}-{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = stem, 1
    while (Path(settings.runs) / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def read_sources(settings: Settings) -> list[History]:
    """Return the studies that a study's portfolio is made of; none for other agents.

    Raises:
        StudyError: the agent needs them and none is named, or one isn't there; or it has no use
            for them.
    """
    names = dict.fromkeys(settings.portfolio or ())
    if names and settings.agent != AGENT:
        raise StudyError(f"portfolio: must go with agent {AGENT}, but got agent {settings.agent!r}")
    if not names and settings.agent == AGENT:
        raise StudyError("portfolio: must name studies of other tasks, but got none")
    return [StudyFolder.find(name, settings.runs, "portfolio").read() for name in names]


FACTORY = "hpopt_envs.factory:make_env"


def begin(
    settings: Settings, about: Mapping[str, Any] | None = None, factory: str = FACTORY
) -> tuple[Journal, Pool]:
    """Open the journal and the workers of a new study.

    Args:
        settings: of the study.
        about: what its header says beside them.
        factory: "module:function" that makes its environments.

    Raises:
        HpoptError: one line, where it can't begin; then nothing of it is left behind.
    """
    spec = find_agent(choose_agent(settings.agent, settings.pruner), settings.pruner)
    environment = environment_settings(settings, spec)
    sources = read_sources(settings)
    with new_folder(settings) as folder:
        pool = _open_pool(settings, environment, folder, factory)
        try:
            space, has_probe = pool.space, pool.facts.has_probe
            agent = choose_agent(settings.agent, settings.pruner, space, has_probe)
            settings = dataclasses.replace(settings, agent=agent)
            check_space(agent, space, has_probe)
            make_budget(settings, pool).check_first_trial()
            header = make_header(settings, folder.name, environment, pool, sources)
            header |= dict(about or {})
            return Journal.create(folder.journal, header), pool
        except BaseException:
            pool.close()
            raise


def take_up(
    name: str, runs: str, changes: Mapping[str, Any], factory: str = FACTORY
) -> tuple[Journal, Pool, Settings]:
    """Open the journal and the workers of an earlier study, see `resume`.

    Raises:
        HpoptError: one line, where it can't go on; its journal stays as it was.
    """
    folder = StudyFolder.find(name, runs, "resume")
    for setting in changes:
        if setting not in EXTENSIBLE:
            raise StudyError(
                f"resume: may change {', '.join(EXTENSIBLE)} alone, but got {setting!r}"
            )
    journal = Journal.open(folder.journal)
    try:
        header = journal.events[0]
        check_versions(header)
        saved = {**header["settings"], "runs": runs}
        for event in journal.events:
            if event["event"] == "extended":
                saved |= event["settings"]
        new = {setting: value for setting, value in changes.items() if saved[setting] != value}
        settings = Settings.of({**saved, **new})
        pool = _open_pool(settings, header["environment"], folder, factory)
        try:
            check_same(header, pool)
            if new:
                journal.events.append(journal.append({"event": "extended", "settings": new}))
        except BaseException:
            pool.close()
            raise
    except BaseException:
        journal.close()
        raise
    return journal, pool, settings


def _open_pool(
    settings: Settings, environment: dict[str, Any], folder: StudyFolder, factory: str
) -> Pool:
    if settings.workers == 1:
        return LocalPool(factory, environment)
    return ProcessPool(
        factory, environment, settings.workers, folder.workers_log, settings.in_order
    )


def make_budget(
    settings: Settings, pool: Pool, *, seconds_before: float = 0.0, cost_before: float = 0.0
) -> Budget:
    target = settings.target
    if target is not None and pool.facts.maximize:
        target = -target
    spec = find_agent(settings.agent, settings.pruner)
    return Budget(
        Limits(settings.trials, settings.cost, settings.time_limit, target),
        pool.facts,
        validate_segments=spec.validates or settings.pruner != "none",
        confirmations=2 * settings.confirm_seeds,
        seconds_before=seconds_before,
        cost_before=cost_before,
    )
