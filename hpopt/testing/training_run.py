"""Whether a training run is one that studies can be resumed and compared on."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hpopt_envs.models import tensor_bytes
from hpopt_envs.records import RunFacts
from hpopt_envs.schedules import HELD_SHAPE
from hpopt_envs.training_run import Evaluation, Progress, TrainingRun
from hpopt_search_spaces import TrainingFacts, Value
from hpopt_search_spaces.auto import auto_batch_size, auto_learning_rate

from .requiring import checking, require, untouched_generators

SEGMENTS = 2  # of a trial that are trained, if it has as many
SEED, OTHER_SEED = 1, 2


def check_training_run(
    run: TrainingRun, hyperparameters: Mapping[str, Value] | None = None
) -> None:
    """Check a training run: what a `hpopt_envs.FineTuneEnv` is made of.

    - its facts fit together: a trial is whole segments, costs are finite and not negative, JSON
      carries them;
    - segments train at least as many tokens as they are to, and cost something finite;
    - a trial of the same seed is the same again, whatever the state of the global generators of
      random, numpy and torch, which it leaves as they were;
    - two trials that take turns come to what each comes to alone;
    - `evaluate` and `probe` change nothing, say the same again, and cost what the facts say;
    - `snapshot` copies, JSON carries its second part, and what `restore` makes of it goes on to
      the last bit as the trial itself does.

    Args:
        run: to be checked; nothing else may use it meanwhile.
        hyperparameters: to train with, all of them; for a table of finished runs, a cell of it.
            None for what "auto" says.

    Raises:
        AssertionError: one line: what must hold, and what was got.
    """
    where = f"training run of {run.facts.task}"
    with checking(where):
        _check_facts(run.facts, f"{where}: facts")
        values = _default(run.facts) if hyperparameters is None else dict(hyperparameters)
        _Trials(run, values, where).check()


def _default(facts: RunFacts) -> dict[str, Value]:
    auto = TrainingFacts(
        facts.total_parameters,
        facts.trainable_parameters,
        facts.trial_tokens,
        facts.sequence_length,
        facts.lora,
    )
    batch = auto_batch_size(auto)
    while batch > 1 and facts.segment_tokens % (batch * facts.sequence_length):
        batch //= 2
    held = {"learning_rate": auto_learning_rate(auto), "batch_size": batch}
    return {**HELD_SHAPE, **held, **facts.fixed}


def _check_facts(facts: RunFacts, where: str) -> None:
    whole = 0 < facts.segment_tokens <= facts.trial_tokens
    whole = whole and facts.trial_tokens % facts.segment_tokens == 0
    got: Any = facts.trial_tokens
    what = f"trial_tokens must be a multiple of segment_tokens={facts.segment_tokens}, above 0"
    require(whole, where, what, got)
    for name in ("penalty_cost", "validation_cost", "final_validation_cost", "setup_cost"):
        got = getattr(facts, name)
        require(0 <= got < math.inf, where, f"{name} must be finite and not negative", got)
    for name in ("token_cost", "objective_scale", "base_loss", "sequence_length", "epoch_tokens"):
        got = getattr(facts, name)
        require(0 < got < math.inf, where, f"{name} must be finite and above 0", got)
    trained = facts.trainable_parameters
    what = f"trainable_parameters must be among total_parameters={facts.total_parameters}"
    require(0 < trained <= facts.total_parameters, where, what, trained)
    what = f"exploded_loss must be above base_loss={facts.base_loss}"
    require(facts.exploded_loss > facts.base_loss, where, what, facts.exploded_loss)
    names, needed = list(facts.base_metrics), facts.objective_name
    require(needed in names, where, f"base_metrics must have the objective {needed}", names)
    for name in ("base_objective", "base_objective_subset"):
        got = getattr(facts, name)
        require(math.isfinite(got), where, f"{name} must be finite", got)
    limited = facts.max_divergence is not None
    require(facts.has_reference or not limited, where, "a limit needs a reference", "none")
    carried = RunFacts(**json.loads(json.dumps(asdict(facts))))
    require(carried == facts, where, f"JSON must carry {facts}", carried)


class _Trials:
    """Trials of one run with the same hyperparameters."""

    def __init__(self, run: TrainingRun, values: Mapping[str, Value], where: str) -> None:
        self._run = run
        self._facts = run.facts
        self._values = values
        self._where = where

    def check(self) -> None:
        where = self._where
        with untouched_generators(where, seed=1):
            alone = self._train(SEED)
        with untouched_generators(where, seed=2):
            again = self._train(SEED)
        _same(again, alone, where, "a trial of the same seed must be the same again")
        self._check_turns(alone)
        with untouched_generators(where, seed=3):
            measured = self._train(SEED, measured=True)
        what = "a trial must be the same where evaluate and probe look at it"
        _same(measured, alone, where, what)
        self._check_snapshot(alone)

    def _train(self, seed: int, measured: bool = False) -> list[str]:
        """Return what a trial came to: a line for each segment, the last for its state."""
        state, told, tokens = self._run.start(seed), [], 0
        for number in range(min(SEGMENTS, self._facts.segments)):
            progress = self._run.advance(state, self._values, number)
            tokens += progress.tokens
            self._check_progress(progress, number, tokens)
            told.append(repr(progress))
            if progress.outcome is not None:
                break
            if measured:
                self._measure(state)
            if tokens >= self._facts.trial_tokens:
                break
        return [*told, self._digest(state)]

    def _check_progress(self, progress: Progress, number: int, trained: int) -> None:
        where = f"{self._where}: segment {number}"
        require(progress.tokens > 0, where, "must have tokens", progress.tokens)
        require(0 < progress.cost < math.inf, where, "its cost must be finite, > 0", progress.cost)
        if progress.outcome is not None:
            return
        due = (number + 1) * self._facts.segment_tokens
        what = f"{due} tokens or more must be trained by its end (segment_tokens)"
        require(trained >= due, where, what, trained)
        if progress.optimizer_steps > 0:  # a table of finished runs doesn't know them
            loss, limit = progress.train_loss, self._facts.exploded_loss
            what = f"must have exploded where its loss is above exploded_loss={limit:g}"
            require(loss <= limit, where, what, loss)

    def _measure(self, state: Any) -> None:
        """Look at a trial in every way, twice."""
        before = self._digest(state)
        for split in ("validation", "test"):
            for whole in (False, True):
                where = f"{self._where}: evaluate({split!r}, whole={whole})"
                first = self._run.evaluate(state, split, whole)
                self._check_evaluation(first, split, whole, where)
                again = self._run.evaluate(state, split, whole)
                what = f"its metrics must be {dict(first.metrics)} again"
                require(repr(again.metrics) == repr(first.metrics), where, what, again.metrics)
        if self._facts.has_probe:
            where = f"{self._where}: probe()"
            looked = self._run.probe(state)
            require(0 <= looked.cost < math.inf, where, "its cost must be finite, ≥ 0", looked.cost)
            again_looked = self._run.probe(state)
            same = repr(looked) == repr(again_looked)
            require(same, where, f"must be {looked} again", again_looked)
        after = self._digest(state)
        what = "evaluate and probe must leave the trial's state as it is"
        require(after == before, self._where, what, "another one")

    def _check_evaluation(self, got: Evaluation, split: str, whole: bool, where: str) -> None:
        facts, metrics = self._facts, got.metrics
        needed = [facts.objective_name]
        needed += ["divergence"] if facts.has_reference else []
        for name in needed:
            require(name in metrics, where, f"must have {name}", list(metrics))
        least = facts.final_validation_cost if whole else facts.validation_cost
        least = least if split == "validation" else 0.0
        enough = least * (1 - 1e-9) <= got.cost < math.inf
        require(enough, where, f"must cost {least:g} or more, as the facts say", got.cost)
        value = (-1 if facts.maximize else 1) * metrics[facts.objective_name]
        value += facts.forgetting_weight * metrics.get("forgetting", 0.0)
        what = f"its objective must be {value:g}, to be minimised, as its metrics say"
        same = math.isclose(value, got.objective, rel_tol=1e-9, abs_tol=1e-12)
        require(same or value != value, where, what, got.objective)

    def _check_turns(self, alone: list[str]) -> None:
        other = self._train(OTHER_SEED)
        states = {seed: self._run.start(seed) for seed in (SEED, OTHER_SEED)}
        told: dict[int, list[str]] = {SEED: [], OTHER_SEED: []}
        for number in range(max(len(alone), len(other)) - 1):
            for seed, whole in ((SEED, alone), (OTHER_SEED, other)):
                if number < len(whole) - 1:
                    progress = self._run.advance(states[seed], self._values, number)
                    told[seed].append(repr(progress))
        for seed, whole in ((SEED, alone), (OTHER_SEED, other)):
            together = [*told[seed], self._digest(states[seed])]
            what = "two trials that take turns must come to what each comes to alone"
            _same(together, whole, self._where, what)

    def _check_snapshot(self, alone: list[str]) -> None:
        run, where = self._run, f"{self._where}: snapshot"
        state = run.start(SEED)
        for number in range(len(alone) - 1):
            tensors, meta = run.snapshot(state)
            carried = json.loads(json.dumps(meta))
            taken = self._hash(tensors, carried)
            run.advance(state, self._values, number)
            what = "must be a copy, which training leaves as it is"
            require(self._hash(tensors, meta) == taken, where, what, "another one")
            restored = run.restore(tensors, carried)
            back = self._digest(restored)
            require(back == taken, where, "must be the same again after restore", "another one")
            progress = run.advance(restored, self._values, number)
            what = f"segment {number} after restore must be the trial's own"
            _same([repr(progress)], [alone[number]], where, what)
            what = f"the state after segment {number} must be the same to the last bit"
            same = self._digest(restored) == self._digest(state)
            require(same, where, f"{what} after restore", "another one")

    def _digest(self, state: Any) -> str:
        return self._hash(*self._run.snapshot(state))

    def _hash(self, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
        return digest.hexdigest()


def _same(got: list[str], expected: list[str], where: str, what: str) -> None:
    """Require that two trials are the same; what differs first is told."""
    for number, (line, other) in enumerate(zip(expected, got, strict=False)):
        last = number == len(expected) - 1 and len(expected) > 1
        place = "in its state at the end" if last else f"in segment {number}: {line}"
        require(line == other, where, what, f"{other} {place}")
    require(len(got) == len(expected), where, what, f"{len(got) - 1} segments")
