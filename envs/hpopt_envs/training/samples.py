"""What the model writes before and after training, for people to read."""

import json
from pathlib import Path

import torch

from ..tasks.base import Task
from ..tasks.data import Split
from ..tasks.roles import Writing
from .weights import Weights

FILE = "samples.json"
EXAMPLES = 8
SEED = 0


def write_samples(task: Task, weights: Weights, split: Split, folder: Path) -> None:
    """Write `samples.json` beside saved weights; nothing for a task that writes nothing.

    It has "rows", each with "prompt", "before" (the base model's), "after", and, where the task
    gives them, "reference", "score_before" and "score_after"; and "score", what that is.

    Args:
        task: says what is written.
        weights: the model, pointed at what it became.
        split: the first examples of it are shown.
        folder: of the weights.
    """
    if not isinstance(task, Writing):
        return
    examples = {name: tensor[:EXAMPLES] for name, tensor in split.items()}
    model = weights.model.eval()
    device = next(model.parameters()).device
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(SEED)
        after = task.write(model, examples)
        torch.manual_seed(SEED)
        with weights.as_base():
            before = task.write(model, examples)
    if not after:
        return
    rows = []
    for old, new in zip(before, after, strict=True):
        row = {"prompt": new["prompt"], "before": old["text"], "after": new["text"]}
        if "reference" in new:
            row["reference"] = new["reference"]
        if "score" in new:
            row |= {"score_before": old["score"], "score_after": new["score"]}
        rows.append(row)
    document = {"score": task.score_name, "rows": rows}
    (folder / FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
