"""How values are worded wherever a person reads them."""

from collections.abc import Mapping

from hpopt_search_spaces import Value


def describe(values: Mapping[str, Value]) -> str:
    """Return hyperparameters in one line, numbers at four significant digits."""
    shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name}={value}" for name, value in zip(values, shown, strict=True))
