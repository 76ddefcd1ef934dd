"""Real trainers on models that train in milliseconds, and what they came to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

FIXED = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
STEPS = 60
RATE = 0.02  # of the tiny model, about where it learns best


def words(count: int = 256, seed: int = 0) -> list[dict[str, list[int]]]:
    """Rows of eight words, each of which follows from the one before it, mostly."""
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(16, (count,), generator=generator)]
    for _ in range(7):
        noise = torch.randint(16, (count,), generator=generator)
        follows = torch.rand(count, generator=generator) < 0.8
        ids.append(torch.where(follows, (3 * ids[-1] + 1) % 16, noise))
    rows = torch.stack(ids, 1).tolist()
    return [{"input_ids": row, "labels": row} for row in rows]


def tiny() -> torch.nn.Module:
    """A model of one block, with the same weights every time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def arguments(out: Path, **changes: Any) -> TrainingArguments:
    given: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "learning_rate": RATE,
        "max_steps": STEPS,
        "logging_steps": 1,
    }
    return TrainingArguments(str(out), **(FIXED | given | changes))


def trainer(
    out: Path, callbacks: Sequence[Any], *, of: Any = Trainer, model: Any = None, **changes: Any
) -> Any:
    """A trainer that hasn't trained yet; `changes` are of its arguments."""
    own = {"train_dataset": words()}
    for name in ("optimizers", "train_dataset", "processing_class", "data_collator"):
        if name in changes:
            own[name] = changes.pop(name)
    return of(
        tiny() if model is None else model, arguments(out, **changes), callbacks=callbacks, **own
    )


def rates(ran: Any) -> list[float]:
    """The learning rate of each step, as the trainer logged it."""
    return [entry["learning_rate"] for entry in ran.state.log_history if "loss" in entry]


def probes(ran: Any) -> list[dict[str, float]]:
    """What the controller logged."""
    return [entry for entry in ran.state.log_history if "hpopt/objective" in entry]


def weights(ran: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in ran.model.state_dict().items()}
