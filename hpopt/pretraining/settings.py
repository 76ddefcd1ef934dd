"""What a policy is learned from: the settings of `python -m hpopt pretrain`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpopt_envs.settings import setting

from ..settings.fields import Field, fields_of

TASK, MACHINE = "task and data", "machine"


@dataclass(frozen=True)
class PretrainingSettings:
    """`hpopt pretrain --help` explains each."""

    families: int = setting(
        40, "families of tiny models (default: 40)", group=TASK, metavar="N", least=1
    )
    tasks: int = setting(24, "tasks of each family (default: 24)", group=TASK, metavar="N", least=1)
    replays: int = setting(
        250_000,
        "trials that networks practise on, replayed from tables (default: 250000)",
        group=TASK,
        metavar="N",
        least=1,
    )
    seed: int = setting(
        0,
        "number that keys every draw; others make other policies (default: 0)",
        group=TASK,
        metavar="N",
        least=0,
    )
    workers: int | None = setting(
        None,
        "processes, side by side; the policy doesn't depend on it (default: one a core)",
        group=MACHINE,
        metavar="N",
        least=1,
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "PretrainingSettings":
        """Build checked settings.

        Raises:
            StudyError: one is wrong; one line.
        """
        for name, value in values.items():
            PRETRAINING_FIELDS[name].check(value)
        return cls(**values)


PRETRAINING_FIELDS: Mapping[str, Field] = fields_of(PretrainingSettings)
