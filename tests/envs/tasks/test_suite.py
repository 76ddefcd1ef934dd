from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs.errors import WorldError
from hpopt_envs.tasks import Data, available_tasks, load_task
from hpopt_envs.tasks.lm import LanguageModeling

# Every method that a task must have, and not a word of language.
OWN_TASK = '''
import torch
from hpopt_envs import Data, Task

class Signs(Task):
    """Tells whether a number is positive."""

    name, objective, maximize, unit = "signs", "accuracy", True, "share"
    default_model = f"{__name__}:build"

    def load_data(self, model_source, sequence_length):
        x = torch.linspace(-1, 1, 40).view(-1, 1)
        splits = [{"x": x[i::4], "y": (x[i::4, 0] > 0).long()} for i in range(3)]
        return Data(*splits)

    def loss_sum(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="sum")

    def predict(self, model, batch):
        logits = model(batch["x"])
        losses = torch.nn.functional.cross_entropy(logits, batch["y"], reduction="none")
        return {"loss": losses, "right": (logits.argmax(1) == batch["y"]).double()}

    def metrics(self, outputs):
        return {"loss": outputs["loss"].mean().item(), "accuracy": outputs["right"].mean().item()}

class Nameless(Signs):
    name = ""

class Unfinished(Task):
    name = "unfinished"

def build():
    return torch.nn.Linear(1, 2)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A working directory with a module of its own; the module's name."""
    module = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(OWN_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return module


def test_a_task_of_the_working_directory_needs_no_language(folder: str) -> None:
    task = load_task(f"{folder}:Signs")
    assert task.name == "signs"
    assert task.example_tokens({"x": torch.zeros(3)}).tolist() == [1, 1, 1]
    data = task.load_data(task.default_model, 64)
    model: Any = task.load_model(task.default_model, seed=0)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-9.0], [9.0]]))
        model.bias.zero_()
    assert task.metrics(task.predict(model, data.validation))["accuracy"] == 1.0
    assert data.retained_train is None


def test_a_task_without_a_name_has_the_one_it_was_asked_for_by(folder: str) -> None:
    assert load_task(f"{folder}:Nameless").name == f"{folder}:Nameless"


def test_an_installed_task_is_found_by_its_name(folder: str) -> None:
    metadata = Path("someones_package-1.0.dist-info")
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: someones-package\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(f"[hpopt.tasks]\nsigns = {folder}:Signs\n")
    assert load_task("signs").name == "signs"
    assert "signs" in dict(available_tasks())
    with pytest.raises(WorldError, match="must be 'signs' or 'module:Class', but got 'sings'"):
        load_task("sings")


def test_built_in_tasks_are_listed_and_made() -> None:
    listed = dict(available_tasks())
    assert {"lm", "simulated"} <= listed.keys()
    assert all(line and "\n" not in line for line in listed.values())
    assert isinstance(load_task("lm"), LanguageModeling)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lmm", "task: must be 'lm' or 'module:Class', but got 'lmm'"),
        ("", "'classify' or"),
        ("MODULE:Absent", "has no Absent"),
        ("MODULE:build", "must be a subclass of hpopt_envs.Task"),
        ("MODULE:Unfinished", "load_data"),
        ("no_such_module_at_all:Own", "No module named 'no_such_module_at_all'"),
    ],
)
def test_unknown_tasks_are_refused_in_one_line(folder: str, name: str, words: str) -> None:
    with pytest.raises(WorldError) as raised:
        load_task(name.replace("MODULE", folder))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_data_that_does_not_fit_together_is_refused() -> None:
    good, empty = {"x": torch.zeros(3)}, {"x": torch.zeros(0)}
    ragged = {"x": torch.zeros(3), "y": torch.zeros(2)}
    with pytest.raises(WorldError, match="train.*same number"):
        Data(ragged, good, good)
    with pytest.raises(WorldError, match="validation.*> 0"):
        Data(good, empty, good)
    with pytest.raises(WorldError, match=r"all three or none.*retained_test"):
        Data(good, good, good, retained_test=good)


def test_the_hash_tells_every_split_and_tensor_apart() -> None:
    one, other = {"x": torch.zeros(3)}, {"x": torch.ones(3)}
    renamed, integers = {"y": torch.zeros(3)}, {"x": torch.zeros(3, dtype=torch.int32)}
    kinds = [(one, one, one), (other, one, one), (one, other, one), (one, one, other)]
    kinds += [(renamed, one, one), (integers, one, one)]
    assert len({Data(*splits).hash for splits in kinds}) == len(kinds)
    retained = Data(one, one, one, one, one, one)
    assert retained.hash != Data(one, one, one).hash
    assert Data(one, one, one, hash="mine").hash == "mine"


@pytest.mark.parametrize(
    ("method", "role"),
    [
        ("loss_sum_with", "ParametricLoss"),
        ("metrics_with", "ParametricMetrics"),
        ("logits", "Reference"),
        ("rollout", "Rollouts"),
        ("write", "Writing"),
    ],
)
def test_what_only_a_role_calls_is_refused_without_the_role(
    folder: str, tmp_path: Path, method: str, role: str
) -> None:
    source = f"from {folder} import *\nfrom hpopt_envs.tasks import *\n"
    source += f"class Bare(Signs):\n    def {method}(self, *given): ...\n"
    source += f"class Whole({role}, Bare):\n    def {method}(self, *given): ...\n"
    (tmp_path / f"{folder}_{method}.py").write_text(source)
    message = f"must be a hpopt_envs.tasks.{role}, since it defines {method}()"
    with pytest.raises(WorldError) as raised:
        load_task(f"{folder}_{method}:Bare")
    assert message in str(raised.value)
    load_task(f"{folder}_{method}:Whole")
