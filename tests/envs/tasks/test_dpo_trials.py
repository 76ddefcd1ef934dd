"""Direct preference optimization as a task: its base model, its training, what it refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs import make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_model
from hpopt_envs.tasks import load_task
from tests.envs.tasks.preferences import ROWS, distributions, sides, write_pairs


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return write_pairs()


def test_the_base_model_prefers_nothing(pairs: str) -> None:
    env = make_env("dpo", data={"train_file": pairs}, segment_tokens=1408, trial_tokens=2816)
    metrics = env.facts.base_metrics
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics["accuracy"] == 0.5
    assert metrics["divergence"] == pytest.approx(0, abs=1e-6)
    assert env.facts.max_divergence == 0.5


def test_training_teaches_what_is_preferred_and_the_divergence_is_measured_on_held_out_pairs(
    pairs: str, tmp_path: Path
) -> None:
    env = make_env("dpo", data={"train_file": pairs}, segment_tokens=1408, trial_tokens=2816)
    env.reset(seed=0)
    for _ in range(2):
        held = {"learning_rate": 1e-3, "batch_size": 8, "divergence_weight": 0.1}
        *_, info = env.train({**held, "divergence": "reverse_kl"})
    metrics = info["segment"].metrics
    assert metrics["accuracy"] == 1.0
    assert metrics["margin"] > 0.5
    env.save_weights(tmp_path / "best")
    trained, base = load_model(str(tmp_path / "best"), 0).eval(), load_model("embedded", 0).eval()
    task = load_task("dpo", {"train_file": pairs})
    validation = task.load_data("embedded", None).validation
    values = []
    for row in range(6):
        for side in sides(validation, row):
            q, p = (distributions(m, *side) for m in (base, trained))
            values.append((q.exp() * (q - p)).sum(-1))  # KL(base ‖ model) of each token
    assert metrics["divergence"] == pytest.approx(float(torch.cat(values).mean()), rel=1e-3)
    samples = json.loads((tmp_path / "best" / "samples.json").read_text())["rows"]
    asked = {row["prompt"]: row["chosen"] for row in ROWS}
    assert len(samples) == 6
    assert all(asked[row["prompt"]] == row["reference"] for row in samples)
    assert sum("yes" in row["after"] for row in samples) > sum(
        "yes" in r["before"] for r in samples
    )


HELD = {"learning_rate": 1e-3, "batch_size": 8}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({}, "space 'held': must have divergence_weight"),
        ({"divergence_weight": 0.0}, "every divergence_weight must be above 0, but got 0.0"),
        (
            {"divergence_weight": 0.1, "final_divergence_weight": 0.0},
            "every final_divergence_weight must be above 0, but got 0.0",
        ),
        *(
            (
                {"divergence_weight": 0.1, "divergence": name},
                "every divergence must be among reverse_kl, forward_kl, jensen_shannon, alpha, "
                f"but got '{name}'",
            )
            for name in ("total_variation", "chi_squared")
        ),
        (
            {"divergence_weight": 0.1, "divergence": "alpha", "divergence_alpha": 1.5},
            "every divergence_alpha must be at most 1, but got 1.5",
        ),
        (
            {"divergence_weight": 0.1, "label_smoothing": 0.5},
            "every label_smoothing must be below 0.5, but got 0.5",
        ),
    ],
)
def test_hyperparameters_that_the_loss_cannot_take_are_refused(
    held: dict[str, Any], words: str
) -> None:
    parameter = {"name": "weight_decay", "type": "float", "low": 0.0, "high": 0.1, "default": 0.0}
    space = {"name": "held", "parameters": [parameter]}
    with pytest.raises(WorldError, match=words):
        make_env("dpo", space=space, fixed=HELD | held)
