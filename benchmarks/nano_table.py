"""The nano table: what learning rate × divergence weight × batch come to on a thousand tasks.

    python benchmarks/nano_table.py FOLDER

FOLDER is one that `python -m hpopt pretrain` made, with its tables. They are written as one file,
`benchmarks/nano_table/table.safetensors`, with its axes, its families and its licence in
`table.json`, and what the grid says of them is printed. For tasks k of all families, in float16:

    loss_change         (k, learning rate, divergence weight, batch) nats, at the end of a trial,
                        beside the base model's; infinite where training exploded
    forgetting          likewise: by how much the loss on retained text has risen
    base_loss           (k,) nats
    forgetting_weight   (k,) of the task's own objective, loss + weight × forgetting
    family, task        (k,) index of the list in `table.json`, and seed of the family's task

A cell is one trial with linear decay, on the task's own seed. `hpopt.pretraining.families` draws
the families again, and `Family.task` their tasks.
"""

import argparse
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hpopt.policies.grid import BATCH_MULTIPLES, DIVERGENCE_WEIGHTS
from hpopt.pretraining.families import training_families
from hpopt.pretraining.tables import OCTAVES, Table
from hpopt_envs.nano.families import LEAST_BATCH, Family, named_families

OUT = Path(__file__).parent / "nano_table"
LICENCE = "MIT, as hpopt"


def families_of(folder: Path) -> list[tuple[Family, Path]]:
    """Return the families of a folder's tables, in the order in which they were drawn."""
    tables = {path.stem: path for path in (folder / "tables").glob("*.safetensors")}
    settings = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    found: list[tuple[Family, Path]] = []
    for family in training_families(settings["seed"]):
        if len(found) == settings["families"]:
            break
        found.append((family, tables[family.name]))
    named = named_families()
    held_out = sorted(name for name in tables if name.startswith("held-out-"))
    return found + [(named[name.removeprefix("held-out-")], tables[name]) for name in held_out]


def described(family: Family, path: Path) -> dict[str, Any]:
    about = {name: value for name, value in asdict(family).items() if name != "architecture"}
    architecture = family.architecture
    shape = {**asdict(architecture), "parameters": architecture.parameters}
    tasks = len(Table.load(path).base_loss)
    return {**about, "architecture": shape, "tasks": tasks, "held_out": "held-out" in path.stem}


def seeds_of(family: Family, count: int) -> list[int]:
    """Return the seeds of a table's rows: optimizers lie side by side there."""
    return sorted(range(count), key=lambda seed: family.task(seed).optimizer)


def told(table: Table) -> None:
    """Print where the best learning rate lies, and what the grid's parts are worth."""
    weights = table.forgetting_weight.view(-1, 1, 1, 1)
    objective = table.loss + weights * table.forgetting.nan_to_num(0.0)
    gains = (1 - objective / table.base_loss.view(-1, 1, 1, 1)).flatten(2)
    best = gains.flatten(1).max(1).values
    worth = best > 0.02
    level = gains.max(2).values.argmax(1)[worth].float() + OCTAVES[0]
    print(f"{len(best)} tasks, {gains[0].numel()} cells each; {int(worth.sum())} with 2% to gain")
    print(f"best learning rate: {level.mean():+.1f} octaves from the default, sd {level.std():.1f}")
    exploded = table.loss.isinf().flatten(2).float().mean((0, 2))
    for octave, share in zip(OCTAVES, exploded.tolist(), strict=True):
        kept = gains[worth][:, octave - OCTAVES[0]].max(1).values / best[worth]
        median = float(kept.clamp(min=-1.0).median())
        print(f"  {octave:+d} octaves: {share:6.1%} explode, median share of the gain {median:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    found = families_of(asked.folder)
    families, tables = [f for f, _ in found], [Table.load(path) for _, path in found]
    table = Table.joined(tables)
    counts = [len(one.base_loss) for one in tables]
    tensors = {
        "loss_change": (table.loss - table.base_loss.view(-1, 1, 1, 1)).half(),
        "forgetting": table.forgetting.half(),
        "base_loss": table.base_loss.half(),
        "forgetting_weight": table.forgetting_weight.half(),
        "family": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).short(),
        "task": torch.tensor(list(chain(*map(seeds_of, families, counts)))).short(),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, asked.out / "table.safetensors")
    card = {
        "learning_rate_octaves_from_default": list(OCTAVES),
        "divergence_weight": list(DIVERGENCE_WEIGHTS),
        "batch_size_examples": [LEAST_BATCH * multiple for multiple in BATCH_MULTIPLES],
        "licence": LICENCE,
        "made_by": "python -m hpopt pretrain FOLDER, then python benchmarks/nano_table.py FOLDER",
        "settings": json.loads((asked.folder / "pretraining.json").read_text(encoding="utf-8")),
        "families": [described(family, path) for family, path in found],
    }
    (asked.out / "table.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    told(table)


if __name__ == "__main__":
    main()
