"""Environments to go astray in."""

import pytest

from hpopt_envs import FineTuneEnv, make_env
from tests.envs.episode.straying import words


@pytest.fixture(scope="module")
def tiny() -> FineTuneEnv:
    return words()


@pytest.fixture(params=["Words", "simulated"])
def env(request: pytest.FixtureRequest, tiny: FineTuneEnv) -> FineTuneEnv:
    if request.param == "Words":
        return tiny
    return make_env("simulated", trial_tokens=16384, validate_segments=False)
