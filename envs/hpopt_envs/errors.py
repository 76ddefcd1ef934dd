"""Errors of the middle floor; the tree is in `hpopt_search_spaces.errors`."""

from hpopt_search_spaces.errors import HpoptError


class WorldError(HpoptError):
    """A task, a model or a training run can't be built or used as asked."""
