"""What the learned searcher's networks need: without ramp, retained probe, history; fewer tasks.

    python benchmarks/ablations.py FOLDER [--steps 4000]

FOLDER is one that `python -m hpopt pretrain` made, with its tables. A single network is fitted for
each row, to tables that lack what the row says, and replayed on families that were held out: mean
regret of the best trial so far, the ramp not charged. "told nothing" proposes by the first look
alone. Rows are fitted two at a time.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from hpopt.policies.values import ValueNetwork, Values
from hpopt.pretraining.fitting import fit, lesson
from hpopt.pretraining.judging import STANDARD, default_regret, replay
from hpopt.pretraining.tables import Table

TRIALS = 6
SIZES = (250, 500, 1000)
Change = Callable[[Table], Table]


def whole(table: Table) -> Table:
    return table


def no_ramp(table: Table) -> Table:
    return replace(table, ramps=torch.full_like(table.ramps, torch.nan))


def no_retained_probe(table: Table) -> Table:
    ramps = table.ramps.clone()
    ramps[..., 1] = torch.where(ramps[..., 1].isfinite(), 0.0, ramps[..., 1])
    return replace(table, ramps=ramps)


def first_tasks(count: int) -> Change:
    """Families alternate, so that fewer tasks aren't fewer families."""

    def change(table: Table) -> Table:
        random = torch.Generator().manual_seed(0)
        return table.of(torch.randperm(len(table.base_loss), generator=random)[:count])

    return change


def fitted(change: str, size: int, folder: Path, steps: int) -> ValueNetwork:
    torch.set_num_threads(1)
    table = CHANGES[change](seen(folder))
    if size:
        table = first_tasks(size)(table)
    return fit(table, seed=0, steps=steps)[0]


CHANGES: dict[str, Change] = {
    "all": whole,
    "no ramp": no_ramp,
    "no retained probe": no_retained_probe,
}


def seen(folder: Path) -> Table:
    paths = sorted((folder / "tables").glob("pretraining-*.safetensors"))
    return Table.joined([Table.load(path) for path in paths])


def first_look(values: Values, table: Table) -> torch.Tensor:
    """What the lowest expected regrets come to, without a word of what trials came to."""
    count = len(table.base_loss)
    drawn = lesson(table, torch.full((count,), STANDARD), table.forgetting_weight)
    chosen = values.predict(drawn.sight)[0].flatten(1).topk(TRIALS, largest=False).indices
    regrets = drawn.regrets.flatten(1).gather(1, chosen)
    return regrets.cummin(1).values[drawn.worth]


def row(name: str, regrets: list[torch.Tensor]) -> None:
    mean = torch.cat(regrets).mean(0)
    print(f"{name:<22}" + "".join(f"{float(value):>8.3f}" for value in mean), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    asked = parser.parse_args()
    held_out = [Table.load(path) for path in sorted(asked.folder.glob("tables/held-out-*"))]
    rows = [(change, 0) for change in CHANGES] + [("all", size) for size in SIZES]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        futures = [
            processes.submit(fitted, change, size, asked.folder, asked.steps)
            for change, size in rows
        ]
        print(f"{'after trials':<22}" + "".join(f"{k + 1:>8}" for k in range(TRIALS)))
        default = torch.cat([default_regret(table) for table in held_out])
        print(f"{'default':<22}{float(default.mean()):>8.3f}")
        for (change, size), future in zip(rows, futures, strict=True):
            values = Values(1)
            values.networks[0] = future.result()
            tables = [CHANGES[change](table) for table in held_out]
            name = f"{size} tasks" if size else change
            row(name, [replay(values.eval(), table, TRIALS) for table in tables])
            if name == "all":
                row("told nothing", [first_look(values, table) for table in tables])


if __name__ == "__main__":
    main()
