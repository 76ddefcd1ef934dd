"""Errors of the top floor; the tree is in `hpopt_search_spaces.errors`."""

from hpopt_search_spaces.errors import HpoptError


class StudyError(HpoptError):
    """A study, its journal, its record or its settings can't be used as asked."""


def io_error(error: OSError) -> str:
    """Return in a line what the system says of a file."""
    where = "" if error.filename is None else f"{str(error.filename)[:200]}: "
    return f"{where}{error.strerror or error}"


class Paused(StudyError):
    """A study can't go on for now; its journal is whole, and `resume` goes on with it."""


class ControllerError(HpoptError):
    """A controller can't be used in a training run as asked."""
