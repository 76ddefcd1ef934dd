"""What a study would cost, told after one measured segment."""

import time

from hpopt_envs.episode.actions import absolute_action
from hpopt_envs.factory import make_env
from hpopt_envs.schedules import HELD_SHAPE

from ..searchers.registry import check_prior, check_space, choose_agent, find_agent
from ..settings.groups import BudgetSettings
from ..settings.study import Settings
from ..wording import counted
from .header import environment_settings
from .opening import read_sources


def dry_run(settings: Settings) -> str:
    """Train one segment of the default configuration, and return the report's text.

    Nothing is written.

    Raises:
        HpoptError: the study couldn't begin.
    """
    asked, budget, workers = settings.searcher, settings.budget, settings.machine.workers
    spec = find_agent(choose_agent(asked.agent, asked.pruner), asked.pruner)
    check_prior(asked.agent, asked.prior)
    read_sources(settings, spec)  # which may be missing
    arguments = environment_settings(settings, spec) | {"view": "absolute"}
    started = time.perf_counter()
    env = make_env(**arguments)
    loaded = time.perf_counter() - started
    facts = env.facts
    agent = choose_agent(asked.agent, asked.pruner, env.space, facts.has_probe, asked.prior)
    check_space(agent, env.space, facts.has_probe)
    env.reset(seed=asked.seed, options={"fixed": HELD_SHAPE})
    started = time.perf_counter()
    segment = env.step(absolute_action(env.space.default_unit))[4]["segment"]
    seconds = time.perf_counter() - started
    trial_cost = facts.segments * segment.cost + facts.final_validation_cost
    trial_seconds = seconds * trial_cost / segment.cost
    confirmations = 2 * settings.confirm_seeds
    setup, shares = facts.setup_cost, (trial_cost, trial_seconds / workers)
    trials = _trials(budget, confirmations, setup, *shares)
    runs = trials + confirmations
    return "\n".join(
        [
            f"{facts.task} on {facts.model}: {facts.total_parameters:,} parameters, "
            f"{facts.trainable_parameters:,} of them trained; loaded in {loaded:.1f} s",
            f"a trial: {facts.segments} segments of {facts.segment_tokens:,} training tokens, "
            f"{trial_cost:,.0f} token-equivalents, about {trial_seconds:.0f} s",
            f"the study: about {counted(trials, 'trial')} and {confirmations} for the "
            f"confirmation, {facts.setup_cost + runs * trial_cost:,.0f} token-equivalents, "
            f"{6 * facts.total_parameters * runs * trial_cost:.2g} FLOPs, "
            f"about {runs * trial_seconds / workers:.0f} s on {counted(workers, 'worker')}",
        ]
    )


def _trials(
    budget: BudgetSettings,
    confirmations: int,
    setup: float,
    trial_cost: float,
    trial_seconds: float,
) -> int:
    """Return how many trials the least of the limits allows, the confirmation paid for."""
    allowed = []
    if budget.trials is not None:
        allowed.append(float(budget.trials))
    if budget.cost is not None:
        allowed.append((budget.cost - setup) / trial_cost - confirmations)
    if budget.time_limit is not None:
        allowed.append(budget.time_limit / trial_seconds - confirmations)
    return max(0, int(min(allowed)))
