"""Names and texts as every store of MLflow takes them; names that differ stay different."""

import hashlib
import re

LONGEST_NAME = 100  # characters; MLflow takes 250, its pages show fewer
LONGEST_PARAM, LONGEST_TAG = 6000, 8000  # characters that MLflow takes


def key(name: str) -> str:
    """Return a name that MLflow takes for a metric, a parameter or a tag.

    Where a character had to be replaced or the name cut, a hash of all of it keeps it apart from
    others that would look the same.
    """
    plain = re.sub(r"[^\w.\- ]", "_", name)
    # Names are paths in some stores: one must not be empty, begin with a dot, or end in a blank.
    if plain == name and len(name) <= LONGEST_NAME and re.fullmatch(r"[^. ](.*[^ ])?", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST_NAME - 9].strip(' .')}_{digest}".lstrip("_") if name else digest


def text(value: object, longest: int = LONGEST_TAG) -> str:
    """Return a value as a text that MLflow takes: of a database's characters, cut to a length."""
    told = str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
    told = told.encode("utf-8", "replace").decode()
    return told if len(told) <= longest else told[: longest - 1] + "…"
