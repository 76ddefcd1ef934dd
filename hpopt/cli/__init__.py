"""The command line: arguments to checked settings, and what came of them as lines."""

from .entry import main

__all__ = ["main"]
