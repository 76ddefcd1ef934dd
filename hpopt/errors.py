"""Errors of the top floor; the tree is in `hpopt_search_spaces.errors`."""

from hpopt_search_spaces.errors import HpoptError


class StudyError(HpoptError):
    """A study, its journal, its record or its settings can't be used as asked."""


class Paused(StudyError):
    """A study can't go on for now; its journal is whole, and `resume` goes on with it."""
