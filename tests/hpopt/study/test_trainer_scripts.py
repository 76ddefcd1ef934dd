"""Scripts of other people's trainers, swept as they are: a plain Trainer's, and `trl sft`."""

import json
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from hpopt_envs.models import load_model, load_tokenizer
from hpopt_envs.records import Outcome
from tests.hpopt.commands import settings
from tests.hpopt.searching import search

TRAINER = """
import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling
from transformers import Trainer, TrainingArguments

model, rows, rate, size, seed, folder = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
data = load_dataset(rows).map(
    lambda row: tokenizer(row["text"], truncation=True, max_length=64), remove_columns=["text"]
)
arguments = TrainingArguments(
    folder, learning_rate=float(rate), per_device_train_batch_size=int(size), seed=int(seed),
    max_steps=6, eval_strategy="steps", eval_steps=3, save_steps=3, use_cpu=True, report_to="none",
)
Trainer(
    AutoModelForCausalLM.from_pretrained(model), arguments,
    DataCollatorForLanguageModeling(tokenizer, mlm=False), data["train"], data["test"],
).train()
"""
TRL = (
    "--per_device_train_batch_size {batch_size} --learning_rate {learning_rate} --seed {seed} "
    "--output_dir {folder} --max_steps 6 --eval_strategy steps --eval_steps 3 --save_steps 3 "
    "--use_cpu --bf16 False --report_to none --max_length 64 --include_num_input_tokens_seen True"
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the embedded model, as transformers has it, and a data set of rows."""
    load_model("embedded", 0).save_pretrained(tmp_path / "model")
    load_tokenizer("embedded").save_pretrained(tmp_path / "model")
    texts = [{"text": topics[name][:300]} for name in sorted(topics)][:48]
    (tmp_path / "rows").mkdir()
    for split, rows in (("train", texts[:40]), ("test", texts[40:])):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / "rows" / f"{split}.jsonl").write_text(lines)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def swept(folder: Path, command: str) -> Any:
    asked = settings(folder, trials=2, confirm_seeds=0)
    result = search(folder, **asked | {"command": command})
    for trial in result.trials:
        assert trial.outcome is Outcome.COMPLETED, trial.reason
        losses = [segment.metrics["eval_loss"] for segment in trial.segments]
        assert len(losses) == 3  # two evaluations, and the end
        assert trial.value == losses[1] == losses[2] != losses[0]
    assert len({trial.value for trial in result.trials}) == 2
    return result


@pytest.mark.slow
def test_a_plain_trainers_state_is_read(desk: Path) -> None:
    (desk / "trainer.py").write_text(TRAINER)
    script = f"{sys.executable} {desk}/trainer.py {desk}/model {desk}/rows"
    result = swept(desk, f"{script} {{learning_rate}} {{batch_size}} {{seed}} {{folder}}")
    assert result.history.cost_unit == "seconds"


@pytest.mark.slow
def test_trl_sft_is_swept_unchanged_and_its_tokens_are_the_cost(desk: Path) -> None:
    program = Path(sys.executable).with_name("trl")
    data = f"--model_name_or_path {desk}/model --dataset_name {desk}/rows"
    result = swept(desk, f"{program} sft {data} {TRL}")
    assert result.history.cost_unit == "tokens"
    for trial in result.trials:
        size = trial.path[-1].hyperparameters["batch_size"]
        assert trial.cost == trial.trained_tokens <= 6 * int(size) * 64
        assert trial.cost > 0
