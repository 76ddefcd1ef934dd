"""The linear probe that a classifier's new head starts as, against scikit-learn."""

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from hpopt_envs.tasks import Split, probe
from hpopt_envs.tasks.probe import fit_head
from tests.envs.words import mask_of, small_task


class Bag(torch.nn.Module):
    """Mean of embeddings, and a head."""

    def __init__(self, classes: int, bias: bool, end: str = "linear") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(1024, 12)
        self.inner = torch.nn.Linear(12, classes)
        self.head = torch.nn.Linear(12, classes, bias=bias)
        self.end = end

    def features(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.embed(ids) * mask[..., None]
        return embedded.sum(1) / mask.sum(1, keepdim=True)

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = self.features(ids, attention_mask)
        logits: torch.Tensor = self.inner(features) if self.end == "inner" else self.head(features)
        return logits.tanh() if self.end == "tanh" else logits


def bag_logits(model: Bag) -> Any:
    return lambda batch: model(batch["input_ids"][:, : int(batch["length"].max())], mask_of(batch))


def without(split: Split, label: int) -> Split:
    rows = split["label"] != label
    return {name: tensor[rows] for name, tensor in split.items()}


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("missing", [None, 0, 1])
def test_the_head_is_the_logistic_regression_of_scikit_learn(
    bias: bool, balanced: bool, missing: int | None
) -> None:
    data = small_task().load_data("embedded", None)
    train = data.train if missing is None else without(data.train, missing)
    model = Bag(3, bias)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert fit_head(model, 3, train, bag_logits(model), balanced) == int(train["length"].sum())
    longest = int(train["length"].max())
    features = model.features(train["input_ids"][:, :longest], mask_of(train)).double().numpy()
    theirs = LogisticRegression(
        C=probe.STRENGTH / features.var(0, ddof=1).mean(),
        fit_intercept=bias,
        class_weight="balanced" if balanced else None,
        max_iter=1000,
    ).fit(features, train["label"].numpy())
    logits = bag_logits(model)(train)
    known = torch.from_numpy(theirs.classes_)
    probabilities = logits[:, known].double().softmax(1)
    torch.testing.assert_close(
        probabilities, torch.from_numpy(theirs.predict_proba(features)), atol=1e-5, rtol=1e-4
    )
    assert set(logits.argmax(1).tolist()) <= set(known.tolist())
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed == {"head.weight", "head.bias"} - (set() if bias else {"head.bias"})


def test_a_class_may_be_missing_among_the_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_task().load_data("embedded", None)
    rows = data.train["label"].sort(descending=True, stable=True).indices
    train = {name: tensor[rows] for name, tensor in data.train.items()}
    monkeypatch.setattr(probe, "EXAMPLES", 80)
    model = Bag(3, bias=True)
    assert fit_head(model, 3, train, bag_logits(model), False) == int(train["length"][:80].sum())
    assert not bool(model.head.weight[0].any())
    assert bool(model.head.weight[1].any())
    monkeypatch.setattr(probe, "EXAMPLES", 20)  # all of one class
    before = model.head.weight.clone()
    assert fit_head(model, 3, train, bag_logits(model), False) == int(train["length"][:20].sum())
    assert torch.equal(model.head.weight, before)


@pytest.mark.parametrize("end", ["tanh", "inner"])
def test_a_model_whose_logits_are_not_a_linear_layers_keeps_its_weights(end: str) -> None:
    data = small_task().load_data("embedded", None)
    model = Bag(3, bias=True, end=end)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_head(model, 3, data.train, bag_logits(model), balanced=False)
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
