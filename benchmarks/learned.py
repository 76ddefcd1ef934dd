"""What agent learned is worth beside its rivals, on tasks that its policy never saw.

    python benchmarks/learned.py nano:adagrad,nano:text [--tasks 64] [--displace 2]
    python benchmarks/learned.py lm,lm-lora,classify --seeds 3 --tokens 32768 [--displace 2]

Every searcher has the same budget in token-equivalents, the default rule, and the same seeds; all
ramps and probes are charged. Regret is 0 for the best that anybody found on a task, and 1 for its
base model. Values are each study's own, on validation: whoever tries more often has more luck in
them. A nano family stands for N of its tasks, from the thousandth on; with `--displace SD` each
block's default learning rate is multiplied by 2^N(0, SD²), as in `compare`. Below are differences
of the learned searcher after 1 to 6 trials to each rival after each number of trials; * p <
.05, ** p < .01, sign flips over blocks. Results are appended to `--out` as JSON, and what is there
isn't run again. Beside agents of `hpopt agents`, `portfolio` tries the ten configurations that did
best together on the tasks that the policy learned from, relative to the default, and `tpe-
portfolio` is TPE that begins with three of them.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpopt.comparison.displacing import displacement
from hpopt.comparison.sharing import make_env
from hpopt.policies.files import load_policy
from hpopt.pool.budget import Budget, Limits
from hpopt.pool.local import LocalPool
from hpopt.pool.metered import MeteredPool
from hpopt.record.history import History
from hpopt.record.journal import Journal
from hpopt.searchers.base import Searcher, SearchPlan
from hpopt.searchers.cells import Cells
from hpopt.searchers.default import ListProposer
from hpopt.searchers.driver import ProposerSearcher
from hpopt.searchers.optuna_proposer import OptunaProposer
from hpopt.searchers.registry import build_searcher, find_agent
from hpopt.verdict.statistics import sign_flip_p
from hpopt_search_spaces import Value

SHOWN = (1, 2, 3, 4, 5, 6, 8, 10)  # trials
LEARNED = (1, 2, 3, 4, 5, 6)  # trials of the learned searcher that rivals are set against
FIRST = 1000  # task of a nano family; earlier ones are in the tables that policies are chosen by
LEAST_GAIN = 0.02  # of the base loss, for a task to say anything
Key = tuple[str, int, float]  # task, seed, displacement


def environment(block: Key, tokens: int | None, spec: Any) -> dict[str, Any]:
    task, _, off = block
    own: dict[str, Any] = {} if tokens is None else {"trial_tokens": tokens}
    view = {"view": spec.view, "validate_segments": spec.validates}
    return {"task": task, "displacement": off, **view, **own}


def study(block: Key, agent: str, trials: int, tokens: int | None, policy: str) -> dict[str, Any]:
    """Search once; return the base objective and what each trial came to."""
    named = {"portfolio": "tpe", "tpe-portfolio": "tpe"}.get(agent, agent)
    spec, seed = find_agent(named), block[1]
    arguments = environment(block, tokens, spec)
    pool = LocalPool(f"{make_env.__module__}:make_env", arguments)
    header = {"event": "study", "facts": vars(pool.facts), "settings": {}}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.create(Path(folder) / "journal.jsonl", header)
        history = History()
        history.apply(journal.events[0])
        metered = MeteredPool(
            pool,
            journal,
            history,
            Budget(Limits(trials=trials), pool.facts, spec.validates),
            seed=seed,
            snapshots=Path(folder) / "snapshots",
            shape=spec.shape,
        )
        searcher(agent, trials, seed, policy).search(metered)
        journal.close()
    values = [trial.value for trial in metered.trials]
    facts = pool.facts
    return {"base": facts.base_objective, "scale": facts.base_loss, "values": values}


def searcher(agent: str, trials: int, seed: int, policy: str) -> Searcher:
    plan = SearchPlan(agent, "none", trials, seed, "default", policy=policy)
    if agent == "portfolio":
        return ProposerSearcher(lambda pool: ListProposer(known(pool, policy)))
    if agent == "tpe-portfolio":
        tpe = replace(plan, agent="tpe")
        return ProposerSearcher(
            lambda pool: OptunaProposer(pool.space, tpe, pool.facts, known(pool, policy)[:3])
        )
    return build_searcher(plan)


def known(pool: MeteredPool, policy: str) -> list[dict[str, Value]]:
    """Return the portfolio of the policy's card, where the task's default is."""
    cells, defaults = Cells.of(pool.space, pool.facts), pool.space.defaults()
    found = []
    for octave, weight, multiple in load_policy(policy).card["portfolio"]:
        own: dict[str, Value] = {"learning_rate": float(defaults["learning_rate"]) * 2.0**octave}
        if cells.weights:
            own["divergence_weight"] = weight
        if "batch_size" in pool.space:
            own["batch_size"] = cells.batches[0] * multiple
        found.append(pool.space.snap({**defaults, **own}))
    return found


def blocks_of(tasks: str, numbered: range, seeds: int, spread: float) -> Iterator[Key]:
    for task in tasks.split(","):
        family = task.removeprefix("nano:")
        numbers = numbered if task != family else [None]
        for number in numbers:
            name = task if number is None else f"{task}:{number}"
            for seed in range(seeds):
                yield name, seed, displacement(spread, name, seed)


def best_so_far(found: dict[str, Any], lowest: float) -> np.ndarray[Any, Any]:
    """Regret after each trial, clipped to [0, 1]."""
    values = np.array([math.inf if v is None else v for v in found["values"]] or [math.inf])
    gain = max(found["base"] - lowest, 1e-9)
    regret = np.clip((np.minimum.accumulate(values) - lowest) / gain, 0.0, 1.0)
    more = max(SHOWN) - len(regret)
    return np.pad(regret, (0, max(0, more)), mode="edge")[: max(SHOWN)]


def told(results: dict[str, Any], agents: list[str], family: str) -> None:
    """Print the table of some blocks."""
    rows: dict[str, list[np.ndarray[Any, Any]]] = {agent: [] for agent in agents}
    for name, found in results.items():
        if family not in ("", name.partition("|")[0].rpartition(":")[0], name.partition("|")[0]):
            continue
        values = [v for one in found.values() for v in one["values"] if v is not None]
        if len(found) < len(agents) or not values:
            continue
        base = next(iter(found.values()))
        if base["base"] - min(values) < LEAST_GAIN * base["scale"]:
            continue
        for agent in agents:
            rows[agent].append(best_so_far(found[agent], min(values)))
    count = len(rows[agents[0]])
    print(f"\n{family or 'all'}: {count} blocks")
    if not count:
        return
    print(f"  {'after trials':<24}" + "".join(f"{n:>9}" for n in SHOWN))
    for agent in agents:
        mean = np.mean(rows[agent], axis=0)
        print(f"  {agent:<24}" + "".join(f"{mean[n - 1]:>9.3f}" for n in SHOWN))
    own = np.array(rows["learned"])
    for agent in (agent for agent in agents if agent != "learned"):
        other = np.array(rows[agent])
        for mine in LEARNED:
            cells = []
            for n in SHOWN:
                differences = own[:, mine - 1] - other[:, n - 1]
                p = sign_flip_p(differences, np.random.default_rng(0))
                mark = "**" if p < 0.01 else "*" if p < 0.05 else ""
                cells.append(f"{differences.mean():+.3f}{mark}")
            print(f"  learned({mine}) − {agent:<11}" + "".join(f"{cell:>9}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", help="tasks and nano families, comma-separated")
    parser.add_argument(
        "--agents",
        default="learned:5,range-test:5,default:1,hold:1,tpe:10,portfolio:10,tpe-portfolio:10",
    )
    parser.add_argument("--tasks", type=int, default=64, help="of a nano family")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--displace", type=float, default=0.0, help="octaves, standard deviation")
    parser.add_argument("--tokens", type=int, default=None, help="of a trial")
    parser.add_argument("--policy", default="")
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    agents = {name: int(n) for name, _, n in (a.partition(":") for a in asked.agents.split(","))}
    results: dict[str, Any] = {}
    if asked.out is not None and asked.out.exists():
        for text in asked.out.read_text(encoding="utf-8").splitlines():
            results.update(json.loads(text))
    numbered = range(FIRST, FIRST + asked.tasks)
    for block in blocks_of(asked.names, numbered, asked.seeds, asked.displace):
        name = "|".join(map(str, block))
        found = results.setdefault(name, {})
        for agent, trials in agents.items():
            if agent not in found:
                found[agent] = study(block, agent, trials, asked.tokens, asked.policy)
        if asked.out is not None:
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: found}) + "\n")
        if not name.startswith("nano:"):
            shown = {
                agent: [round(v, 3) if v else v for v in found[agent]["values"]] for agent in agents
            }
            print(name, shown, flush=True)
    for family in (*asked.names.split(","), ""):
        told(results, list(agents), family)


if __name__ == "__main__":
    main()
