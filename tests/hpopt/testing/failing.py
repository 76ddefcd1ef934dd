"""How a check fails."""

import re
from collections.abc import Callable
from typing import Any

import pytest


def fails(line: str, check: Callable[..., None], *arguments: Any, **named: Any) -> None:
    """Require that a check fails with one line that has a text in it."""
    with pytest.raises(AssertionError, match=re.escape(line)) as raised:
        check(*arguments, **named)
    assert "\n" not in str(raised.value)
