"""Classification against scikit-learn, torch and transformers, on small data and models."""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score  # type: ignore[import-untyped]
from sklearn.utils.class_weight import compute_class_weight  # type: ignore[import-untyped]
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hpopt_envs import FineTuneEnv, make_env
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks import Source, Split, load_task
from hpopt_envs.tasks.classify import Classification
from tests.envs.words import SPLITS, Rows, mask_of, small_task


def write_csv(path: Path, rows: Rows, header: tuple[str, str] = ("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*rows, strict=True)])
    return str(path)


def part(split: Split, size: int) -> Split:
    return {name: tensor[:size] for name, tensor in split.items()}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of random encoders with 18 positions, whose tokenizer has a word a token."""
    words = sorted({word for texts, _ in SPLITS.values() for t in texts for word in t.split()})
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "?", *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "?"}
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, model_max_length=18, **special
    )
    size: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,
        "pad_token_id": 1,
    }
    folders = {}
    torch.manual_seed(0)
    for name, model in (
        ("bert", BertForSequenceClassification(BertConfig(max_position_embeddings=18, **size))),
        # Its positions begin behind that of padding.
        (
            "roberta",
            RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=20, **size)),
        ),
    ):
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


@pytest.fixture(params=["embedded", "bert", "roberta"])
def source(request: pytest.FixtureRequest, encoders: dict[str, str]) -> str:
    """A causal model, or an encoder."""
    return encoders.get(request.param, "embedded")


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


def test_a_users_labels_are_read_and_sorted(tmp_path: Path) -> None:
    rows = (SPLITS["train"][0], [str(len(label)) for label in SPLITS["train"][1]])
    path = write_csv(tmp_path / "rows.csv", rows, ("sentence", "stars"))
    settings = {"train_file": path, "text_column": "sentence", "label_column": "stars"}
    task = load_task("classify", settings)
    assert isinstance(task, Classification)
    data = task.load_data("embedded", None)
    assert task.labels == ["3", "4"]
    assert task.chance_loss == pytest.approx(math.log(2))
    tokenizer, splits = load_tokenizer("embedded"), (data.train, data.validation, data.test)
    read = [
        (tokenizer.decode(ids[:length]), task.labels[label])
        for split in splits
        for ids, length, label in zip(
            split["input_ids"], split["length"], split["label"], strict=True
        )
    ]
    assert sorted(read) == sorted(zip(*rows, strict=True))
    assert [len(split["label"]) for split in splits] == [80, 10, 10]
    assert Counter(data.validation["label"].tolist()) == {0: 6, 1: 4}
    expected = [len(tokenizer(text)["input_ids"]) for text in rows[0]]
    counted = torch.cat([task.example_tokens(split) for split in splits])
    assert sorted(counted.tolist()) == sorted(expected)


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
        ours = task.loss_sum_with(model, split, {"label_smoothing": smoothing})
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


def test_texts_that_are_too_long_are_refused_or_cut(encoders: dict[str, str]) -> None:
    for source, whose in (("embedded", "sequence_length=9"), (encoders["bert"], "sequence_len")):
        with pytest.raises(WorldError, match=f"^sequence_length: examples must fit into {whose}"):
            small_task().load_data(source, 9)
        data = small_task(too_long="truncate").load_data(source, 9)
        whole = small_task().load_data(source, None)
        assert int(data.train["length"].max()) == data.train["input_ids"].shape[1] == 9
        longer = whole.train["length"] > 9
        assert torch.equal(data.train["length"], whole.train["length"].clamp(max=9))
        end = 2 if source != "embedded" else whole.train["input_ids"][longer, 8]
        assert bool((data.train["input_ids"][longer, 8] == end).all())  # the encoder's "</s>"


def test_a_model_has_no_more_positions_than_its_tokenizer_says(encoders: dict[str, str]) -> None:
    long = {
        name: ([f"{text} {text}" for text in texts], labels)
        for name, (texts, labels) in SPLITS.items()
    }
    with pytest.raises(WorldError, match="fit into the model's limit of 18 tokens"):
        Classification(embedded=lambda: long).load_data(encoders["roberta"], None)
    with pytest.raises(WorldError, match="must be from 1 to 18 for model .*, but got 19"):
        Classification(embedded=lambda: long).load_data(encoders["roberta"], 19)
    task = Classification(Source(too_long="truncate"), embedded=lambda: long)
    data = task.load_data(encoders["roberta"], None)
    assert data.train["input_ids"].shape[1] == 18
    model: Any = task.load_model(encoders["roberta"], seed=0).eval()
    with torch.no_grad():
        assert task.logits(model, data.train)[0].shape == (100, 3)


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
    env.run.save_weights(env.position.state, tmp_path / "best")
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


GOOD = (["a b", "c d", "e f", "g h", "i j", "k l"], ["x", "y"] * 3)


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (
            {"train": (["a", "b", "c"] * 3, ["x"] * 9)},
            {},
            r"label_column: train must have at least two classes, but has ['x']",
        ),
        (
            {"train": GOOD, "validation": (["a", "b"], ["x", "z"])},
            {},
            "label_column: every label of validation must occur in train, but 'z' (row 2) doesn't",
        ),
        (
            {"train": (["a", "", *"cdefg"], list("xyxyxyx"))},
            {},
            "text_column: train.csv must have something in every row of column 'text', but row 2",
        ),
        (
            {"train": (list("abcdefg"), ["x", "", *"xyxyx"])},
            {},
            "label_column: train.csv must have something in every row of column 'label', but row 2",
        ),
        ({"train": GOOD}, {"text_column": "body"}, "text_column: train.csv must have a column"),
        ({"train": GOOD}, {"label_column": "kind"}, "label_column: train.csv must have a column"),
        ({"train": GOOD}, {"class_weights": "equal"}, "class_weights: must be one of none, bala"),
        ({"train": GOOD}, {"length": 1}, "sequence_length: examples must fit into sequence_lengt"),
        ({"train": GOOD}, {"length": 0}, "sequence_length: must be from 1 to 256 for model embed"),
        ({"train": GOOD}, {"length": 257}, "sequence_length: must be from 1 to 256 for model em"),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_one_line(
    files: dict[str, Rows],
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {f"{name}_file": write_csv(Path(f"{name}.csv"), rows) for name, rows in files.items()}
    length = settings.get("length")
    columns = {name: value for name, value in settings.items() if name != "length"}
    with pytest.raises(WorldError) as raised:
        make_env("classify", data=paths | columns, sequence_length=length)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_text_without_a_token_is_refused() -> None:
    rows = SPLITS | {"test": (["a", ""], ["sum", "sum"])}
    message = "^text_column: every text of test must have a token, but '' has none$"
    with pytest.raises(WorldError, match=message):
        Classification(embedded=lambda: rows).load_data("embedded", None)


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        ("lm", "label_column"),
        ("lm", "chosen_column"),
        ("classify", "prompt_column"),
        ("classify", "retain_file"),
        ("hpopt_envs.tasks.lm:LanguageModeling", "train_file"),
    ],
)
def test_data_that_a_task_does_not_take_is_refused_by_name(task: str, setting: str) -> None:
    with pytest.raises(WorldError) as raised:
        load_task(task, {setting: "x"})
    message = f"{setting}: must be left out, since task {task!r} doesn't take it"
    assert str(raised.value) == message
    load_task(task, {setting: None})
