"""Direct preference optimization: against TRL's trainer, closed forms and brute force."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_model, load_tokenizer
from hpopt_envs.tasks import Data, Split, load_task
from hpopt_envs.tasks.dpo import implicit_rewards
from tests.envs.tasks.preferences import ROWS, distributions, sides, write_pairs

FORMS = {  # here: TRL's name
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "jensen_shannon": "js_divergence",
    "alpha": "alpha_divergence",
}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return write_pairs()


@pytest.fixture
def task(pairs: str) -> Any:
    return load_task("dpo", {"train_file": pairs})


@pytest.fixture
def data(task: Any) -> Data:
    """Complete, with the embedded model's log-probabilities."""
    prepared, _ = task.prepare(load_model("embedded", 0), task.load_data("embedded", None))
    return prepared  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def model() -> Any:
    """The embedded model after it was changed a little."""
    return changed(load_model("embedded", 0))


def changed(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def some(split: Split, *rows: int) -> Split:
    return {name: tensor[list(rows)] for name, tensor in split.items()}


def log_ratio(model: Any, base: Any, prompt: list[int], response: list[int]) -> float:
    logs = [
        distributions(m, prompt, response).gather(1, torch.tensor(response)[:, None]).sum()
        for m in (model, base)
    ]
    return float(logs[0] - logs[1])


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's, of the same model as `model`."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar
    from trl import DPOConfig, DPOTrainer

    out = tmp_path_factory.mktemp("trl")
    disable_progress_bar()
    try:
        return DPOTrainer(
            changed(load_model("embedded", 0)),
            load_model("embedded", 0),
            args=DPOConfig(str(out), use_cpu=True, bf16=False, activation_checkpointing=False),
            train_dataset=Dataset.from_list([{"prompt": "a b\n", "chosen": "c", "rejected": "d"}]),
            processing_class=load_tokenizer("embedded"),
        )
    finally:
        enable_progress_bar()


# Names that trl uses, and transformers 5.23 has changed.
@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("divergence", FORMS)
def test_loss_and_gradient_are_those_of_trl(
    task: Any, data: Data, model: Any, trainer: Any, divergence: str, smoothing: float
) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    batch = some(data.train, *range(6))
    examples = []
    for row in range(6):
        (prompt, chosen), (_, rejected) = sides(batch, row)
        examples.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    trainer.f_divergence_type = FORMS[divergence]
    trainer.f_alpha_divergence_coef, trainer.beta = 0.3, 0.7
    # The "robust" loss is ((1 − ε) right − ε wrong)/(1 − 2ε), the "sigmoid" one is right.
    trainer.label_smoothing, trainer.loss_types = smoothing, ["sigmoid", "robust"]
    trainer.loss_weights = [2 * (1 - smoothing), -(1 - 2 * smoothing)]
    theirs = trainer.compute_loss(trainer.model, DataCollatorForPreference(0)(examples))
    asked = {"divergence_weight": 0.7, "divergence": divergence, "divergence_alpha": 0.3}
    asked["label_smoothing"] = smoothing
    ours = task.loss_sum_with(model, batch, asked) / task.loss_count(batch)
    assert abs(float(ours.detach()) - math.log(2)) > 0.01
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(loss, list(m.parameters()))
        for loss, m in ((ours, model), (theirs, trainer.model))
    ]
    for our, their in zip(*gradients, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("divergence", "f"),
    [
        ("reverse_kl", lambda t: t * t.log()),
        ("forward_kl", lambda t: -t.log()),
        ("jensen_shannon", lambda t: t * t.log() - (t + 1) * ((t + 1) / 2).log()),
        ("alpha", lambda t: (t**0.3 - 1 - 0.3 * (t - 1)) / (0.3 * (0.3 - 1))),
    ],
)
def test_rewards_are_the_slope_of_the_divergence_from_1_on(
    divergence: str, f: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    t = torch.tensor([1.0, 0.01, 0.5, 2.0, 30.0], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(f(t).sum(), t)
    rewards = implicit_rewards(t.detach().log(), divergence, 0.3)
    torch.testing.assert_close(rewards, slopes - slopes[0])


@pytest.mark.parametrize("divergence", FORMS)
def test_responses_that_became_impossible_leave_numbers(divergence: str) -> None:
    log_ratios = torch.tensor([-1e4, 1e4], requires_grad=True)
    rewards = implicit_rewards(log_ratios, divergence, 0.3)
    rewards.sum().backward()  # type: ignore[no-untyped-call]
    assert log_ratios.grad is not None
    assert rewards.isfinite().all()
    assert log_ratios.grad.isfinite().all()


def test_the_base_model_s_log_probabilities_cost_a_forward_pass(task: Any) -> None:
    bare = task.load_data("embedded", None)
    base = load_model("embedded", 0)
    complete, cost = task.prepare(base, bare)
    splits = (bare.train, bare.validation, bare.test)
    assert cost == pytest.approx(sum(int(split["length"].sum()) for split in splits) / 3)
    assert complete.train["reference"].shape == (48, 2)
    for row in range(3):
        for side, (prompt, response) in enumerate(sides(complete.test, row)):
            logs = distributions(base, prompt, response)
            expected = logs.gather(1, torch.tensor(response)[:, None]).sum().float()
            torch.testing.assert_close(complete.test["reference"][row, side], expected)


@torch.no_grad()
def test_padding_and_micro_batches_change_nothing(task: Any, data: Data, model: Any) -> None:
    batch = some(data.train, *range(8))
    garbage = {**batch, "input_ids": batch["input_ids"].clone()}
    place = torch.arange(batch["input_ids"].shape[2])
    garbage["input_ids"][place >= batch["length"][:, :, None]] = 5
    whole, outputs = task.loss_sum(model, batch), task.predict(model, batch)
    torch.testing.assert_close(task.loss_sum(model, garbage), whole)
    torch.testing.assert_close(task.predict(model, garbage), outputs)
    alone = [task.predict(model, some(batch, row))["log_ratios"] for row in range(8)]
    torch.testing.assert_close(torch.cat(alone), outputs["log_ratios"], rtol=1e-4, atol=1e-4)
    parts = [task.loss_sum(model, some(batch, row, row + 1)) for row in range(0, 8, 2)]
    torch.testing.assert_close(sum(parts), whole)
    assert task.example_tokens(batch).tolist() == [
        sum(len(prompt + response) for prompt, response in sides(batch, row)) for row in range(8)
    ]


@torch.no_grad()
def test_metrics_follow_from_the_ratio_of_whole_responses(
    task: Any, data: Data, model: Any
) -> None:
    base = load_model("embedded", 0)
    ratios = [
        [log_ratio(model, base, *side) for side in sides(data.validation, row)] for row in range(6)
    ]
    metrics = task.metrics_with(
        task.predict(model, data.validation), {"divergence_weight": 0.2, "divergence": "forward_kl"}
    )
    chosen, rejected = (
        [0.2 * (1 - math.exp(-r)) for r in side] for side in zip(*ratios, strict=True)
    )
    margins = [a - b for a, b in zip(chosen, rejected, strict=True)]
    expected = {
        "loss": sum(math.log1p(math.exp(-margin)) for margin in margins) / 6,
        "accuracy": sum(margin > 0 for margin in margins) / 6,
        "margin": sum(margins) / 6,
        "chosen_reward": sum(chosen) / 6,
        "rejected_reward": sum(rejected) / 6,
    }
    assert 0 < expected["accuracy"] < 1
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_equals_count_one_half(task: Any) -> None:
    log_ratios = torch.tensor([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert task.metrics({"log_ratios": log_ratios})["accuracy"] == 0.625


def test_columns_have_the_names_that_the_settings_give(pairs: str, data: Data) -> None:
    names = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    renamed = [{names[name]: value for name, value in row.items()} for row in ROWS]
    Path("named.jsonl").write_text("\n".join(map(json.dumps, renamed)))
    settings = {f"{name}_column": column for name, column in names.items()}
    named = load_task("dpo", {"train_file": "named.jsonl", **settings})
    same = named.load_data("embedded", None)
    torch.testing.assert_close(same.train["input_ids"], data.train["input_ids"])
    with pytest.raises(WorldError, match="chosen_column: named.jsonl must have a column 'chosen'"):
        load_task("dpo", {"train_file": "named.jsonl"}).load_data("embedded", None)


def test_pairs_that_are_equal_in_all_rows_are_refused(pairs: str) -> None:
    task = load_task("dpo", {"train_file": pairs, "rejected_column": "chosen"})
    with pytest.raises(WorldError, match="^rejected_column: .* must have a row whose responses di"):
        task.load_data("embedded", None)


def test_what_is_too_long_is_refused_or_cut(pairs: str) -> None:
    with pytest.raises(WorldError, match="sequence_length: examples must fit"):
        load_task("dpo", {"train_file": pairs}).load_data("embedded", 12)
    cutting = load_task("dpo", {"train_file": pairs, "too_long": "truncate"})
    assert cutting.load_data("embedded", 12).train["length"].max() == 12
    with pytest.raises(WorldError, match="every response of train must have a token within 5"):
        cutting.load_data("embedded", 5)
