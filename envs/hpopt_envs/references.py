"""What "module:name" refers to: how users name code of theirs."""

import importlib
import os
import re
import sys
from typing import Any

from .errors import WorldError, foreign

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_reference(text: str) -> bool:
    """Return whether a text has the form "module:name"."""
    return _REFERENCE.fullmatch(text) is not None


def import_attribute(reference: str) -> Any:
    """Return what "module:name" refers to; modules of the working directory come first.

    Raises:
        WorldError: the module can't be imported, or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    with foreign(f"{reference}: importing {module_name}"):
        module = importlib.import_module(module_name)
    if not hasattr(module, name):
        file = getattr(module, "__file__", "built in")
        raise WorldError(f"{reference}: module {module_name} ({file}) has no {name}")
    return getattr(module, name)


def call(made_by: Any, reference: str) -> Any:
    """Return what a user's function or class returns when called without arguments.

    Raises:
        WorldError: it raised something, or can't be called so.
    """
    with foreign(f"{reference}()"):
        return made_by()
