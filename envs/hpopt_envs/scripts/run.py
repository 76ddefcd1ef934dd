"""A training run that is somebody else's: a process, of which what it reports is known.

How long a trial is isn't known before its end. So a segment isn't a number of tokens here, but the
way to the script's next report of the value; the last one is the way from the last report to the
process's end. Nothing of a process can be saved: a trial that was cut off is run again.
"""

import math
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import SearchSpace, Value

from ..errors import WorldError
from ..records import Outcome, RunFacts
from ..settings import Script
from ..training_run import Evaluation, Probe, Progress
from .devices import device_of_worker
from .process import ScriptProcess
from .reports import REPORTS, JsonFile, JsonLines, Pattern, Report, Reports, Source, TrainerState
from .template import SEEDS, Template

POLL = 0.1  # seconds between looks for a report; the process's end is noticed at once
LONGEST_REASON = 200  # characters of what a script said last
TAIL = 2**16  # bytes of its output in which the reason of its end is looked for
MEMORY = re.compile(r"CUDA out of memory|\bOutOfMemoryError\b|CUDA_ERROR_OUT_OF_MEMORY")


@dataclass
class ScriptState:
    """A trial: what it is known by, its process once it has begun, and what that reported.

    Attributes:
        seed: of the trial.
        trial: its id.
        own: hyperparameters that it began with.
        process: None before the first segment.
        reports: where it reports.
        waiting: reports that no segment ended at yet.
        last: the newest report that one did; None before.
        spent: what of the cost is on record: seconds since its beginning, or tokens.
        began: when the process was started, by the clock that never goes back.
        heard: when it last said something, and how much it had said by then.
    """

    seed: int
    trial: int = 0
    own: Mapping[str, Value] = field(default_factory=dict)
    process: ScriptProcess | None = None
    reports: Reports = field(default_factory=Reports)
    waiting: deque[Report] = field(default_factory=deque)
    last: Report | None = None
    spent: float = 0.0
    began: float = 0.0
    heard: tuple[float, int] = (0.0, 0)


