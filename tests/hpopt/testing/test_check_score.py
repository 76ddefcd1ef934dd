"""`check_score` passes our own scores, and catches each broken promise."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from hpopt.testing import check_score
from tests.hpopt.testing.failing import fails


@pytest.mark.parametrize("score", ["pep257", r"regex:^Return\b", "length:5"])
def test_our_own_scores_keep_their_promises(score: str) -> None:
    check_score(score)


def test_a_function_may_return_any_numbers() -> None:
    check_score(lambda prompts, responses: (len(p) + len(r) for p, r in zip(prompts, responses)))  # noqa: B905


_calls = itertools.count()


def short(prompts: list[str], responses: list[str]) -> list[float]:
    return [1.0] * (len(responses) - 1)


def infinite(prompts: list[str], responses: list[str]) -> list[float]:
    return [1 / len(r) if r else math.inf for r in responses]


def divides(prompts: list[str], responses: list[str]) -> list[float]:
    return [1 / len(r) for r in responses]


def ascii_only(prompts: list[str], responses: list[str]) -> list[float]:
    return [len(r.encode("ascii")) for r in responses]


def drifts(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(next(_calls)) for _ in responses]


def ranks(prompts: list[str], responses: list[str]) -> list[float]:
    return [sorted(responses).index(r) for r in responses]


def positions(prompts: list[str], responses: list[str]) -> list[float]:
    return [
        i - (len(responses) - 1) / 2 if len(responses) > 1 else -3 for i in range(len(responses))
    ]


@pytest.mark.parametrize(
    ("score", "line"),
    [
        (short, "score: short must return 7 numbers, one a response, but returned 6"),
        (infinite, "score: infinite must be finite, but was inf for the response ''"),
        (divides, "failed: ZeroDivisionError"),
        (ascii_only, "failed: UnicodeEncodeError"),
        (drifts, "when it is asked again"),
        (ranks, "alone too for the response"),
        (positions, "in another order too for the response"),
    ],
)
def test_a_broken_promise_is_told_in_a_line(
    score: Callable[[list[str], list[str]], Any], line: str
) -> None:
    fails(line, check_score, score)


def test_what_is_no_score_is_told_in_a_line() -> None:
    fails("score: must be pep257, regex:PATTERN", check_score, "pep256")
    fails("regex must be a regular expression", check_score, "regex:(")
