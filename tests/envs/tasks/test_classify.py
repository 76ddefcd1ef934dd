"""Classification against scikit-learn, torch and transformers, on small data and models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score  # type: ignore[import-untyped]
from sklearn.utils.class_weight import compute_class_weight  # type: ignore[import-untyped]
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
)

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.tasks import Split
from hpopt_envs.tasks.classify import Classification
from tests.envs.words import SPLITS, mask_of, small_task, write_csv


def part(split: Split, size: int) -> Split:
    return {name: tensor[:size] for name, tensor in split.items()}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> FineTuneEnv:
    """On files of a user's."""
    folder = tmp_path_factory.mktemp("files")
    data = {
        f"{name}_file": write_csv(folder / f"{name}.csv", rows) for name, rows in SPLITS.items()
    }
    return make_env("classify", data=data, segment_tokens=1200, trial_tokens=2400)


def outputs_of(predicted: Any, label: Any) -> dict[str, torch.Tensor]:
    return {
        "loss": torch.ones(len(label)),
        "predicted": torch.as_tensor(predicted),
        "label": torch.as_tensor(label),
    }


@pytest.mark.parametrize("seed", range(5))
def test_f1_and_accuracy_are_those_of_scikit_learn(seed: int) -> None:
    task = small_task()
    task.labels = list("abcde")
    draw = np.random.default_rng(seed)
    label = draw.choice(5, 30, p=[0.6, 0.2, 0.2 - 0.05 * (seed % 2), 0.05 * (seed % 2), 0])
    predicted = np.where(draw.random(30) < 0.5, label, draw.integers(0, 3 + seed % 3, 30))
    metrics = task.metrics(outputs_of(predicted, label))
    options: Any = {"zero_division": 0.0}
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(label, predicted, average="macro", **options)
    )
    assert metrics["accuracy"] == pytest.approx(accuracy_score(label, predicted))
    for number, name in enumerate(task.labels):
        alone = f1_score(label == number, predicted == number, **options)
        assert metrics[f"f1_{name}"] == pytest.approx(alone)


def test_f1_and_accuracy_disagree_about_a_model_that_knows_the_majority_alone() -> None:
    task = small_task()
    task.labels = ["no", "yes"]
    metrics = task.metrics(outputs_of([0] * 100, [0] * 90 + [1] * 10))
    assert metrics == pytest.approx(
        {"loss": 1, "accuracy": 0.9, "macro_f1": 9 / 19, "f1_no": 18 / 19, "f1_yes": 0}
    )


@torch.no_grad()
def test_logits_are_those_that_transformers_gives_each_text_alone(source: str) -> None:
    task = small_task()
    data = task.load_data(source, None)
    model: Any = task.load_model(source, seed=0).eval()
    batch = part(data.validation, 8)
    logits, mask = task.logits(model, batch)
    assert (logits.shape, mask.tolist()) == ((8, 3), [True] * 8)
    garbage = {**batch, "input_ids": batch["input_ids"].clone()}
    for row, length in enumerate(batch["length"].tolist()):
        alone = model(batch["input_ids"][row : row + 1, :length]).logits
        torch.testing.assert_close(logits[row : row + 1], alone)
        if source != "embedded":  # causal models of transformers look for padding
            garbage["input_ids"][row, length:] = 5 + row
    torch.testing.assert_close(task.logits(model, garbage)[0], logits)
    theirs = model(
        garbage["input_ids"][:, : int(batch["length"].max())],
        attention_mask=mask_of(batch),
        labels=batch["label"],
    ).loss
    torch.testing.assert_close(task.loss_sum(model, batch) / task.loss_count(batch), theirs)


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_balanced_weights_are_those_of_scikit_learn_in_the_loss_of_torch(smoothing: float) -> None:
    task, plain = small_task(class_weights="balanced"), small_task()
    data = task.load_data("embedded", None)
    plain.load_data("embedded", None)
    model: Any = task.load_model("embedded", seed=0).eval()
    labels = data.train["label"]
    weight = torch.tensor(
        compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    ).float()
    for split in (data.train, part(data.train, 7)):
        logits, label = task.logits(model, split)[0], split["label"]
        losses = torch.nn.functional.cross_entropy(
            logits, label, reduction="none", label_smoothing=smoothing
        )
        ours = task.loss_sum(model, split, label_smoothing=smoothing)
        torch.testing.assert_close(ours, (weight[label] * losses).sum())
        if not smoothing:
            # Torch divides by the sum of weights, which over the training set is its size.
            theirs = torch.nn.functional.cross_entropy(logits, label, weight)
            torch.testing.assert_close(ours / weight[label].sum(), theirs)
        # Evaluation knows no weights.
        torch.testing.assert_close(task.predict(model, split), plain.predict(model, split))
    assert float(weight[labels].mean()) == pytest.approx(1)


