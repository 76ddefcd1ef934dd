"""The contestant that does nothing, at the schedule's shape that agents have."""

from pathlib import Path
from typing import Any

import pytest

from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.reading import read_studies
from hpopt.comparison.settings import ComparisonSettings
from hpopt_envs.factory import make_env
from hpopt_envs.records import Trial
from hpopt_envs.schedules import AGENT_SHAPE, HELD_SHAPE
from tests.hpopt.searching import outcome, resume, search

NOTHING = 0  # of the actions of the view "discrete"


def idle(seed: int, **settings: Any) -> Trial:
    """A trial of an agent that does nothing, straight in its environment."""
    env = make_env(view="discrete", **settings)
    env.reset(seed=seed)
    while True:
        _, _, terminated, truncated, info = env.step(NOTHING)
        if terminated or truncated:
            trial: Trial = info["trial"]
            return trial


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "simulated", "trial_tokens": 4 * 4096},
        {"task": "simulated", "trial_tokens": 4 * 4096, "space": "scheduled"},
        {"task": "simulated", "trial_tokens": 4 * 4096, "fixed": {"schedule_shape": "cosine"}},
        {"task": "nano:markov"},
    ],
)
def test_it_is_an_agent_that_does_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    said = {"fix" if name == "fixed" else name: value for name, value in settings.items()}
    said.setdefault("trial_tokens", None)
    result = search(tmp_path, agent="hold", confirm_seeds=1, **said)
    (trial,) = result.trials
    alone = idle(trial.seed, **settings)
    held = [segment.hyperparameters for segment in trial.segments]
    assert held == [segment.hyperparameters for segment in alone.segments]
    assert trial.value == alone.value
    assert held[0].items() >= result.space.defaults().items()
    if set(settings) <= {"task", "trial_tokens"}:
        assert held[0].items() >= AGENT_SHAPE.items()
    assert result.final is not None
    for default in result.final.runs["default"]:  # a user's, which decays as ever
        asked = HELD_SHAPE | settings.get("fixed", {}) | result.space.defaults()
        assert default.segments[0].hyperparameters.items() >= asked.items()
    assert outcome(resume(tmp_path)) == outcome(result)


def test_it_stands_beside_the_default_in_a_comparison(tmp_path: Path) -> None:
    asked = {"task": "simulated", "trial_tokens": 4 * 4096, "agents": ("hold", "random-cold")}
    asked |= {"seeds": 1, "trials": 2, "against": "hold", "name": "otters", "runs": str(tmp_path)}
    settings = ComparisonSettings.of(asked)
    result = compare(settings, open_comparison(settings), lambda text: None)
    studies = read_studies(settings, "otters")
    (held,), (default,) = (
        studies["simulated", who, 0].trials.values() for who in ("hold", "default")
    )
    assert held.seed == default.seed
    differing = {
        name
        for name, value in held.segments[0].hyperparameters.items()
        if default.segments[0].hyperparameters[name] != value
    }
    assert differing == set(AGENT_SHAPE)
    assert any(line.startswith("hold ") for line in result.lines)
