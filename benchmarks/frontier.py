"""Reward against divergence, for four divergences over a sweep of β: python benchmarks/frontier.py.

Every run aligns the embedded model (task `align`, one learning rate, linear decay); its weights are
then judged on fresh samples of theirs and of the base model's. About a quarter of an hour on one
core. Rows go to benchmarks/frontier/runs.csv, one a run, and those that are there already aren't
run again; then the table is printed and docs/images/frontier.svg drawn.
"""

import csv
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hpopt_envs import models
from hpopt_envs.divergences.target import effective_sample_share, group_log_mean_exp
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.tasks.data import Split
from hpopt_envs.tasks.sampling import log_probability, token_logits

RUNS = Path(__file__).parent / "frontier" / "runs.csv"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "frontier.svg"
DIVERGENCES = ("reverse_kl", "jensen_shannon", "total_variation", "forward_kl")
WEIGHTS = (1.0, 0.3, 0.1, 0.03)
SEEDS = (0, 1, 2)
LEARNING_RATE = 1e-4
BATCH_SIZE = 32
SAMPLES = 2048
COLUMNS = (
    *("divergence", "divergence_weight", "seed", "reward", "kl_from_base", "kl_to_target"),
    *("kl_of_target", "distinct_2", "response_tokens"),
)


def run(env: FineTuneEnv, base: Split, divergence: str, weight: float, seed: int) -> dict[str, Any]:
    """Train once; return what came of it, divergences in nats a response."""
    env.reset(seed=seed)
    hyperparameters = {
        **HELD_SHAPE,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH_SIZE,
        "divergence_weight": weight,
        "divergence": divergence,
    }
    done = False
    while not done:
        _, _, done, _, info = env.train(hyperparameters)
    with TemporaryDirectory() as folder:
        env.save_weights(Path(folder))
        model = models.load_model(folder, 0).eval()
    own = samples(env, model)
    own["log_reference"] = likelihood(models.load_model("embedded", 0).eval(), own)
    log_partition = log_mean_exp(base["reward"] / weight)  # of a e^(r/β)
    target = base["log_policy"] + base["reward"] / weight - log_partition  # log p* of base samples
    share = (base["reward"] / weight).softmax(0)  # of p*, in base samples
    to_target = own["log_policy"] - own["log_reference"] - own["reward"] / weight + log_partition
    return {
        "divergence": divergence,
        "divergence_weight": weight,
        "seed": seed,
        "reward": float(own["reward"].mean()),
        "kl_from_base": float((own["log_policy"] - own["log_reference"]).mean()),
        "kl_to_target": float(to_target.mean()),
        "kl_of_target": float(share @ (target - likelihood(model, base))),
        "distinct_2": info["segment"].metrics["distinct_2"],
        "response_tokens": float(own["learnt"].sum(1).double().mean()),
    }


def log_mean_exp(values: torch.Tensor) -> torch.Tensor:
    return group_log_mean_exp(values, torch.zeros(len(values), dtype=torch.long))[0]


@torch.no_grad()
def samples(env: FineTuneEnv, model: Any) -> Split:
    """Fresh samples of a model, with their rewards and how likely it finds them."""
    task: Any = env.run.task  # type: ignore[attr-defined]
    rows: Split = task.load_data("embedded", None).train
    batch = {name: tensor[:SAMPLES] for name, tensor in rows.items()}
    torch.manual_seed(12345)
    rolled: Split = task.rollout(model, batch, nullcontext)
    return {**rolled, "reward": rolled["scores"][:, 0]}


@torch.no_grad()
def likelihood(model: Any, rolled: Split) -> torch.Tensor:
    """Log-probability of each response."""
    return log_probability(*token_logits(model, rolled))


def measure(path: Path) -> list[dict[str, Any]]:
    """Run what isn't in the file yet; return all rows."""
    path.parent.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    known = {(r["divergence"], float(r["divergence_weight"]), int(r["seed"])) for r in rows}
    torch.set_num_threads(1)
    env = make_env("align", max_divergence="none", validate_segments=False)
    base = samples(env, models.load_model("embedded", 0).eval())
    for seed in SEEDS:
        for weight in WEIGHTS:
            share = effective_sample_share(base["reward"] / weight, torch.zeros(SAMPLES).long())
            print(f"β={weight}: {float(share[0]) * SAMPLES:.0f} effective base samples", flush=True)
            for name in DIVERGENCES:
                if (name, weight, seed) in known:
                    continue
                rows.append(run(env, base, name, weight, seed))
                print(rows[-1], flush=True)
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
    return [{**row, **{c: float(row[c]) for c in COLUMNS[1:]}} for row in rows]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, as Markdown."""
    shown = [c for c in COLUMNS if c not in ("divergence", "divergence_weight", "seed")]
    lines = [
        f"| divergence | β | {' | '.join(shown)} |",
        "| --- " * (2 + len(shown)) + "|",
    ]
    for name in DIVERGENCES:
        for weight in WEIGHTS:
            mine = rows_of(rows, name, weight)
            cells = [f"{mean(row[column] for row in mine):.3f}" for column in shown]
            lines.append(f"| {name} | {weight:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rows_of(rows: Sequence[dict[str, Any]], name: str, weight: float) -> list[dict[str, Any]]:
    return [r for r in rows if r["divergence"] == name and r["divergence_weight"] == weight]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Reward, and distinct bigrams, over the divergence from the base model."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hpopt"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axis, column, label in (
        (axes[0], "reward", "mean reward"),
        (axes[1], "distinct_2", "distinct bigrams, share"),
    ):
        for name, marker in zip(DIVERGENCES, "osD^", strict=True):
            points = [
                (mean(r["kl_from_base"] for r in mine), mean(r[column] for r in mine))
                for weight in WEIGHTS
                if (mine := rows_of(rows, name, weight))
            ]
            (line,) = axis.plot(*zip(*points, strict=True), marker=marker, label=name)
            mine = [row for row in rows if row["divergence"] == name]
            axis.scatter(
                [r["kl_from_base"] for r in mine],
                [r[column] for r in mine],
                s=9,
                alpha=0.4,
                color=line.get_color(),
            )
        axis.set_xlabel("KL(model ‖ base), nats a response")
        axis.set_ylabel(label)
    axes[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    rows = measure(RUNS)
    print(table(rows))
    draw(rows, FIGURE)


if __name__ == "__main__":
    main()
