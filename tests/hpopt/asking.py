"""Settings as a user says them, from parts that tests vary."""

from collections.abc import Mapping
from typing import Any

from hpopt.settings.study import Settings


def asked(values: Mapping[str, Any]) -> Settings:
    """Checked settings; `pruner` and `prior` may stand apart, and go into the agent's name."""
    rest = {name: value for name, value in values.items() if name not in ("pruner", "prior")}
    pruner, prior = values.get("pruner", "none"), values.get("prior", "default")
    if pruner != "none" or prior != "default":
        agent = rest.get("agent", "auto").removesuffix("-cold")
        cold = "" if prior == "default" else "-cold"
        rest["agent"] = f"{agent}{cold}" + ("" if pruner == "none" else f"+{pruner}")
    return Settings.of(rest)
