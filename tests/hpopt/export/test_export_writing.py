"""What `export` makes of tasks that write: `DPOTrainer`'s arguments, and reasons for the others."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpopt.errors import StudyError
from hpopt.export import export
from tests.hpopt.export.export_study import HELD, exported

HELD_TO = HELD | {"divergence_weight": 0.25}
FORMS = {  # here: trl's name
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "jensen_shannon": "js_divergence",
    "alpha": "alpha_divergence",
}
PAIRS = [{"prompt": f"Is {i} a number?\n", "chosen": " yes", "rejected": " no"} for i in range(32)]
TARGET = "no trainer minimises a divergence from a target distribution"
NO_PAIRS = "Trainer has no loss over pairs of responses"

# Names that trl and peft use, and transformers 5.23 has changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")

Study = Callable[..., str]


@pytest.mark.parametrize(
    ("task", "to", "changes", "reason"),
    [
        ("text2text", "trl", {}, "SFTTrainer trains no encoder-decoders"),
        ("align", "transformers", {}, TARGET),
        ("align", "trl", {}, TARGET),
        ("dpo", "transformers", {}, NO_PAIRS),
        ("dpo", "trl", {"label_smoothing": 0.1}, "no label smoothing"),
        ("dpo", "trl", {"dropout": 0.1}, "turns dropout off"),
        ("dpo", "trl", {"final_divergence_weight": 0.5}, "the same in the whole run"),
    ],
)
def test_what_a_trainer_has_no_loss_for_is_refused_with_the_reason_and_json_has_it(
    study: Study, task: str, to: str, changes: dict[str, Any], reason: str
) -> None:
    held = HELD_TO | changes
    runs = study([held], task=task)
    with pytest.raises(StudyError, match=f"^export: --to {to} can't .*{reason}") as refused:
        export("mine", runs, to, None)
    assert "\n" not in str(refused.value)
    (path,) = export("mine", runs, "json", None)
    assert json.loads(path.read_text())["segments"][0]["hyperparameters"] == held


@pytest.mark.parametrize("name", ["divergence_weight", "batch_size"])
def test_what_dpo_holds_and_the_search_changed_is_refused(study: Study, name: str) -> None:
    runs = study([HELD_TO, HELD_TO | {name: 4}], task="dpo")
    with pytest.raises(StudyError, match="is the same in the whole run"):
        export("mine", runs, "trl", None)


@pytest.mark.parametrize("divergence", FORMS)
def test_dpo_is_held_to_its_reference_as_in_the_search(
    study: Study, tmp_path: Path, divergence: str
) -> None:
    """That trl's loss is the search's, given these, is in tests/envs/test_dpo.py."""
    asked = {"divergence": divergence, "divergence_alpha": -0.7, "dropout": 0.0}
    module = exported(study([HELD_TO | asked], task="dpo"), "trl")
    from trl import DPOConfig

    config = DPOConfig(str(tmp_path), use_cpu=True, **module.ARGUMENTS)
    assert config.beta == 0.25
    assert config.f_divergence_type == FORMS[divergence]
    assert divergence != "alpha" or config.f_alpha_divergence_coef == -0.7
    assert (config.loss_type, config.label_smoothing) == (["sigmoid"], 0.0)
    assert config.disable_dropout
    assert config.per_device_train_batch_size == 8


def test_dpo_trains_with_an_adapter_and_rates_that_change(study: Study, tmp_path: Path) -> None:
    held = HELD_TO | {"divergence": "jensen_shannon", "lora_rank": 2}
    runs = study([held | {"learning_rate": rate} for rate in (0.01, 0.002)], task="dpo")
    module = exported(runs, "trl")
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from hpopt_envs.models import load_model, load_tokenizer

    trainer = DPOTrainer(
        module.prepare(load_model("embedded", seed=0), load_tokenizer("embedded")),
        args=DPOConfig(
            str(tmp_path),
            num_train_epochs=1,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            gradient_checkpointing=False,
            **module.ARGUMENTS,
        ),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=load_tokenizer("embedded"),
        callbacks=[module.LearningRate()],
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["learning_rate"] for entry in logged] == [0.01, 0.01, 0.002, 0.002]
    assert logged[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)  # it is its reference still
    assert logged[-1]["loss"] < logged[0]["loss"]
