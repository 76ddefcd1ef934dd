"""Templates of the code that is exported."""

from pathlib import Path
from string import Template

_TEMPLATES = Path(__file__).parent / "templates"


def filled(template: str, **values: object) -> str:
    """Return a template's text with values in it; those that it doesn't have are left out."""
    return Template((_TEMPLATES / f"{template}.txt").read_text()).substitute(values).rstrip()
