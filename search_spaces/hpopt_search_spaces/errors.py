"""The root of every error that hpopt raises on purpose.

HpoptError
├── SpaceError             a search space, or values that don't fit it
├── WorldError             a task, a model or a training run (hpopt_envs)
├── StudyError             a study, its journal, its record or its settings (hpopt)
└── ControllerError        a controller inside somebody's own training (hpopt)
"""


class HpoptError(Exception):
    """Bad input or a broken file. Its text is one line: what must hold, what was got, where."""


class SpaceError(HpoptError):
    """A search space can't be read, or values don't fit it."""
