"""What the recommended model writes, beside what the base model wrote: read, and told in lines.

The texts are a model's and a data set's: nothing in them is markup, on a terminal or a page.
"""

import json
from dataclasses import dataclass

from .folders import StudyFolder

NOTHING = "–"  # in place of an empty text


@dataclass(frozen=True)
class Sample:
    """What came of one prompt.

    Attributes:
        prompt: what was continued.
        before: what the base model wrote.
        after: what the recommended model wrote.
        reference: what it should be; None where there is no such thing.
        score_before, score_after: of the two; None where nothing scores them.
    """

    prompt: str
    before: str
    after: str
    reference: str | None = None
    score_before: float | None = None
    score_after: float | None = None


@dataclass(frozen=True)
class Samples:
    """What came of some prompts of the test split.

    Attributes:
        score: what the scores are; "" where there are none.
        rows: in the order of the split.
    """

    score: str
    rows: tuple[Sample, ...]


def read_samples(folder: StudyFolder) -> Samples | None:
    """Return the samples of a study's recommended model; None where none can be read.

    Args:
        folder: of the study.
    """
    try:
        document = json.loads(folder.samples.read_text(encoding="utf-8"))
        return Samples(document["score"], tuple(Sample(**row) for row in document["rows"]))
    except FileNotFoundError:
        return None
    # The study was cut off while it wrote them, or a person did: a report has more to say.
    except (ValueError, KeyError, TypeError):
        return None
