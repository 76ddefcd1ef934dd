"""The names that others may rely on: a change here is a change for them."""

import hpopt
import hpopt.live
import hpopt.testing
import hpopt_envs
import hpopt_search_spaces
from hpopt.errors import ControllerError

NAMES = {
    hpopt: {
        "AgentSpec",
        "HpoptError",
        "Proposal",
        "Proposer",
        "SearchPlan",
        "Searcher",
        "Settings",
        "StudyError",
        "StudyResult",
        "__version__",
        "report",
        "resume",
        "search",
    },
    hpopt.live: {"Controller", "Loop"},
    hpopt.testing: {
        "check_score",
        "check_searcher",
        "check_space",
        "check_task",
        "check_training_run",
    },
    hpopt_envs: {
        "Control",
        "Data",
        "EnvironmentSettings",
        "FineTuneEnv",
        "Outcome",
        "RunFacts",
        "Segment",
        "Split",
        "Task",
        "Trial",
        "WorldError",
        "make_env",
    },
    hpopt_search_spaces: {
        "ChoiceParameter",
        "FloatParameter",
        "HpoptError",
        "IntegerParameter",
        "Parameter",
        "SearchSpace",
        "SpaceError",
        "TrainingFacts",
        "Value",
        "available_spaces",
        "load_space",
        "nearest_names",
        "round_significant",
    },
}


def test_each_floor_exports_these_names_and_no_others() -> None:
    for floor, names in NAMES.items():
        assert set(floor.__all__) == names
        assert len(floor.__all__) == len(names)
        assert all(hasattr(floor, name) for name in names)


def test_errors_of_every_floor_can_be_caught_as_one() -> None:
    for error in (
        ControllerError,
        hpopt.StudyError,
        hpopt_envs.WorldError,
        hpopt_search_spaces.SpaceError,
    ):
        assert issubclass(error, hpopt.HpoptError)
    assert hpopt.HpoptError is hpopt_search_spaces.HpoptError
