"""What `export` writes, and what it refuses."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt.errors import StudyError
from hpopt.export import export, summary
from hpopt_envs.divergences.f_divergence import DIVERGENCES, divergence
from hpopt_envs.training.optimizers import OPTIMIZERS, build_optimizer
from tests.envs.tiny import llama
from tests.hpopt.export.export_study import HELD, PENALTY, exported

Study = Callable[..., str]


@pytest.mark.usefixtures("nothing_beside")
@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_is_the_search_s_own(study: Study, name: str) -> None:
    asked = {"divergence": name, "divergence_alpha": -0.7}
    module = exported(study([HELD | PENALTY | asked]), "transformers")
    q, p = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.manual_seed(0))
    found = module.divergence(q.log_softmax(-1), p.log_softmax(-1))
    torch.testing.assert_close(found, divergence(name, q, p, alpha=-0.7))


@pytest.mark.usefixtures("nothing_beside")
@pytest.mark.parametrize("to", ["transformers", "trl"])
def test_the_code_imports_its_trainer_and_nothing_of_hpopt(study: Study, to: str) -> None:
    runs = study([HELD | PENALTY | {"lora_rank": 2, "batch_size": size} for size in (4, 8)])
    path = export("mine", runs, to, None)[0]
    tree = ast.parse(path.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in nodes}
    ours = {"copy", "itertools", "json", "math", "pathlib", "random"}
    assert names == {*ours, "torch", "peft", to}
    said = " ".join((ast.get_docstring(tree) or "").split())
    assert "on model tiny, with 16,384 training tokens: 16 optimizer steps" in said
    assert "with batches of 4 to 8 examples of 64 tokens, 96 examples or 0.006144 epochs." in said
    assert "on validation 3, base model 4. Trial 0 ended best" in said
    assert "A longer run may want a lower learning rate." in said


@pytest.mark.usefixtures("nothing_beside")
def test_a_winner_that_is_no_better_than_the_base_model_is_said_to_be_so(study: Study) -> None:
    path = export("mine", study([HELD], base_objective=2.5), "trl", None)[0]
    said = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    assert "on validation 3, base model 2.5. It is no better than the base model" in said


def test_weights_that_are_not_in_float32_are_refused(study: Study) -> None:
    from hpopt_envs.models import load_tokenizer

    module = exported(study([HELD]), "trl")
    with pytest.raises(ValueError, match="^trained weights must be torch.float32, but .* is torch"):
        module.prepare(llama().bfloat16(), load_tokenizer("embedded"))


def test_a_study_that_does_not_say_how_rows_were_read_has_its_data_read_again(study: Study) -> None:
    module = exported(study([HELD], model="embedded", form="", examples=0), "trl")
    assert module.ARGUMENTS["packing"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_search_s_where_the_machine_has_it(
    study: Study, tmp_path: Path, precision: str
) -> None:
    module = exported(study([HELD], precision=precision), "trl")
    there = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    assert module.ARGUMENTS["bf16"] == (precision == "bfloat16" and there)


def test_json_has_the_whole_schedule_even_of_what_trains_no_model(study: Study) -> None:
    segments = [HELD, HELD | {"learning_rate": 0.5, "weight_decay": 0.3}]
    runs = study(segments, tokens=[4096, 12288], task="simulated")
    (path,) = export("mine", runs, "json", Path(runs) / "elsewhere" / "deep")
    assert path == Path(runs) / "elsewhere" / "deep" / "schedule.json"
    document = json.loads(path.read_text())
    assert [s["until_fraction"] for s in document["segments"]] == [0.25, 1.0]
    assert [s["hyperparameters"] for s in document["segments"]] == segments
    assert (document["model"], document["training_tokens"]) == ("tiny", 16384)
    assert document["batch_range"] == [4, 64]
    assert summary([path]) == f"Wrote {path}."


@pytest.mark.parametrize(
    ("to", "values", "options", "reason"),
    [
        ("trl", {}, {"task": "simulated"}, "trains no model"),
        ("trl", {}, {"task": "table:runs.csv"}, "trains no model"),
        ("trl", {}, {"task": "my_task"}, "the loss of task 'my_task' is its own"),
        ("trl", {}, {"task": "classify"}, "SFTTrainer trains language models"),
        (
            "transformers",
            {},
            {"task": "classify", "data": {"class_weights": "balanced"}},
            "no class weights",
        ),
        ("trl", {"batch_size": "all"}, {}, "batch_size=all"),
        ("trl", {"optimizer": "mine:Lion"}, {}, "mine:Lion"),
        ("trl", {"optimizer": "prodigy"}, {}, "transformers has no optimizer prodigy"),
        ("trl", {"optimizer": "adam", "weight_decay": 0.1}, {}, "no Adam with weight decay"),
    ],
)
def test_what_a_trainer_cannot_express_is_refused_with_the_reason(
    study: Study, to: str, values: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(StudyError, match=reason) as refused:
        export("mine", study([HELD | values], **options), to, None)
    assert "\n" not in str(refused.value)


def test_a_value_that_only_a_search_can_change_is_refused(study: Study) -> None:
    runs = study([HELD | {"dropout": rate} for rate in (0.0, 0.1)])
    with pytest.raises(StudyError, match="a trainer holds what changes in it: dropout"):
        export("mine", runs, "trl", None)


def test_what_is_not_there_is_refused(study: Study) -> None:
    runs = study([HELD], max_divergence=-1.0)
    with pytest.raises(StudyError, match="no trial of 'mine' has ended"):
        export("mine", runs, "trl", None)
    with pytest.raises(StudyError, match="must be one of json, transformers, trl, but got 'keras'"):
        export("mine", runs, "keras", None)
    with pytest.raises(StudyError, match="export: must be a study in"):
        export("other", runs, "json", None)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "prodigy"])
def test_an_optimizer_is_made_with_what_the_search_made_it_with(
    study: Study, tmp_path: Path, name: str
) -> None:
    from transformers import Trainer, TrainingArguments

    module = exported(study([HELD | {"optimizer": name}]), "transformers")
    arguments = TrainingArguments(str(tmp_path), **module.ARGUMENTS)
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    made = kind([torch.nn.Parameter(torch.zeros(1))], **options)
    wanted = build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(made, torch.optim.AdamW if name == "adam" else type(wanted))
    changed = {"lr", "weight_decay", "fused", "decoupled_weight_decay"}
    same = {key: value for key, value in wanted.defaults.items() if key not in changed}
    assert {key: made.defaults[key] for key in same} == same
    assert arguments.weight_decay == (0.01 if name == "adamw" else 0.0)
