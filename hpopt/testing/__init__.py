"""Whether parts of your own keep the promises that hpopt relies on.

    from hpopt.testing import check_searcher
    def test_my_searcher() -> None:
        check_searcher("my_searcher:HillClimbing")

Each function returns None, or raises an AssertionError of one line: where, what must hold, and what
was got instead.
"""

from .score import check_score
from .searcher import check_searcher
from .space import check_space
from .task import check_task
from .training_run import check_training_run

__all__ = ["check_score", "check_searcher", "check_space", "check_task", "check_training_run"]
