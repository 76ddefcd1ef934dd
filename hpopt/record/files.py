"""Files that others may be reading, or that a study needs while it runs alone."""

from pathlib import Path
from uuid import uuid4


def write_whole(path: Path, text: str) -> None:
    """Write a file at once: whoever reads it finds all of the text, or what was there before."""
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
