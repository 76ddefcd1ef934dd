"""What a study shows while it runs: plain lines in a pipe, a live view on a terminal."""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpopt_envs.records import Outcome, Trial
from hpopt_search_spaces import Value

from ..commands import record_note
from ..export.refusals import unexportable
from ..record.final import Entrant
from ..record.lines import Event
from ..searchers.base import NO_PRUNER
from ..study.display import Display
from ..wording import counted, describe, describe_path, duration, limit, objective, unlimited

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


class LineDisplay(Display):
    """A line for each trial that ends."""

    _limit_told = False

    def begun(self) -> None:
        for line in self._opening():
            self.line(line)
        self._tell_limit()

    def _tell_limit(self) -> None:
        """Say once, as soon as it is known, for how long a worker may say nothing."""
        assert self.study is not None
        limit = self.study.pool.silence_limit
        if limit is not None and not self.facts.external and not self._limit_told:
            self._limit_told = True
            self.line(f"a worker that says nothing for {duration(limit)} counts as dead")

    def _opening(self) -> list[str]:
        facts, asked, study = self.facts, self.settings.searcher, self.study
        assert study is not None
        pruner = "" if asked.pruner == NO_PRUNER else f" with pruner {asked.pruner}"
        sense = "maximised" if facts.maximize else "minimised"
        unit = f", {facts.unit}" if facts.unit else ""
        divergence = "" if facts.max_divergence is None else f"{'divergence':<16s}"
        kept = self.settings.tracking
        record = record_note(kept.tracking_uri, kept.experiment)
        who = f"study {study.name}: {study.agent}{pruner} on {facts.task}"
        judged = f"objective: {objective(facts)} ({sense}{unit}){limit(facts)}"
        if facts.external:
            opening = [f"{who}, {facts.model}", judged]
        else:
            trained = f"({facts.trainable_parameters:,} trained parameters)"
            base = f"base model: {facts.shown(facts.base_objective):.4f}"
            opening = [f"{who}, model {facts.model} {trained}", f"{judged}; {base}"]
        return [
            *opening,
            f"space {self.space.name}; default: {describe(self.space.defaults())}",
            *([f"baseline: {describe(facts.baseline)}"] if facts.baseline else []),
            *filter(None, [unlimited(facts), *facts.notes, unexportable(study.header), record]),
            f"budget: {self._limits()}; {self._what_a_trial_is()}",
            f"trial  used  value (* best so far)        {divergence}hyperparameters",
        ]

    def _what_a_trial_is(self) -> str:
        facts = self.facts
        if facts.external:
            return "a trial is a run of the command"
        segments = counted(facts.segments, "segment")
        return f"a trial is {segments} of {facts.segment_tokens:,} training tokens"

    def _limits(self) -> str:
        limits = self.budget.limits
        told = []
        if limits.trials is not None:
            told.append(counted(limits.trials, "trial"))
        if limits.cost is not None:
            told.append(f"{limits.cost:,.0f} token-equivalents")
        if limits.seconds is not None:
            told.append(duration(limits.seconds))
        if limits.target is not None:
            told.append(f"a value of {self.facts.shown(limits.target):g}")
        return " or ".join(told)

    def line(self, text: str) -> None:
        """Show a line that stays."""
        print(text, flush=True)

    def event(self, event: Event) -> None:
        self._tell_limit()
        ended = self._ended(event)
        if ended is not None and ended.id not in self.history.tests:
            self.line(self._trial_line(ended))
        if event["event"] == "chosen":
            self.line(f"       trial {event['trial']}: {event['why'].get('text', '')}")
        if event["event"] == "lost":
            self.line(f"trial {event['trial']}: a segment was lost, and is charged in full")

    def _ended(self, event: Event) -> Trial | None:
        if event["event"] not in ("reply", "closed"):
            return None
        trial = self.history.trials[event["trial"]]
        return trial if trial.outcome is not None else None

    def _trial_line(self, trial: Trial) -> str:
        used = 1.0 - self.budget.left(self.history)
        result = self._result(trial)
        told = f"{trial.id:5d}  {used:4.0%}  {result:<28s} {self._divergence(trial)}"
        return told + self._hyperparameters(trial)

    def _result(self, trial: Trial) -> str:
        if trial.pruned:
            return f"pruned after segment {self._of_all(len(trial.segments))}"
        if trial.value is None:
            outcome = trial.outcome or Outcome.FAILED
            reason = f" ({trial.reason})" if outcome is Outcome.FAILED else ""
            return outcome.value.replace("_", " ") + reason
        best = self.history.best
        star = " *" if best is not None and best.id == trial.id else ""
        stopped = trial.outcome is Outcome.STOPPED
        where = f" (stopped after segment {len(trial.segments)})" if stopped else ""
        return f"{self.facts.shown(trial.value):.4f}{star}{where}"

    def _of_all(self, segment: int) -> str:
        """Return a segment's place among its trial's, of which a script has any number."""
        return str(segment) if self.facts.external else f"{segment} of {self.facts.segments}"

    def _divergence(self, trial: Trial) -> str:
        """Return the column that a limit adds: where the trial ended, and whether it's over."""
        if self.facts.max_divergence is None:
            return ""
        metrics = trial.segments[-1].metrics if trial.segments else {}
        if "divergence" not in metrics:
            return f"{'':16s}"
        over = "" if self.facts.feasible(metrics) else " (over)"
        return f"{metrics['divergence']:.4f}{over}".ljust(16)

    def _hyperparameters(self, trial: Trial) -> str:
        """Return what of the space the trial was trained with, on its path."""
        return describe_path(trial.path, self.space.names)

    def judging(self, entrants: Sequence[Entrant]) -> None:
        names = [entrant.name for entrant in entrants]
        named = f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
        self.line(f"the final, on fresh seeds: {named} ...")

    def end(self) -> None:
        self.line("finishing the record in MLflow ...")


