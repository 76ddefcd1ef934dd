"""Real trainers, run with what `export` writes, and what is seen of their steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.envs.tiny import llama

TRAINERS = ("transformers", "trl")
ROWS = [
    {"input_ids": row}
    for row in torch.randint(16, (64, 8), generator=torch.manual_seed(0)).tolist()
]


class Seen:
    """The batches that a trainer collates, and the learning rate of each step."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.rates: list[float] = []

    def collate(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([row["input_ids"] for row in rows])
        self.batches.append(ids.tolist())
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def train(
    to: str,
    make: Any,
    out: Path,
    arguments: dict[str, Any],
    model: torch.nn.Module | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> tuple[Any, Seen]:
    """Run a trainer; `make` is its class, or None for the library's own."""
    if to == "trl":
        from trl import SFTConfig as Arguments
        from trl import SFTTrainer as Trainer
    else:
        from transformers import Trainer
        from transformers import TrainingArguments as Arguments
    from datasets import Dataset
    from transformers import TrainerCallback

    from hpopt_envs.models import load_tokenizer

    seen = Seen()

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
            seen.rates.append(optimizer.param_groups[0]["lr"])

    fixed = {"use_cpu": True, "bf16": False, "save_strategy": "no", "disable_tqdm": True}
    given = {"num_train_epochs": 2, "logging_steps": 1}
    cut = {"packing": False} if to == "trl" else {}  # rows are sequences already
    trainer = (make or Trainer)(
        llama() if model is None else model,
        Arguments(str(out), **fixed | given | arguments | cut),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=load_tokenizer("embedded"),
        data_collator=seen.collate,
        callbacks=[*callbacks, Watch()],
        **options,
    )
    trainer.train()
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == seen.rates
    return trainer, seen
