"""From a seed to a policy: tables of all families, networks fitted to them, and a card.

Tables are kept in the folder, so what was interrupted goes on; fitting takes minutes.
"""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from hpopt_envs.nano.families import Family, named_families

from ..errors import StudyError
from ..policies.files import save_policy
from ..policies.sight import MOST_LEFT
from ..policies.values import ValueNetwork, Values
from .families import training_families
from .fitting import fit
from .judging import default_regret, portfolio, replay
from .settings import PretrainingSettings
from .studies import practise
from .tables import VERSION, Table, make_table

SETTINGS, TABLES = "pretraining.json", "tables"
# Of the families that are held out, those whose tables are soon made.
JUDGED = ("adagrad", "text")
NETWORKS = 3  # value networks, whose mean is taken
PORTFOLIO = 10  # configurations
Told = Callable[[str], None]


@dataclass(frozen=True)
class _Job:
    family: Family
    path: Path
    tasks: int


def pretrain(folder: Path, settings: PretrainingSettings, told: Told) -> None:
    """Make a policy in a folder.

    Args:
        folder: is made; what is there of the same settings is gone on with.
        settings: what it is made from.
        told: called with lines of progress.

    Raises:
        StudyError: the folder has something of other settings.
    """
    _claim(folder, settings)
    jobs, held_out = _jobs(folder, settings)
    with processes(settings) as workers:
        _make_tables(workers, [*jobs, *held_out], told)
        paths = [job.path for job in jobs]
        fitted = _fit(workers, paths, settings, told)
        practised = _practise(workers, paths, fitted, settings, told)
    tables = [Table.load(path) for path in paths]
    cost = [Table.about(path)["cpu_seconds"] for path in paths]
    known = portfolio(Table.joined(tables), PORTFOLIO, settings.seed)
    card = {
        "families": settings.families,
        "tasks": sum(len(table.base_loss) for table in tables),
        "trials": sum(table.loss.numel() for table in tables),
        "seed": settings.seed,
        "date": time.strftime("%Y-%m-%d"),
        "cpu_seconds_of_tables": round(sum(cost)),
        "portfolio": known,
        "practised_trials": settings.replays,
        "held_out": {
            job.family.name: _judged(fitted, practised, Table.load(job.path)) for job in held_out
        },
    }
    digest = save_policy(folder, fitted, practised, card)
    for line in table_lines(card["held_out"]):
        told(line)
    told(f"Policy {digest[:12]} in {folder}: `python -m hpopt search --policy {folder}` uses it.")


def table_lines(held_out: dict[str, dict[str, Any]]) -> list[str]:
    """Return what a card says of tasks that were never seen, as a table."""
    head = f"{'regret, replayed':<22}{'tasks':>6}{'default':>9}"
    lines = [head + "".join(f"{f'trial {k + 1}':>9}" for k in range(MOST_LEFT))]
    for name, row in held_out.items():
        for networks in ("fitted", "practised"):
            numbers = [row["default"], *row[networks]]
            told = "".join(f"{n:>9.3f}" for n in numbers)
            lines.append(f"{name}, {networks}".ljust(22) + f"{row['tasks']:>6}{told}")
    return lines


def _claim(folder: Path, settings: PretrainingSettings) -> None:
    """Write down what a folder is for, or make sure that it is for the same."""
    asked = {name: getattr(settings, name) for name in ("families", "tasks", "seed")}
    asked["version"] = VERSION
    path = folder / SETTINGS
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there != asked:
            raise StudyError(f"folder: {folder} must be new, or of {asked}, but is of {there}")
        return
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    half.replace(path)


def _jobs(folder: Path, settings: PretrainingSettings) -> tuple[list[_Job], list[_Job]]:
    """Return the tables to learn from, and those of held-out families."""
    families = islice(training_families(settings.seed), settings.families)
    seen = [
        _Job(family, folder / TABLES / f"{family.name}.safetensors", settings.tasks)
        for family in families
    ]
    named = named_families()
    held_out = [
        _Job(named[name], folder / TABLES / f"held-out-{name}.safetensors", settings.tasks)
        for name in JUDGED
    ]
    return seen, held_out


