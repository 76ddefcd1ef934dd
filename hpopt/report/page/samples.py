"""What the recommended model writes, beside what the base model wrote."""

from ...record.samples import NOTHING, Sample, Samples
from . import look
from .page import Section, table

LONGEST = 2000  # characters of a text on the page


def samples_section(samples: Samples) -> Section:
    """Return the section of a page: a table for each prompt."""
    return Section(
        "samples",
        "What the model writes",
        "The first prompts of the test split: what the base model wrote (before), and what "
        f"the recommended one writes (after). Texts of more than {LONGEST:,} characters are cut; "
        "best/samples.json has all of them.",
        html="\n".join(_table(samples.score, row) for row in samples.rows),
    )


def _table(score: str, row: Sample) -> str:
    lines = [
        ["prompt", _cut(row.prompt), score],
        ["before", _cut(row.before), look.number(row.score_before)],
        ["after", _cut(row.after), look.number(row.score_after)],
    ]
    if row.reference is not None:
        lines.append(["reference", _cut(row.reference), ""])
    if row.score_before is None:
        lines = [cells[:2] for cells in lines]
    return table(lines[0], lines[1:], kind="texts")


def _cut(text: str) -> str:
    text = text.lstrip("\n").rstrip()
    return (text if len(text) <= LONGEST else text[: LONGEST - 1] + "…") or NOTHING
