"""The learning rate is found inside a run of TRL's `SFTTrainer`, of an adapter.

    python own_trl.py OUT

It needs TRL: `pip install hpopt[trl]`. `DPOTrainer` takes a `Controller` in the same way.
"""

import asyncio
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from datasets import Dataset  # type: ignore[import-untyped]
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

from hpopt.live import Controller
from hpopt_envs.models import load_model, load_tokenizer

if __name__ == "__main__":
    files = sorted(Path(asyncio.__file__).parent.glob("*.py"))
    parts = [part for file in files for part in file.read_text().split("\n\n") if part]
    model: Any = load_model("embedded", seed=0)
    trainer = SFTTrainer(
        model,
        SFTConfig(sys.argv[1], max_steps=40, learning_rate=3e-4, max_length=64, bf16=False),
        train_dataset=Dataset.from_dict({"text": parts}),
        processing_class=load_tokenizer("embedded"),
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"),
        callbacks=[Controller(retain=list(topics.values()))],
    )
    trainer.train()