@torch.no_grad()
def test_a_probe_knows_more_than_a_new_head(source: str) -> None:
    task = small_task()
    data = task.load_data(source, None)
    model: Any = task.load_model(source, seed=0).eval()
    new = task.metrics(task.predict(model, data.train))
    same, cost = task.prepare(model, data)
    assert same is data
    assert cost == pytest.approx(int(data.train["length"].sum()) / 3)
    fitted = task.metrics(task.predict(model, data.train))
    assert fitted["loss"] < min(new["loss"], task.chance_loss) - 0.1
    assert fitted["macro_f1"] > new["macro_f1"]


@pytest.mark.parametrize("ending", ["", "<|endoftext|>"])
def test_a_probe_finds_the_token_that_a_causal_model_looks_at(ending: str) -> None:
    # Behind the last word there may be tokens that transformers takes for padding; and a head of
    # zeros gives all tokens the same logits.
    texts, labels = SPLITS["train"]
    rows = SPLITS | {"train": ([text + ending for text in texts], labels)}
    heads = []
    for task, zero in ((Classification(embedded=lambda: rows), not ending), (small_task(), False)):
        data = task.load_data("embedded", None)
        model: Any = task.load_model("embedded", seed=0)
        if zero:
            torch.nn.init.zeros_(model.score.weight)
        task.prepare(model, data)
        heads.append(model.score.weight)
    torch.testing.assert_close(*heads, atol=1e-4, rtol=1e-3)


def test_a_head_for_other_classes_makes_room(encoders: dict[str, str]) -> None:
    assert BertForSequenceClassification.from_pretrained(encoders["bert"]).num_labels == 2
    task = small_task()
    task.load_data(encoders["bert"], None)
    model: Any = task.load_model(encoders["bert"], seed=0)
    assert model.classifier.out_features == 3
    assert model.config.id2label == {0: "file", 1: "sort", 2: "sum"}


def test_a_short_trial_improves_f1_and_repeats(env: FineTuneEnv) -> None:
    base = env.facts.base_metrics
    assert env.facts.has_reference
    assert "forgetting" not in base
    assert base["divergence"] == 0.0
    assert 0.3 < base["macro_f1"] < 0.8
    trials = []
    for seed in (0, 0, 1):
        env.reset(seed=seed)
        for _ in range(2):
            *_, info = env.train({"learning_rate": 1e-3, "batch_size": 8})
        trials.append(info["trial"])
    after = trials[0].segments[-1].metrics
    assert after["macro_f1"] > base["macro_f1"] + 0.2
    assert trials[0].value == -after["macro_f1"]  # it is maximised
    assert after["divergence"] > 0.1
    losses = [[segment.train_loss for segment in trial.segments] for trial in trials]
    assert losses[0] == losses[1] != losses[2]
    assert trials[1].segments[-1].metrics == after


def test_an_adapter_is_trained_and_saved_with_the_head(
    encoders: dict[str, str], tmp_path: Path
) -> None:
    data = {"train_file": write_csv(tmp_path / "rows.csv", SPLITS["train"])}
    env = make_env(
        "classify",
        model=encoders["bert"],
        data=data,
        fixed={"lora_rank": 2},
        segment_tokens=1200,
        trial_tokens=1200,
    )
    assert env.facts.lora
    assert env.facts.base_metrics["divergence"] == 0.0
    env.reset(seed=0)
    *_, info = env.train({"learning_rate": 1e-2, "batch_size": 8, "lora_rank": 2})
    assert info["trial"].segments[0].metrics["divergence"] > 1e-3
    env.run.save_weights(env._position.state, tmp_path / "best")
    saved = load_file(tmp_path / "best" / "adapter_model.safetensors")
    assert {name.rpartition(".classifier.")[2] for name in saved if "lora" not in name} == {
        "weight",
        "bias",
    }


@torch.no_grad()
def test_saved_weights_load_with_their_tokenizer_and_labels(source: str, tmp_path: Path) -> None:
    task = small_task()
    data = task.load_data(source, None)
    model: Any = task.load_model(source, seed=0).eval()
    task.prepare(model, data)
    task.save_model(model, tmp_path / "best")
    again: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "best")
    text = SPLITS["test"][0][0]
    ids = AutoTokenizer.from_pretrained(tmp_path / "best")(text, return_tensors="pt")["input_ids"]
    torch.testing.assert_close(again(ids).logits, model(ids).logits)
    assert again.config.id2label == {0: "file", 1: "sort", 2: "sum"}