class ScriptRun:
    """See `TrainingRun` and `TrialProcesses` for what each method promises.

    Args:
        facts: of the run.
        space: resolved; conditionals that are off are passed at their default.
        script: what to run, and where its values are.
        folder: for the trials' files.
        silence_limit: seconds for which a script may say nothing; None for no limit.
    """

    def __init__(
        self,
        facts: RunFacts,
        space: SearchSpace,
        script: Script,
        folder: Path,
        silence_limit: float | None,
    ) -> None:
        self.facts = facts
        self._script, self._folder, self._limit = script, folder, silence_limit
        self._template = Template.of(script.command or "")
        self._defaults = {p.name: p.default for p in space.parameters} | dict(facts.fixed)

    def start(self, seed: int) -> ScriptState:
        return ScriptState(seed)

    def name(self, state: ScriptState, trial: int) -> None:
        state.trial = trial

    def end(self, state: ScriptState) -> None:
        if state.process is not None:
            state.process.end()

    def advance(
        self,
        state: ScriptState,
        hyperparameters: Mapping[str, Value],
        segment: int,
        tokens: int | None = None,
    ) -> Progress:
        """Wait for the script's next report, or, for `facts.trial_tokens`, for its end."""
        whole = tokens is not None and tokens >= self.facts.trial_tokens
        own = {n: hyperparameters[n] for n in self._defaults if n in hyperparameters}
        try:
            if state.process is None:
                self._begin(state, own)
            elif own != state.own:
                raise WorldError("hyperparameters of a command can't change during a trial")
            return self._progress(state, whole)
        except BaseException:
            self.end(state)
            raise

    def _begin(self, state: ScriptState, own: Mapping[str, Value]) -> None:
        place = _new_place(self._folder, f"trial-{state.trial:07d}")
        folder, said = place / "output", place / "reports.jsonl"
        folder.mkdir()
        script, value = self._script, self.facts.objective_name
        ours: dict[str, Value] = {
            "seed": state.seed % SEEDS,
            "folder": str(folder),
            "fraction": script.fraction or 1.0,
            "steps": script.steps or 0,
        }
        environment = {**os.environ, **device_of_worker(), REPORTS: str(said)}
        # What it prints is to be read while it runs.
        environment.setdefault("PYTHONUNBUFFERED", "1")
        arguments = self._template.filled({**self._defaults, **own, **ours})
        state.process = ScriptProcess(arguments, place, environment)
        state.own, state.began = own, time.monotonic()
        state.heard = state.began, 0
        sources: list[Source] = [JsonLines(said, value), TrainerState(folder, value)]
        if script.value_file is not None:
            form = JsonLines if script.value_file.endswith(".jsonl") else JsonFile
            sources.append(form(folder / script.value_file, value))
        if script.value_pattern is not None:
            sources.append(Pattern(state.process.stdout, value, script.value_pattern))
        state.reports = Reports(*sources)

    def _progress(self, state: ScriptState, whole: bool) -> Progress:
        process = state.process
        assert process is not None
        while True:
            ended = process.wait(0.0 if state.waiting else POLL)
            state.waiting += state.reports.read(ended)
            while state.waiting:
                state.last = state.waiting.popleft()
                value = state.last.metrics[self.facts.objective_name]
                if not math.isfinite(value):
                    process.end()
                    reason = f"{self.facts.objective_name} is {value}"
                    return self._segment(state, 0, Outcome.EXPLODED, reason)
                if not whole:
                    return self._segment(state, 1)
            if ended:
                return self._segment(state, 0, *self._how_it_ended(state, process.end()))
            if self._is_silent(state, process):
                process.end()
                reason = f"said nothing for {self._limit:g} s ({process.stderr})"
                return self._segment(state, 0, Outcome.FAILED, reason)

    def _how_it_ended(self, state: ScriptState, status: int) -> tuple[Outcome, str]:
        process = state.process
        assert process is not None
        if status == 0:
            if state.last is not None:
                return Outcome.COMPLETED, ""
            value = self.facts.objective_name
            return Outcome.FAILED, f"ended without a value of {value} ({process.stdout})"
        said = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        errors, output = _tail(process.stderr), _tail(process.stdout)
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        told = f": {lines[-1][:LONGEST_REASON]}" if lines else ""
        short = MEMORY.search(errors) or MEMORY.search(output)
        return (
            Outcome.OUT_OF_MEMORY if short else Outcome.FAILED,
            f"{said}{told} ({process.stderr})",
        )

    def _is_silent(self, state: ScriptState, process: ScriptProcess) -> bool:
        """Return whether it has neither reported nor printed anything for too long."""
        if self._limit is None:
            return False
        files = (process.stdout, process.stderr, process.stdout.with_name("reports.jsonl"))
        length = sum(path.stat().st_size for path in files if path.is_file())
        if length != state.heard[1]:
            state.heard = time.monotonic(), length
        return time.monotonic() - state.heard[0] >= self._limit

    def _segment(
        self,
        state: ScriptState,
        reports: int,
        outcome: Outcome | None = None,
        reason: str = "",
    ) -> Progress:
        """Return a segment, which costs the tokens since the one before, else the seconds."""
        seen = None if state.last is None else state.last.tokens
        now = time.monotonic() - state.began if seen is None else float(seen)
        cost, state.spent = max(0.0, now - state.spent), now
        return Progress(
            tokens=reports if seen is None else int(cost),
            optimizer_steps=0,
            train_loss=math.nan,
            penalty=None,
            gradient_norm=math.nan,
            gradient_norm_std=math.nan,
            clip_fraction=math.nan,
            noise_scale=None,
            cost=cost,
            outcome=outcome,
            reason=reason,
            hyperparameters=state.own,
        )

    def probe(self, state: ScriptState) -> Probe:
        raise WorldError("probe: a script can't be probed")

    def evaluate(self, state: ScriptState, split: str, whole: bool) -> Evaluation:
        """Return what was reported last; a script has no test split."""
        assert state.last is not None
        value = state.last.metrics[self.facts.objective_name]
        return Evaluation(state.last.metrics, self.facts.shown(value), cost=0.0)

    def snapshot(self, state: ScriptState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {}, {"seed": state.seed, "trial": state.trial, "begun": state.process is not None}

    def restore(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> ScriptState:
        if meta["begun"]:
            raise WorldError("a script can't be taken up in the middle: it is run again")
        return ScriptState(meta["seed"], meta["trial"])

    def save_weights(self, state: ScriptState, folder: Path) -> None:
        """Write nothing: what the script wrote stays in its trial's folder."""


def _new_place(folder: Path, name: str) -> Path:
    """Make a trial's folder, and delete those of tries that were cut off.

    A process of such a try may still be ending, and mustn't write into this one's.
    """
    earlier = [path for path in folder.glob(f"{name}*") if path.is_dir()]
    free = (name if number == 1 else f"{name}-{number}" for number in count(1))
    place = next(folder / one for one in free if folder / one not in earlier)
    place.mkdir(parents=True)
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)
    return place


def _tail(path: Path) -> str:
    """Return the end of a file, as far as it is looked through."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
