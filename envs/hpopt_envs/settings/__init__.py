"""What an environment is made of: the one definition of its settings and of their help texts."""

from .environment import EnvironmentSettings
from .fields import setting
from .script import Script
from .source import OF_ROWS, Source
from .values import NO_LIMIT

__all__ = ["NO_LIMIT", "OF_ROWS", "EnvironmentSettings", "Script", "Source", "setting"]
