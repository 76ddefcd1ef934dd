"""What a comparison came to, in files and in words."""

import json

import numpy as np

from ..errors import StudyError
from ..record.files import write_whole
from ..record.folders import REPORT
from ..verdict.judging import judge
from ..verdict.outcome import grid
from ..verdict.page import write_comparison_report
from ..verdict.tables import curves_csv, markdown, sentence, table, to_json
from .reading import Studies, read_comparison
from .settings import ComparisonSettings

BOOTSTRAP_SEED = 0  # intervals are the same whenever they are drawn


def write_verdict(settings: ComparisonSettings, name: str, studies: Studies) -> tuple[str, ...]:
    """Judge the studies that ended; write the verdict and the report, and return their text.

    Args:
        settings: of the comparison.
        name: of the comparison.
        studies: those that ended, see `read_studies`.

    Raises:
        StudyError: there is a task of which no study has ended.
    """
    folder = settings.folder(name)
    begun = {task for task, _, _ in studies}
    waiting = [task for task in settings.tasks if task not in begun]
    if waiting:
        raise StudyError(
            f"report: every task must have a study that ended, but {waiting[0]} has none yet"
        )
    comparison = read_comparison(settings, name, studies)
    verdict = judge(comparison, np.random.default_rng(BOOTSTRAP_SEED))
    plain = to_json(verdict) | {"grid": grid(comparison)}
    write_whole(folder / "verdict.json", json.dumps(plain, indent=2) + "\n")
    write_whole(folder / "verdict.md", markdown(verdict) + "\n")
    write_whole(folder / "curves.csv", curves_csv(comparison))
    write_comparison_report(comparison, plain, studies, folder / REPORT)
    rows = [row for row in verdict.rows if row.contrast is not None]
    return (*(sentence(verdict, row) for row in rows), "", *table(verdict))
