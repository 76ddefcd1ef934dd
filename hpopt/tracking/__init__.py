"""The record in MLflow: a projection of a study's journal, written by a process of its own.

No other package of hpopt imports mlflow, and this one does so in that process alone: importing it
takes seconds, and so does the first use of a new database.
"""

from typing import Literal

Ending = Literal["finished", "killed", "failed"]  # how a study's process came to its end
