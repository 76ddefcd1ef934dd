"""Keys for random draws.

Every draw is keyed by what it is for, never by what was drawn before it: a trial's data order does
not depend on which worker runs it, on other trials, or on whether it was resumed.
"""

import hashlib


def key(*parts: int | str) -> int:
    """Return a 63-bit seed for the draw that `parts` name, such as (trial seed, "segment", 3)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
