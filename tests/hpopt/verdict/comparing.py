"""What tests of comparisons say in short."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpopt.verdict.judging import Row, Verdict, judge
from hpopt.verdict.outcome import Comparison, Curve
from hpopt.verdict.tables import sentence

Array = NDArray[np.float64]
Compare = Callable[..., Comparison]
EQUIVALENTS = 10


def row_of(verdict: Verdict, searcher: str) -> Row:
    return next(row for row in verdict.rows if row.searcher == searcher)


def said(comparison: Comparison, searcher: str, generator: np.random.Generator) -> str:
    verdict = judge(comparison, generator)
    return sentence(verdict, row_of(verdict, searcher))


def curve(*points: tuple[float, float]) -> Curve:
    """Of points (cost, value)."""
    costs, values = zip(*points, strict=True) if points else ((), ())
    return Curve(costs, values, 7)
