"""Forward passes in bfloat16 find what those in float32 do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs import make_env
from hpopt_envs.training.weights import Structure, Weights
from tests.envs.tiny import llama

TEXTS = [f"{'total ' * (i % 3)}{i} of {i * 7 % 31}" for i in range(160)]
ROWS = [
    {
        "text": text,
        "label": text.startswith("total"),
        "prompt": f"{text}\n",
        "completion": text[::-1],
        "chosen": text.upper(),
        "rejected": f"{text} {'and' * (i % 4)}",
    }
    for i, text in enumerate(TEXTS)
]
SETTINGS: dict[str, dict[str, Any]] = {
    "lm": {"prompt_column": "prompt"},
    "lm-lora": {"prompt_column": "prompt"},
    "classify": {},
    "text2text": {},
    "align": {"reward": "length:5", "max_new_tokens": 12},
    "dpo": {},
}


def trained(task: str, precision: str, file: str) -> tuple[dict[str, float], float]:
    """The base model's metrics, and the divergence of one that was trained."""
    data = {"train_file": file, **SETTINGS[task]}
    env = make_env(task, data=data, precision=precision)
    env.reset(seed=0)
    asked = {"learning_rate": 3e-3, "batch_size": 8, "divergence_weight": 0.1}
    *_, info = env.train(asked)
    return dict(env.facts.base_metrics), info["segment"].metrics["divergence"]


@pytest.mark.parametrize("task", SETTINGS)
def test_a_model_is_compared_with_its_base_as_in_float32(task: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    file = str(tmp_path / "rows.jsonl")
    exact, far = trained(task, "float32", file)
    base, moved = trained(task, "bfloat16", file)
    assert base["divergence"] == pytest.approx(0.0, abs=1e-4)
    if task != "align":  # whose samples differ
        for name in {"loss", "accuracy", "margin", "macro_f1"} & exact.keys():
            assert base[name] == pytest.approx(exact[name], rel=0.01, abs=1e-3), name
    assert far > 0.01
    assert moved == pytest.approx(far, rel=0.5 if task == "align" else 0.1)


@torch.no_grad()
def test_the_reference_is_not_what_autocast_kept_of_the_policy() -> None:
    torch.manual_seed(0)
    model = llama()
    weights = Weights(model)
    ids = torch.arange(8)[None]
    structure = Structure()
    weights.use_base(structure)
    tensors = weights.begin(structure, 0)
    with torch.autocast("cpu", torch.bfloat16):
        base = model(ids).logits
    weights.use(structure, {name: t + torch.randn_like(t) for name, t in tensors.items()})
    with torch.autocast("cpu", torch.bfloat16):
        policy = model(ids).logits
        with weights.as_base():
            assert torch.equal(model(ids).logits, base)
        assert torch.equal(model(ids).logits, policy)
