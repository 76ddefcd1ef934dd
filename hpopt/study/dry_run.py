"""What a study would cost, told after one measured segment."""

import time

from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.episode.environment import FineTuneEnv
from hpopt_envs.factory import make_env
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.scripts.template import command_line
from hpopt_search_spaces import Value

from ..pool.budget import FinalPlan
from ..searchers.registry import check_prior, check_space, choose_agent, find_agent
from ..settings.groups import BudgetSettings
from ..settings.study import Settings
from ..wording import counted
from .header import environment_settings
from .open_study import final_plan
from .opening import check_world, read_sources


def dry_run(settings: Settings) -> str:
    """Train one segment of the default configuration, and return the report's text.

    Nothing is written.

    Raises:
        HpoptError: the study couldn't begin.
    """
    asked, budget, workers = settings.searcher, settings.budget, settings.machine.workers
    spec = find_agent(choose_agent(asked.agent, asked.pruner), asked.pruner)
    check_prior(asked.agent, asked.prior)
    check_world(settings)
    read_sources(settings, spec)  # which may be missing
    arguments = environment_settings(settings, spec) | {"view": "absolute"}
    started = time.perf_counter()
    env = make_env(**arguments)
    loaded = time.perf_counter() - started
    facts = env.facts
    if facts.external:
        return _command(settings, env)
    agent = choose_agent(asked.agent, asked.pruner, env.space, facts.has_probe, asked.prior)
    check_space(agent, env.space, facts.has_probe)
    env.reset(seed=asked.seed, options={"fixed": HELD_SHAPE})
    started = time.perf_counter()
    segment = env.step(absolute_action(env.space.default_unit))[4]["segment"]
    seconds = time.perf_counter() - started
    trial_cost = facts.segments * segment.cost + facts.final_validation_cost
    trial_seconds = seconds * trial_cost / segment.cost
    plan = final_plan(settings)
    setup, shares = facts.setup_cost, (trial_cost, trial_seconds / workers)
    trials = _trials(budget, plan, setup, *shares)
    final = _final_runs(plan, trials)
    runs = trials + final
    return "\n".join(
        [
            f"{facts.task} on {facts.model}: {facts.total_parameters:,} parameters, "
            f"{facts.trainable_parameters:,} of them trained; loaded in {loaded:.1f} s",
            f"a trial: {facts.segments} segments of {facts.segment_tokens:,} training tokens, "
            f"{trial_cost:,.0f} token-equivalents, about {trial_seconds:.0f} s",
            f"the study: about {counted(trials, 'trial')} and at most {final} more in the "
            f"final, {facts.setup_cost + runs * trial_cost:,.0f} token-equivalents, "
            f"{6 * facts.total_parameters * runs * trial_cost:.2g} FLOPs, "
            f"about {runs * trial_seconds / workers:.0f} s on {counted(workers, 'worker')}",
        ]
    )


def _command(settings: Settings, env: FineTuneEnv) -> str:
    """Return what would be run; how long that takes is the script's affair."""
    script = settings.environment.script
    ours: dict[str, Value] = {"seed": 0, "folder": "output", "fraction": script.fraction or 1.0}
    off = {parameter.name: parameter.default for parameter in env.space.parameters}
    values = {**off, **env.facts.fixed, **ours, "steps": script.steps or 0}
    return f"the default's trial: {command_line(str(script.command), values)}"


def _trials(
    budget: BudgetSettings,
    plan: FinalPlan,
    setup: float,
    trial_cost: float,
    trial_seconds: float,
) -> int:
    """Return how many trials the least of the limits allows, the final paid for."""
    allowed = []
    if budget.trials is not None:
        allowed.append(float(budget.trials))
    if budget.cost is not None:
        allowed.append(_with_final(plan, (budget.cost - setup) / trial_cost))
    if budget.time_limit is not None:
        allowed.append(_with_final(plan, budget.time_limit / trial_seconds))
    return max(0, int(min(allowed)))


def _final_runs(plan: FinalPlan, trials: int) -> int:
    """Return how many runs the final of so many trials has at most, each as dear as a trial."""
    return int(plan.cost(trials, 1.0)) if trials else 0


def _with_final(plan: FinalPlan, runs: float) -> float:
    """Return how many trials can be paid for with so many runs, when their final is paid too."""
    trials = int(runs)
    while trials > 0 and trials + _final_runs(plan, trials) > runs:
        trials -= 1
    return trials
