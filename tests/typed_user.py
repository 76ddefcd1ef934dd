"""What a user writes. Nothing runs it: scripts/check type-checks it strictly, outside the project.

A wrong name and a wrong type must be errors: an ignored line without one is one itself.
"""

import torch
from torch import nn

import hpopt
from hpopt_envs import Data, Split, Task


class Own(Task):
    objective = "loss"
    default_model = "user:network"

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        split = {"x": torch.ones(8, 1)}
        return Data(split, split, split)

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        loss: torch.Tensor = model(batch["x"]).square().sum()
        return loss

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return {"losses": model(batch["x"]).square().sum(1)}

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"loss": outputs["losses"].mean().item()}


def network() -> nn.Module:
    return nn.Linear(1, 1)


def main() -> None:
    result = hpopt.search(task="user:Own", trials=4, baseline={"learning_rate": 1e-3})
    values: list[float | None] = [trial.value for trial in result.trials]
    best: float | None = result.best_value
    rate = result.schedule[0]["learning_rate"]
    print(values, best, rate, result.recommended, result.cost, result.folder.name)
    print(hpopt.__version__, result.to_dataframe(), hpopt.resume(result.name, trials=8))
    hpopt.search(trails=4)  # type: ignore[call-arg]
    hpopt.search(trials="4")  # type: ignore[arg-type]
