"""Whether a base model knows what it is to retain, and what its penalty then begins with."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical

from hpopt_envs import make_env
from hpopt_envs.models import load_model
from hpopt_envs.tasks import load_task
from hpopt_envs.tasks.retained import sample_text
from hpopt_envs.training.surprise import retained_surprise


def test_surprise_is_the_loss_over_the_entropy() -> None:
    task, model = load_task("lm"), load_model("embedded", seed=0).eval()
    data = task.load_data("embedded", None)
    assert data.retained_validation is not None
    found, cost = retained_surprise(task, model, data, torch.float32)
    step = len(data.retained_validation["input_ids"]) // 64
    ids = data.retained_validation["input_ids"][::step]
    with torch.no_grad():
        output = model(ids, labels=ids)
    entropy = Categorical(logits=output.logits[:, :-1]).entropy().mean()
    assert found == pytest.approx(float(output.loss / entropy), rel=1e-4)
    assert cost == pytest.approx(2 * ids.numel() / 3)


def test_text_that_the_model_drew_is_no_surprise_to_it() -> None:
    task, model = load_task("lm"), load_model("embedded", seed=0)
    data = task.load_data("embedded", None)
    drawn, _ = sample_text(model, 64)
    own = replace(data, **{f"retained_{name}": split for name, split in drawn.items()}, hash="")
    found, _ = retained_surprise(task, model, own, torch.float32)
    assert found == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("task", "settings", "expected"),
    [
        ("lm", {}, 1.05),
        ("lm", {"forgetting_weight": 0.0}, 0.3),
        ("lm", {"forgetting_weight": 20.0}, 10.0),
        ("lm-shallow", {}, 0.1),  # half of a model: training lowers its loss on prose
        ("text2text", {}, 0.45),  # 10 points of 100 a nat
        ("classify", {}, 0.1),  # nothing is retained: the penalty is on what is to be learnt
    ],
)
def test_the_default_of_the_penalty(task: str, settings: dict[str, float], expected: float) -> None:
    env = make_env(task, **settings)  # type: ignore[arg-type]
    assert env.space.defaults()["divergence_weight"] == expected
    told = [note for note in env.facts.notes if "divergence_weight" in note]
    cut = "The default of divergence_weight would be 30, but its range ends at 10."
    assert told == ([cut] if expected == 10 else [])
