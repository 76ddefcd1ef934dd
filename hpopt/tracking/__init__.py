"""The record in MLflow: a projection of a study's journal, written by a process of its own.

No other package of hpopt imports mlflow, and this one does so in that process alone: importing it
takes seconds, and so does the first use of a new database.
"""

from dataclasses import dataclass
from typing import Literal

Ending = Literal["finished", "killed", "failed"]  # how a study's process came to its end


@dataclass(frozen=True)
class Incomplete:
    """What a record lacks.

    Attributes:
        reason: what is missing and why, in one line.
        resumable: whether `resume` may write it; false where MLflow refuses it for good.
    """

    reason: str
    resumable: bool = True

    def __str__(self) -> str:
        return self.reason
