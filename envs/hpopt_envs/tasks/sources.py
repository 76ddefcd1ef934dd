"""`hpopt_envs.data.sources`, for scripts that were written for 0.2; it goes with 0.4."""

from ..data.sources import read_splits
from ..settings import Source

__all__ = ["Source", "read_splits"]
