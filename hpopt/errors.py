"""Errors of the top floor; the tree is in `hpopt_search_spaces.errors`."""

from hpopt_search_spaces.errors import HpoptError


class StudyError(HpoptError):
    """A study, its journal, its record or its settings can't be used as asked."""
