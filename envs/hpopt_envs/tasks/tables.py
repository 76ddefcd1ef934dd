"""`hpopt_envs.data.tables`, for scripts that were written for 0.2; it goes with 0.4."""

from ..data.tables import read_table

__all__ = ["read_table"]
