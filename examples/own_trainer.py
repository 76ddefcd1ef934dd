"""The learning rate is found inside a run of transformers' `Trainer`.

    python own_trainer.py OUT

A small model learns code, and must not forget prose. The learning rate is sixteen times too low.
"""

import asyncio
import sys
from pathlib import Path
from pydoc_data.topics import topics

from transformers import Trainer, TrainingArguments, default_data_collator

from hpopt.live import Controller
from hpopt_envs.models import load_model, load_tokenizer

LENGTH = 64  # tokens a row

if __name__ == "__main__":
    tokenizer = load_tokenizer("embedded")
    files = sorted(Path(asyncio.__file__).parent.glob("*.py"))
    ids = tokenizer("\n".join(file.read_text() for file in files))["input_ids"]
    rows = [ids[k : k + LENGTH] for k in range(0, len(ids) - LENGTH, LENGTH)]
    arguments = TrainingArguments(sys.argv[1], max_steps=60, learning_rate=7e-5, save_strategy="no")
    trainer = Trainer(
        load_model("embedded", seed=0),
        arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        processing_class=tokenizer,
        data_collator=default_data_collator,
        callbacks=[Controller(retain=list(topics.values()))],
    )
    trainer.train()
