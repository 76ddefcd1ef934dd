"""What is fixed is taken out of the space, and trained in every trial."""

from importlib.resources import files
from pathlib import Path

import hpopt
from tests.hpopt.searching import killed, outcome, resume, search

SPACES = files("hpopt_search_spaces") / "spaces"


def test_a_parameter_that_is_fixed_is_held_and_the_others_are_searched(tmp_path: Path) -> None:
    result = search(tmp_path, fix={"batch_size": 16}, trials=4)
    assert result.space.names == ("learning_rate", "divergence_weight")
    sizes = {s.hyperparameters["batch_size"] for t in result.trials for s in t.segments}
    assert sizes == {16}
    rates = {t.segments[0].hyperparameters["learning_rate"] for t in result.trials}
    assert len(rates) == 4
    assert result.recommended is not None
    assert {values["batch_size"] for values in result.recommended.hyperparameters} == {16}


def test_a_range_that_lacks_the_rule_s_default_is_told(tmp_path: Path) -> None:
    space = tmp_path / "low.toml"
    space.write_text(
        "[parameters.learning_rate]\ntype = 'float'\nlog = true\nlow = 1e-6\nhigh = 1e-5\n"
        "default = 'auto'\ndynamic = true\n"
        "[parameters.batch_size]\ntype = 'integer'\npowers_of_two = true\nlow = 4\nhigh = 8\n"
        "default = 4\n"
    )
    small = {"trials": 1, "trial_tokens": 4096, "confirm_seeds": 0, "agent": "random"}
    result = hpopt.search(task="lm", space=str(space), runs=str(tmp_path), name="otter", **small)  # type: ignore[arg-type]
    (note,) = result.facts.notes
    assert note == "The default of learning_rate would be 0.0011, but its range ends at 1e-05."


def test_what_a_space_has_fixed_is_in_every_trial_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    space = tmp_path / "recipe.toml"
    table = "[fixed]\nweight_decay = 0.1\nschedule_shape = 'cosine'\n"
    space.write_text(table + (SPACES / "default.toml").read_text().partition("\n")[2])
    told = {"space": str(space), "fix": {"weight_decay": 0.2}, "trials": 4}
    result = search(tmp_path / "whole", **told)
    wanted = {"weight_decay": 0.2, "schedule_shape": "cosine"}
    for trial in result.trials:
        for segment in trial.segments:
            assert wanted.items() <= segment.hyperparameters.items()
    killed(tmp_path / "cut", 6, **told)
    space.unlink()
    assert outcome(resume(tmp_path / "cut")) == outcome(result)
