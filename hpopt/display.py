"""What a study shows while it runs: plain lines in a pipe, a live view on a terminal."""

import sys
from typing import TYPE_CHECKING

from hpopt_envs.records import Outcome, RunFacts, Trial
from hpopt_search_spaces import SearchSpace

from .history import History
from .journal import Event
from .pool.budget import Budget
from .settings import Settings
from .tracking.client import TrackingProcess
from .wording import describe

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Display:
    """Shows nothing; what `hpopt.search` uses. The others add to it."""

    name: str | None = None

    def begin(
        self,
        settings: Settings,
        name: str,
        facts: RunFacts,
        space: SearchSpace,
        history: History,
        budget: Budget,
        tracking: TrackingProcess,
    ) -> None:
        """A study begins, or is taken up again."""
        self.settings, self.name, self.facts, self.space = settings, name, facts, space
        self.history, self.budget, self.tracking = history, budget, tracking

    def event(self, event: Event) -> None:
        """Something happened; the history has it already."""

    def confirming(self, seeds: int) -> None:
        """The search is over, its winner is being judged."""

    def end(self) -> None:
        """Training is over; what is left is to write the record."""


class LineDisplay(Display):
    """A line for each trial that ends."""

    def begin(
        self,
        settings: Settings,
        name: str,
        facts: RunFacts,
        space: SearchSpace,
        history: History,
        budget: Budget,
        tracking: TrackingProcess,
    ) -> None:
        super().begin(settings, name, facts, space, history, budget, tracking)
        for line in self._opening():
            self.line(line)

    def _opening(self) -> list[str]:
        facts, limits = self.facts, self.budget.limits
        named = (
            (f"{limits.trials} trials", limits.trials),
            (f"{limits.cost:,.0f} token-equivalents" if limits.cost else "", limits.cost),
            (f"{limits.seconds:,.0f} s" if limits.seconds else "", limits.seconds),
        )
        budget = " or ".join(text for text, limit in named if limit is not None)
        pruner = "" if self.settings.pruner == "none" else f" with pruner {self.settings.pruner}"
        sense = "maximised" if facts.maximize else "minimised"
        forgetting = (
            f" {'−' if facts.maximize else '+'} {facts.forgetting_weight:g} × forgetting"
            if facts.forgetting_weight
            else ""
        )
        return [
            f"study {self.name}: {self.settings.agent}{pruner} on {facts.task}, model "
            f"{facts.model} ({facts.trainable_parameters:,} trained parameters)",
            f"objective: {facts.objective_name}{forgetting}, {sense} ({facts.unit}); "
            f"base model: {facts.shown(facts.base_objective):.4g}",
            f"space {self.space.name}, default: {describe(self.space.defaults())}",
            f"budget: {budget}; a trial is {facts.segments} segments of "
            f"{facts.segment_tokens:,} training tokens",
        ]

    def line(self, text: str) -> None:
        """Show a line that stays."""
        print(text, flush=True)

    def event(self, event: Event) -> None:
        ended = self._ended(event)
        if ended is not None and ended.id not in self.history.tests:
            self.line(self._trial_line(ended))
        if event["event"] == "lost":
            self.line(f"trial {event['trial']}: a segment was lost, and is charged in full")

    def _ended(self, event: Event) -> Trial | None:
        if event["event"] not in ("reply", "closed"):
            return None
        trial = self.history.trials[event["trial"]]
        return trial if trial.outcome is not None else None

    def _trial_line(self, trial: Trial) -> str:
        best = self.history.best
        if trial.pruned:
            result = f"pruned after segment {len(trial.segments)} of {self.facts.segments}"
        elif trial.value is None:
            outcome = trial.outcome or Outcome.FAILED
            result = outcome.value.replace("_", " ")
            if outcome is Outcome.FAILED:
                result += f" ({trial.reason})"
        else:
            star = " *" if best is not None and best.id == trial.id else ""
            result = f"{self.facts.shown(trial.value):.4f}{star}"
            if trial.outcome is Outcome.STOPPED:
                result += f" (stopped after segment {len(trial.segments)})"
        used = 1.0 - self.budget.left(self.history)
        return f"trial {trial.id:3d} [{used:4.0%}]  {result:<28s} {self._hyperparameters(trial)}"

    def _hyperparameters(self, trial: Trial) -> str:
        """What of the space the trial's last segment was trained with."""
        if not trial.segments:
            return ""
        last = trial.segments[-1].hyperparameters
        return describe({name: last[name] for name in self.space.names if name in last})

    def confirming(self, seeds: int) -> None:
        self.line(f"confirming the winner and the default on {seeds} fresh seeds each ...")

    def end(self) -> None:
        self.line("finishing the record in MLflow ...")


class LiveDisplay(LineDisplay):
    """The same lines, and below them what is running now."""

    _live: "Live | None" = None

    def begin(
        self,
        settings: Settings,
        name: str,
        facts: RunFacts,
        space: SearchSpace,
        history: History,
        budget: Budget,
        tracking: TrackingProcess,
    ) -> None:
        from rich.live import Live

        super().begin(settings, name, facts, space, history, budget, tracking)
        self._live = Live(self._table(), refresh_per_second=4, transient=True)
        self._live.start()

    def line(self, text: str) -> None:
        if self._live is None:
            super().line(text)
        else:
            self._live.console.print(text, highlight=False, markup=False)

    def event(self, event: Event) -> None:
        super().event(event)
        if self._live is not None:
            self._live.update(self._table())

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().end()

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table(title=self._status(), title_justify="left", title_style="bold", box=None)
        for column in ("trial", "segment", "train loss", "hyperparameters"):
            table.add_column(column, justify="left", overflow="fold")
        for trial_id in sorted(self.history.running.values()):
            trial = self.history.trials[trial_id]
            table.add_row(
                str(trial_id) if trial_id not in self.history.tests else "confirmation",
                f"{len(trial.segments)}/{self.facts.segments}",
                f"{trial.segments[-1].train_loss:.4f}" if trial.segments else "–",
                self._hyperparameters(trial),
            )
        return table

    def _status(self) -> str:
        used = 1.0 - self.budget.left(self.history)
        elapsed = self.budget.elapsed_seconds()
        left = f"{elapsed * (1 - used) / used:,.0f} s left" if used > 0.02 else "–"
        best = self.history.best
        value = (
            f"best {self.facts.shown(best.value):.4f} (trial {best.id})"
            if best is not None and best.value is not None
            else "no value yet"
        )
        record = f"  MLflow: {self.tracking.error}" if self.tracking.error else ""
        return f"{value}  budget {used:.0%}  {elapsed:,.0f} s  {left}{record}"


def make_display() -> Display:
    """Return the live view on a terminal, plain lines elsewhere."""
    return LiveDisplay() if sys.stdout.isatty() else LineDisplay()