def processes(settings: PretrainingSettings) -> ProcessPoolExecutor:
    """Return processes that end with this one, however it ends."""
    return ProcessPoolExecutor(
        settings.workers or len(os.sched_getaffinity(0)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
    )


def _begin_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # they are slow, and mean nothing here


def _end_with_parent() -> None:
    """End this process where the parent was killed: it would go on for as long as there is work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_tables(workers: ProcessPoolExecutor, jobs: Sequence[_Job], told: Told) -> None:
    missing = [job for job in jobs if not job.path.exists()]
    told(f"{len(jobs) - len(missing)} of {len(jobs)} tables are there")
    futures: dict[Future[float], _Job] = {workers.submit(_make, job): job for job in missing}
    for number, future in enumerate(_ended(workers, futures), len(jobs) - len(missing) + 1):
        family, seconds = futures[future].family, future.result()
        told(
            f"{number} of {len(jobs)}: {family.name}, {family.architecture.parameters:,} "
            f"parameters, {family.horizon} steps: {seconds:.0f} s"
        )


def _ended(
    workers: ProcessPoolExecutor, futures: "dict[Future[float], _Job]"
) -> Iterator[Future[float]]:
    """Yield what has ended; what hasn't begun is called off where the caller is interrupted."""
    try:
        yield from as_completed(futures)
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        raise


def _make(job: _Job) -> float:
    """Make a table, and return the seconds of processor time it took."""
    started = time.process_time()
    table = make_table(job.family, job.tasks)
    seconds = time.process_time() - started
    table.save(job.path, {"family": job.family.name, "cpu_seconds": seconds})
    return seconds


def _fit(
    workers: ProcessPoolExecutor,
    paths: Sequence[Path],
    settings: PretrainingSettings,
    told: Told,
) -> Values:
    seeds = [settings.seed * 1000 + number for number in range(NETWORKS)]
    values = Values(NETWORKS)
    fitted = workers.map(_fitted, [paths] * len(seeds), seeds)
    for number, (network, error) in enumerate(fitted):
        values.networks[number] = network
        told(f"network {number + 1} of {NETWORKS}: mean squared error {error:.4f}")
    return values.eval()


def _fitted(paths: Sequence[Path], seed: int) -> tuple[ValueNetwork, float]:
    return fit(Table.joined([Table.load(path) for path in paths]), seed)


def _practise(
    workers: ProcessPoolExecutor,
    paths: Sequence[Path],
    fitted: Values,
    settings: PretrainingSettings,
    told: Told,
) -> Values:
    values = Values(NETWORKS)
    begun = [one for one in fitted.networks if isinstance(one, ValueNetwork)]
    trials = settings.replays
    seeds = [settings.seed * 1000 + number for number in range(NETWORKS)]
    found = workers.map(_practised, [paths] * NETWORKS, begun, [trials] * NETWORKS, seeds)
    for number, network in enumerate(found):
        values.networks[number] = network
        told(f"network {number + 1} of {NETWORKS} practised on {trials:,} trials")
    return values.eval()


def _practised(
    paths: Sequence[Path], network: ValueNetwork, trials: int, seed: int
) -> ValueNetwork:
    return practise(network, Table.joined([Table.load(path) for path in paths]), trials, seed)


def _judged(fitted: Values, practised: Values, table: Table) -> dict[str, Any]:
    """Return what a card says of one held-out family."""
    default = default_regret(table)
    judged: dict[str, Any] = {"tasks": len(default), "default": round(float(default.mean()), 3)}
    for name, values in (("fitted", fitted), ("practised", practised)):
        regrets = replay(values, table, MOST_LEFT).mean(0)
        judged[name] = [round(float(regret), 3) for regret in regrets]
    return judged
