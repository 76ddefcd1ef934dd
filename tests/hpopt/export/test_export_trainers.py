"""What `export` writes, in real trainers: each step as the search trained it."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from hpopt_envs.models import load_tokenizer
from hpopt_envs.schedules import divergence_weight_at, learning_rate_at, shape_factor
from hpopt_envs.training.weights import Structure, Weights
from tests.envs.tiny import VOCABULARY, bert, llama, t5
from tests.hpopt.export.export_study import HELD, PENALTY, exported
from tests.hpopt.export.trainers import ROWS, TRAINERS, train

# Names that trl and peft use, and transformers 5.23 has changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")

RETAINED = [{"input_ids": [(7 * i + j) % VOCABULARY for j in range(4 + i % 5)]} for i in range(24)]

Study = Callable[..., str]


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("final", [0.0, 0.25])
@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_configuration_becomes_arguments_that_train_as_it_did(
    study: Study, tmp_path: Path, to: str, shape: str, final: float
) -> None:
    held = HELD | {"schedule_shape": shape, "warmup_fraction": 0.25, "final_fraction": final}
    module = exported(study([held] * 4), to)
    trainer, seen = train(to, None, tmp_path / "out", module.ARGUMENTS)
    wanted = [0.01 * shape_factor(step / 16, shape, 0.25, final) for step in range(16)]
    assert seen.rates == pytest.approx(wanted, rel=1e-12, abs=1e-15)
    assert [len(batch) for batch in seen.batches] == [8] * 16
    assert trainer.args.max_grad_norm == 1.0
    optimizer = trainer.optimizer.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01, 0.0}


@pytest.mark.parametrize("to", TRAINERS)
def test_a_learning_rate_that_changes_becomes_a_callback(
    study: Study, tmp_path: Path, to: str
) -> None:
    rates = [0.02, 0.005, 0.001]
    segments = [HELD | {"learning_rate": rate} for rate in rates]
    module = exported(study(segments, tokens=[4096, 8192, 4096]), to)
    _, seen = train(to, None, tmp_path / "out", module.ARGUMENTS, callbacks=[module.LearningRate()])
    assert seen.rates == [0.02] * 4 + [0.005] * 8 + [0.001] * 4
    assert [len(batch) for batch in seen.batches] == [8] * 16


def test_a_run_that_stopped_early_keeps_the_part_of_its_shape_that_it_had(
    study: Study, tmp_path: Path
) -> None:
    held = HELD | {"schedule_shape": "cosine", "warmup_fraction": 0.125, "final_fraction": 0.1}
    module = exported(study([held] * 2, tokens=[4096, 4096]), "transformers")
    _, seen = train(
        "transformers", None, tmp_path / "out", module.ARGUMENTS, callbacks=[module.LearningRate()]
    )
    wanted = [learning_rate_at(step / 16 * 8192 / 16384, held) for step in range(16)]
    assert seen.rates == pytest.approx(wanted)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_that_changes_follows_the_schedule_step_by_step(
    study: Study, tmp_path: Path, parts: int
) -> None:
    shape = {"learning_rate": 0.01, "schedule_shape": "linear", "warmup_fraction": 0.25}
    segments = [shape | {"batch_size": size} for size in (4, 16, 5)]
    module = exported(study(segments, tokens=[4096, 4096, 8192]), "transformers")
    arguments = module.ARGUMENTS | {"gradient_accumulation_steps": parts}
    _, seen = train("transformers", module.ScheduledTrainer, tmp_path / "out", arguments)
    steps = [sum(map(len, seen.batches[i : i + parts])) for i in range(0, len(seen.batches), parts)]
    # Of 128 rows in two epochs: 32 in fours, 32 in sixteens, 64 in fives.
    assert steps == [4] * 8 + [16] * 2 + [5] * 13
    before = [sum(steps[:step]) / 128 for step in range(len(steps))]
    assert seen.rates == pytest.approx([learning_rate_at(p, segments[0]) for p in before])
    rows = sorted(tuple(row) for batch in seen.batches for row in batch)
    epoch = sorted(tuple(row["input_ids"]) for row in ROWS)
    assert all(rows.count(row) >= 2 for row in epoch)  # each row twice, and one more to end on


@pytest.mark.usefixtures("nothing_beside")
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("to", TRAINERS)
def test_the_penalty_trains_as_the_loss_that_is_written_down(
    study: Study, tmp_path: Path, to: str, parts: int
) -> None:
    """The trained weights are those of plain SGD on loss + β KL(base ‖ model)."""
    held = {"learning_rate": 0.5, "optimizer": "sgd", "max_gradient_norm": 1e9}
    moving = {"schedule_shape": "cosine", "final_fraction": 0.5}
    beta = {"divergence_weight": 0.0, "final_divergence_weight": 6.0}
    segments = [held | moving | beta | {"batch_size": size} for size in (6, 3)]
    module = exported(study(segments), to)
    torch.manual_seed(1)
    model = llama()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer, seen = train(
        to,
        module.PenalizedTrainer,
        tmp_path / "out",
        module.ARGUMENTS | {"gradient_accumulation_steps": parts, "num_train_epochs": 0.5},
        model=model,
        retained_dataset=RETAINED,
    )
    base, mine = llama(), llama()
    base.load_state_dict(start)
    mine.load_state_dict(start)
    drawn, losses = 0, []
    for step in range(0, len(seen.batches), parts):
        rows = torch.tensor([row for batch in seen.batches[step : step + parts] for row in batch])
        assert len(rows) == (6 if drawn < 16 else 3)
        retained = [trainer.retained[(drawn + i) % 24]["input_ids"] for i in range(len(rows))]
        weight = divergence_weight_at(drawn / 32, segments[0])
        loss = cross_entropy(mine(rows).logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
        loss = loss + weight * mean_kl(base, mine, retained)
        mine.zero_grad()
        loss.backward()
        rate = learning_rate_at(drawn / 32, segments[0])
        with torch.no_grad():
            for parameter in mine.parameters():
                parameter -= rate * parameter.grad
        drawn += len(rows)
        losses.append(loss.item())
    assert weight > 4
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx(losses, rel=1e-4)
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, rtol=1e-3, atol=1e-5)


def mean_kl(base: Any, model: Any, texts: list[list[int]]) -> torch.Tensor:
    """KL(base ‖ model), the mean over the predicted tokens of texts, one text at a time."""
    total, count = torch.zeros(()), 0
    for text in texts:
        ids = torch.tensor([text])
        p = model(ids).logits[0, :-1].log_softmax(-1)
        q = base(ids).logits[0, :-1].log_softmax(-1).detach()
        total = total + kl_div(p, q, log_target=True, reduction="sum")
        count += len(text) - 1
    return total / count


@pytest.mark.usefixtures("nothing_beside")
@pytest.mark.parametrize("task", ["classify", "text2text"])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_penalty_is_the_mean_divergence_of_classes_and_of_target_tokens(
    study: Study, tmp_path: Path, task: str, parts: int
) -> None:
    from transformers import Seq2SeqTrainingArguments

    module = exported(study([HELD | PENALTY | {"dropout": 0.0}], task=task), "transformers")
    model = bert() if task == "classify" else t5()
    rows = [
        row | {"labels": i % 2 if task == "classify" else row["input_ids"][::-1][: 1 + i % 3]}
        for i, row in enumerate(RETAINED)
    ]
    trainer = module.PenalizedTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            str(tmp_path), max_steps=1, use_cpu=True, gradient_accumulation_steps=parts
        ),
        train_dataset=rows,
        processing_class=load_tokenizer("embedded"),
        retained_dataset=rows,
    )
    base = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    module.set_dropout(model, 0.0)
    penalty = trainer._penalize(model, 0, 6)
    total, count = torch.zeros(()), 0
    for row in trainer.retained[:6]:
        inputs = {"input_ids": torch.tensor([row["input_ids"]])}
        if task == "text2text":
            inputs["labels"] = torch.tensor([row["labels"]])
        q, p = (m.eval()(**inputs).logits.log_softmax(-1) for m in (base, model))
        total += kl_div(p, q, log_target=True, reduction="sum")
        count += q.shape[:-1].numel()
    assert total > 0.01
    assert penalty.item() == pytest.approx(0.5 * (total / count).item(), rel=1e-4)
    assert all(parameter.grad is not None for _, parameter in model.named_parameters())


@pytest.mark.usefixtures("nothing_beside")
def test_an_adapter_frozen_blocks_and_dropout_are_as_they_were(
    study: Study, tmp_path: Path
) -> None:
    held = HELD | PENALTY | {"lora_rank": 2, "lora_alpha": 6.0, "frozen_layers": 1, "dropout": 0.25}
    module = exported(study([held]), "transformers")
    model = module.prepare(llama(), load_tokenizer("embedded"))
    trained = [p.shape for p in model.parameters() if p.requires_grad]
    weights = Weights(llama(), "CAUSAL_LM")
    weights.use_base(Structure.of(held))
    assert trained == [p.shape for p in weights.parameters]
    assert model.peft_config["default"].lora_alpha == 6.0
    layers = model.base_model.model.model.layers
    assert [layer.self_attn.attention_dropout for layer in layers] == [0.25] * 4
    trainer, _ = train(
        "transformers",
        module.PenalizedTrainer,
        tmp_path / "out",
        module.ARGUMENTS | {"num_train_epochs": 0.25},
        model=model,
        retained_dataset=RETAINED,
    )
    assert trainer.state.global_step == 2
    assert set(trainer.base) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_retained_text_is_written_beside_the_trainer_that_takes_it(
    study: Study, tmp_path: Path
) -> None:
    from hpopt_envs.models import load_model
    from hpopt_envs.tasks import load_task

    runs = study([HELD | PENALTY | {"learning_rate": 1e-4}], model="embedded")
    module = exported(runs, "transformers")
    text = (Path(runs) / "mine" / "export" / "retained.jsonl").read_text().splitlines()
    retained = [json.loads(line) for line in text]
    ids = load_task("lm").load_data("embedded", None).retained_train["input_ids"]
    tokenizer = load_tokenizer("embedded")
    again = [tokenizer(row["text"], add_special_tokens=False)["input_ids"] for row in retained]
    same = [one == two for one, two in zip(again, ids.tolist(), strict=False)]
    assert sum(same) > 0.9 * len(same) > 500  # a text may begin within a character
    trainer, _ = train(
        "transformers",
        module.PenalizedTrainer,
        tmp_path / "out",
        module.ARGUMENTS | {"num_train_epochs": 0.25},
        model=load_model("embedded", 0),
        retained_dataset=retained,
    )
    assert math.isfinite(trainer.state.log_history[0]["loss"])


@pytest.mark.usefixtures("nothing_beside")
def test_a_classifier_s_batches_and_smoothed_labels_are_trained_as_they_were(
    study: Study, tmp_path: Path
) -> None:
    from transformers import Trainer, TrainingArguments

    segments = [HELD | {"batch_size": size, "label_smoothing": 0.2} for size in (16, 8)]
    module = exported(study(segments, task="classify"), "transformers")
    model = bert().eval()
    data = [row | {"labels": sum(row["input_ids"]) % 2} for row in ROWS]
    ids = torch.tensor([row["input_ids"] for row in data])
    labels = torch.tensor([row["labels"] for row in data])
    wanted = cross_entropy(model(ids).logits, labels, label_smoothing=0.2).item()
    arguments = TrainingArguments(
        str(tmp_path / "out"), use_cpu=True, num_train_epochs=1, **module.ARGUMENTS
    )
    trainer = module.ScheduledTrainer(model, arguments, train_dataset=data)
    assert isinstance(trainer, Trainer)
    assert [size for _, size in trainer.steps] == [16, 16, 8, 8, 8, 8]
    assert trainer.evaluate(data)["eval_loss"] == pytest.approx(wanted, rel=1e-5)
    trainer.train()
    assert trainer.state.global_step == 6