class LiveDisplay(LineDisplay):
    """The same lines, and below them what is running now."""

    _live: "Live | None" = None
    _judging = False

    def __init__(self) -> None:
        self._asked: dict[int, str] = {}  # hyperparameters by trial, of the segment under way

    def begun(self) -> None:
        from rich.live import Live

        super().begun()
        # Rendered anew at each refresh, so that the clock goes on within a segment.
        self._live = Live(get_renderable=self._view, refresh_per_second=2, transient=True)
        self._live.start()

    def line(self, text: str) -> None:
        if self._live is None:
            super().line(text)
        else:
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        super().event(event)
        if event["event"] == "decision" and event["request"]["kind"] == "advance":
            self._asked[event["trial"]] = describe(self._decided(event["request"]))

    def _decided(self, request: dict[str, Any]) -> dict[str, Value]:
        """Return what a request says of hyperparameters; relative moves say none."""
        if request["hyperparameters"] is not None:
            given = request["hyperparameters"]
            return {name: given[name] for name in self.space.names if name in given}
        return {}

    def judging(self, entrants: Sequence[Entrant]) -> None:
        self._judging = True
        super().judging(entrants)

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().end()

    def _view(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table

        running = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        measured = self.facts.objective_name if self.facts.external else "train loss"
        for column in ("trial", "segment", measured, "hyperparameters"):
            running.add_column(column, overflow="fold")
        for trial_id in sorted(list(self.history.running.values())):
            trial = self.history.trials[trial_id]
            running.add_row(
                "fresh seed" if trial_id in self.history.tests else str(trial_id),
                self._of_all(len(trial.segments) + 1),
                self._measured(trial),
                self._asked.get(trial_id) or self._hyperparameters(trial),
            )
        return Group("", running, self._best(), self._progress())

    def _measured(self, trial: Trial) -> str:
        """Return what the last segment showed: a script's value, else the training loss."""
        if not trial.segments:
            return "–"
        last = trial.segments[-1]
        shown = last.train_loss
        if self.facts.external:
            shown = last.metrics.get(self.facts.objective_name, math.nan)
        return f"{shown:.4f}"

    def _best(self) -> str:
        best = self.history.best
        if best is None or best.value is None:
            return "best so far: none"
        value = self.facts.shown(best.value)
        return f"best so far: {value:.4f} (trial {best.id}, {self._hyperparameters(best)})"

    def _progress(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        used = 1.0 - self.budget.left(self.history)
        elapsed = self.budget.elapsed_seconds()
        texts = ["the final" if self._judging else f"{used:.0%} of the budget used"]
        texts.append(duration(elapsed))
        if used > 0.02 and not self._judging:
            texts.append(f"about {duration(self._seconds_left(used, elapsed))} left")
        if self.history.paused:
            texts.append(f"{counted(len(self.history.paused), 'trial')} paused")
        if self.tracking is not None and self.tracking.error:
            texts.append(f"MLflow: {self.tracking.error}")
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(total=1.0, completed=used, width=30), ", ".join(texts))
        return bar

    def _seconds_left(self, used: float, elapsed: float) -> float:
        """Return seconds: of the search at its pace so far, and the final at its longest."""
        searched = self.history.search_cost / used
        return elapsed * (1.0 - used) / used + self.budget.final_seconds(searched, self.history)


def make_display() -> Display:
    """Return the live view on a terminal, plain lines elsewhere."""
    return LiveDisplay() if sys.stdout.isatty() else LineDisplay()
