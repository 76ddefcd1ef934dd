"""TRL's trainers, on the embedded model: they end well, with a schedule."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt.live import Controller
from hpopt_envs.models import load_model, load_tokenizer
from tests.hpopt.live.runs import FIXED, probes, rates

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

STEPS = 24
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
TEXTS = [" ".join(WORDS[(k * n + n) % 10] for k in range(12)) for n in range(64)]
ASKED: dict[str, Any] = FIXED | {
    "per_device_train_batch_size": 2,
    "max_steps": STEPS,
    "logging_steps": 1,
    "bf16": False,
    "max_length": 64,
}
# Of trl's own arguments, under a newer transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")


def check(ran: Any, out: Path) -> None:
    """The run ended as it should, and TRL's own columns are whole."""
    assert len(rates(ran)) == STEPS
    assert all(math.isfinite(at["loss"]) for at in ran.state.log_history if "loss" in at)
    assert all(math.isfinite(at["hpopt/probe_loss"]) for at in probes(ran))
    assert probes(ran)[-1]["hpopt/probe_loss"] < probes(ran)[0]["hpopt/probe_loss"]
    metrics = {"entropy", "num_tokens"}
    assert all(metrics <= set(at) for at in ran.state.log_history if "loss" in at)
    assert not any(metrics & set(at) for at in probes(ran))
    schedule = json.loads((out / "schedule.json").read_text())
    assert schedule["configuration"] == "controller"
    assert schedule["segments"][-1]["until_fraction"] == 1.0


def test_supervised_fine_tuning_of_an_adapter(tmp_path: Path) -> None:
    from peft import LoraConfig

    model: Any = load_model("embedded", seed=0)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    ran = trl.SFTTrainer(
        model,
        trl.SFTConfig(str(tmp_path), learning_rate=1e-3, **ASKED),
        train_dataset=datasets.Dataset.from_dict({"text": TEXTS}),
        processing_class=load_tokenizer("embedded"),
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]),
        callbacks=[Controller(["It was the best of times, it was the worst of times."] * 2)],
    )
    ran.train()
    check(ran, tmp_path)
    assert all("hpopt/probe_forgetting" in at for at in probes(ran))
    after = dict(ran.model.base_model.model.named_parameters())
    for name, tensor in before.items():  # what is kept and put back is the adapter alone
        assert torch.equal(
            tensor, after.get(name, after.get(name.replace("proj.", "proj.base_layer.")))
        )


def test_preferences(tmp_path: Path) -> None:
    model: Any = load_model("embedded", seed=0)
    pairs = {
        "prompt": [text.rsplit(" ", 6)[0] + " " for text in TEXTS],
        "chosen": [" ".join(text.split()[6:]) for text in TEXTS],
        "rejected": [" ".join(text.split()[:5:-1]) for text in TEXTS],
    }
    ran = trl.DPOTrainer(
        model,
        ref_model=None,
        args=trl.DPOConfig(str(tmp_path), learning_rate=1e-4, **ASKED),
        train_dataset=datasets.Dataset.from_dict(pairs),
        processing_class=load_tokenizer("embedded"),
        callbacks=[Controller()],
    )
    ran.train()
    check(ran, tmp_path)
    assert probes(ran)[0]["hpopt/probe_loss"] == pytest.approx(math.log(2), abs=0.05)
