"""What a study trained on, loaded again."""

import torch

from hpopt_envs.models import trust_remote_code
from hpopt_envs.tasks import Data, Task, load_task
from hpopt_envs.tasks.base import BASE_SEED

from ..record.history import History


def load_data(history: History) -> tuple[Task, Data]:
    """Return a study's task and its data, as they are before a model completes them.

    Raises:
        WorldError: the data can't be had any more.
    """
    asked = history.header["environment"]
    trust_remote_code(asked.get("trust_remote_code", False))
    task = load_task(asked["task"], asked["data"])
    return task, task.load_data(history.facts.model, asked["sequence_length"])


def load_base(history: History) -> tuple[Task, torch.nn.Module, Data]:
    """Return a study's task, its base model and its data, complete as when the search began.

    Raises:
        WorldError: data or model can't be had any more.
    """
    task, data = load_data(history)
    model = task.load_model(history.facts.model, BASE_SEED)
    data, _ = task.prepare(model, data)
    return task, model, data
