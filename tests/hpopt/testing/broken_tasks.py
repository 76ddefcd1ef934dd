"""Tasks that break one promise each, over points on a line and a model of two classes."""

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hpopt_envs import Data, Split, Task
from hpopt_envs.tasks import Reference, Rollouts, Writing


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


class Fine(Task):
    """Whether a number is above 0."""

    default_model = f"{__name__}:network"

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        x = torch.linspace(-1, 1, 900)[torch.randperm(900, generator=torch.Generator())]
        splits = [{"x": x[i::3, None].clone(), "y": (x[i::3] > 0).long()} for i in range(3)]
        return Data(splits[0], splits[1], splits[2])

    def losses(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return cross_entropy(model(batch["x"]), batch["y"], reduction="none")

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return self.losses(model, batch).sum()

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return {"losses": self.losses(model, batch)}

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"loss": outputs["losses"].mean().item()}


class FineReference(Fine, Reference, Writing):
    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(batch["x"])
        return logits, torch.ones(len(logits), dtype=torch.bool)

    def write(self, model: nn.Module, batch: Split) -> list[dict[str, str | float]]:
        signs = model(batch["x"]).argmax(1).tolist()
        return [
            {"prompt": f"{x:.2f}", "text": str(sign)}
            for x, sign in zip(batch["x"][:, 0].tolist(), signs, strict=True)
        ]


class FineRollouts(Fine, Rollouts):
    """Samples beside each point."""

    samples_per_example = 2

    def rollout(
        self,
        model: nn.Module,
        batch: Split,
        as_base: Callable[[], AbstractContextManager[None]],
    ) -> Split:
        twice = {name: tensor.repeat_interleave(2, dim=0) for name, tensor in batch.items()}
        return {**twice, "x": twice["x"] + 0.01 * torch.randn_like(twice["x"])}


class OtherData(Fine):
    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        data = super().load_data(model_source, sequence_length)
        return Data(
            data.train,
            data.test,
            {"x": data.test["x"] * random.SystemRandom().random(), "y": data.test["y"]},
        )


class SeededData(Fine):
    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        torch.manual_seed(0)
        return super().load_data(model_source, sequence_length)


class UnequalData(Fine):
    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        data = super().load_data(model_source, sequence_length)
        return Data({"x": data.train["x"], "y": data.train["y"][1:]}, data.test, data.validation)


class OtherWeights(Fine):
    def load_model(self, source: str, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.seed()
            return network()


class OtherPrepared(Fine):
    def prepare(self, model: nn.Module, data: Data) -> tuple[Data, float]:
        with torch.no_grad():
            next(model.parameters()).mul_(random.SystemRandom().random())
        return data, 0.0


class NegativeCost(Fine):
    def prepare(self, model: nn.Module, data: Data) -> tuple[Data, float]:
        return data, -1.0


class NoTokens(Fine):
    def example_tokens(self, split: Split) -> torch.Tensor:
        return torch.arange(len(split["x"]))


class TokensOfBatches(Fine):
    def example_tokens(self, split: Split) -> torch.Tensor:
        return torch.full((len(split["x"]),), len(split["x"]))


class MeanLoss(Fine):
    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return super().loss_sum(model, batch) / len(batch["x"])


class Infinite(Fine):
    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return super().loss_sum(model, batch) / 0.0


class InfiniteGradients(Fine):
    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        nothing: torch.Tensor = model(batch["x"]) * 0
        return super().loss_sum(model, batch) + nothing.sqrt().sum()


class Detached(Fine):
    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return super().loss_sum(model, batch).detach()


class NoisyLoss(Fine):
    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        return super().loss_sum(model, batch) * torch.rand(())


class CountsOnce(Fine):
    def loss_count(self, batch: Split) -> int:
        return 7


class PredictsMean(Fine):
    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return {"losses": super().predict(model, batch)["losses"].mean()}


class PredictTrains(Fine):
    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        next(model.parameters()).mul_(1.001)
        return super().predict(model, batch)


class PredictInTraining(Fine):
    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        outputs = super().predict(model, batch)
        model.train()
        return outputs


class ChangesBatch(Fine):
    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        batch["x"] += 1
        return super().predict(model, batch)


class Counts(Fine):
    calls = 0

    def predict(self, model: nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"losses": super().predict(model, batch)["losses"] + self.calls}


class NoObjective(Fine):
    objective = "accuracy"


class NoLoss(Fine):
    objective = "accuracy"

    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"accuracy": 0.5}


class NotANumber(Fine):
    def metrics(self, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
        return super().metrics(outputs) | {"share": float("nan")}


class Unmasked(FineReference):
    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits, mask = super().logits(model, batch)
        return logits, mask.long()


class Misshapen(FineReference):
    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits, mask = super().logits(model, batch)
        return logits, mask[:, None]


class Miscounted(FineReference):
    def logits_count(self, batch: Split) -> int:
        return 1


class CountsPairs(FineReference):
    """As many distributions as the mask says of whole batches alone."""

    def logits(self, model: nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits, mask = super().logits(model, batch)
        mask[0] = False
        return logits, mask

    def logits_count(self, batch: Split) -> int:
        return len(batch["x"]) - 1


class WritesLess(FineReference):
    def write(self, model: nn.Module, batch: Split) -> list[dict[str, str | float]]:
        return super().write(model, batch)[1:]


class WritesNoText(FineReference):
    def write(self, model: nn.Module, batch: Split) -> list[dict[str, str | float]]:
        return [{"prompt": row["prompt"]} for row in super().write(model, batch)]


class RollsOutOnce(FineRollouts):
    samples_per_example = 4


class Averages(FineRollouts):
    """Weighs by what it counted in calls before."""

    calls = 0.0

    def weigh(self, batch: Split, hyperparameters: Mapping[str, Any]) -> Split:
        self.calls += 1
        return {**batch, "weights": torch.full((len(batch["x"]),), self.calls)}


class TrainsAnew(Fine):
    """Its loss depends on how often it was asked for, once a hundred were."""

    calls = 0

    def loss_sum(self, model: nn.Module, batch: Split) -> torch.Tensor:
        self.calls += 1
        return super().loss_sum(model, batch) * max(1.0, self.calls / 20)
