"""Optimizers are torch's own, or their authors'."""

import copy
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree

from hpopt_envs import Outcome, make_env
from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.errors import WorldError
from hpopt_envs.training.optimizers import OPTIMIZERS, build_optimizer, set_weight_decay
from hpopt_envs.training.real import RealRun
from hpopt_search_spaces import FloatParameter, SearchSpace
from tests.envs.tiny import HERE


def schedule_free(parameters: list[torch.nn.Parameter], **options: float) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = AdamWScheduleFree(parameters, **options)
    optimizer.train()  # type: ignore[attr-defined]
    return optimizer


BY_HAND: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "prodigy": Prodigy,
    "schedule-free": schedule_free,
    "torch.optim:NAdam": torch.optim.NAdam,
}


def minimized(optimizer: torch.optim.Optimizer, decay: float | None) -> torch.Tensor:
    """Where some steps at falling learning rates come to on a quadratic."""
    (x,) = optimizer.param_groups[0]["params"]
    asked = {} if decay is None else {"weight_decay": decay}
    for rate in (0.1, 0.05, 0.02, 0.02, 0.01):
        optimizer.zero_grad()
        (torch.tensor([1.0, 4.0, 0.25]) * x**2).sum().div(2).backward()
        set_weight_decay(optimizer, asked)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    found: torch.Tensor = x.detach()
    return found


def start() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))


@pytest.mark.parametrize("decay", [None, 0.0, 0.1])
@pytest.mark.parametrize("name", [*OPTIMIZERS, "torch.optim:NAdam"])
def test_optimizers_are_their_authors_own(name: str, decay: float | None) -> None:
    expected = BY_HAND[name](
        [start()], lr=0.5, **({} if decay is None else {"weight_decay": decay})
    )
    got = minimized(build_optimizer(name, [start()]), decay)
    torch.testing.assert_close(got, minimized(expected, decay))
    others = (minimized(build_optimizer(other, [start()]), decay) for other in BY_HAND)
    assert sum(torch.allclose(got, other, atol=1e-6) for other in others) == (
        2 if name.startswith("adam") and decay == 0.0 else 1
    )


@pytest.mark.parametrize(
    ("name", "package"), [("prodigy", "prodigyopt"), ("schedule-free", "schedulefree")]
)
def test_an_optimizer_that_isnt_installed_says_what_is_to_be(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python has it where an import fails
    with pytest.raises(WorldError, match=f"pip install {package}.* extra optimizers") as raised:
        make_env(f"{HERE}:Words", fixed={"optimizer": name}, trial_tokens=1024, device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch.optim:Adamm", "has no Adamm"),
        ("no_such_module:Adam", "No module named 'no_such_module'"),
        ("torch.nn:Identity", "must make a torch.optim.Optimizer"),
        ("json:dumps", "optimizer: json:dumps.* failed: TypeError"),
    ],
)
def test_what_is_no_optimizer_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        build_optimizer(name, [start()])
    assert "\n" not in str(raised.value)


def test_plain_sgd_on_everything_is_gradient_descent() -> None:
    rate = FloatParameter("learning_rate", 0.01, 1.0, 0.1, log=True)
    env = make_env(
        f"{HERE}:Words",
        f"{HERE}:Bigrams",
        SearchSpace("rate", (rate,)).to_dict(),
        fixed={"batch_size": "all", "optimizer": "sgd", "max_gradient_norm": 1e6},
        trial_tokens=2 * 96 * 8,
        device="cpu",
    )
    run = env.run
    assert isinstance(run, RealRun)
    train, model = run._evaluator.data.train, copy.deepcopy(run.weights.model)
    env.reset(seed=0)
    for _ in range(2):
        loss = run.task.loss_sum(model, train) / run.task.loss_count(train)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
        *_, info = env.step(absolute_action(env.space.encode({"learning_rate": 0.5})))
        assert info["segment"].optimizer_steps == 1
        assert info["segment"].train_loss == pytest.approx(loss.item())
    assert info["trial"].outcome is Outcome.COMPLETED
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(env.position.state.tensors[name], parameter.detach())
