"""A task of your own: handwritten digits, 8 × 8 pixels, and a small convolutional network.

    python -m hpopt search --task own_task:Digits --trials 8 --trial-tokens 8192

from this folder. There is no text and no reference model here: a "token" is an image, and the
space is the shipped `plain`, learning rate and batch size. `hpopt.testing.check_task` says whether
a task keeps what `Task` promises.
"""

import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import nn
from torch.nn.functional import cross_entropy

from hpopt_envs import Data, Split, Task


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 6 * 6, 32), nn.ReLU(),
        nn.Dropout(0.1), nn.Linear(32, 10),
    )  # fmt: skip


class Digits(Task):
    """Which digit an image shows."""

    objective = "accuracy"
    maximize = True
    default_model = "own_task:network"  # what --model replaces

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (n, 1, 8, 8)
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        train, validation, test = (
            {"images": images[rows], "labels": labels[rows]}
            for rows in (order[600:], order[:300], order[300:600])
        )
        return Data(train, validation, test)

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return cross_entropy(model(batch["images"]), batch["labels"], reduction="sum")

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        logits = model(batch["images"])
        return {
            "losses": cross_entropy(logits, batch["labels"], reduction="none"),
            "right": (logits.argmax(1) == batch["labels"]).float(),
        }

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        losses, right = outputs["losses"].mean(), outputs["right"].mean()
        return {"loss": losses.item(), "accuracy": right.item()}
