"""What an environment is made of: the one definition of its settings and of their help texts."""

from .environment import NO_LIMIT, EnvironmentSettings
from .fields import setting
from .source import OF_ROWS, Source

__all__ = ["NO_LIMIT", "OF_ROWS", "EnvironmentSettings", "Source", "setting"]
