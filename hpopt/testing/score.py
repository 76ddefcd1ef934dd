"""Whether a score is one: a reward, or a feature of a constraint."""

import math
from collections.abc import Callable
from typing import Any

from hpopt_envs.scores.scores import Score, make_score, score

from .requiring import checking, require

RESPONSES = (
    "Return the name of a file.",
    "",
    "Ὕδωρ, été, 你好, 🙂",
    "returns",
    "A first line.\n\nAnd a second one, with a tab\tin it.",
    "word " * 200,
    "Return the name of a file.",
)
PROMPTS = ("Describe it.", "", "Was ist das? 🙂", "def f():\n    pass", "x", "y", "z")
# A model's scores depend a little on what else is in their batch.
RELATIVE, ABSOLUTE = 1e-3, 1e-4


def check_score(score: str | Callable[[list[str], list[str]], Any]) -> None:
    """Check a score, as `--reward` and `--constraint` take it.

    - it returns one finite number for each response;
    - the same numbers when it is asked again;
    - a response's number doesn't depend on the others in the batch, nor on their order;
    - empty responses and prompts, line breaks and characters beyond ASCII are nothing special.

    Args:
        score: a description, such as "regex:PATTERN" or "module:function" (see
            `hpopt_envs.scores.scores.make_score`), or a function of lists of prompts and responses.

    Raises:
        AssertionError: one line: what must hold, and what was got.
    """
    name = score if isinstance(score, str) else getattr(score, "__name__", "score")
    where = f"score {name}"
    with checking(where):
        made = make_score(score, "score") if isinstance(score, str) else Score(name, score)
        _check(made, where)


def _check(made: Score, where: str) -> None:
    def values(order: list[int]) -> list[float]:
        prompts, responses = [PROMPTS[i] for i in order], [RESPONSES[i] for i in order]
        return [float(value) for value in score(made, prompts, responses, "score")]

    everything = list(range(len(RESPONSES)))
    first = values(everything)
    again = values(everything)
    require(first == again, where, f"must be {first} when it is asked again", again)
    backwards = values(everything[::-1])[::-1]
    for index, value in enumerate(first):
        for how, other in (("alone", values([index])[0]), ("in another order", backwards[index])):
            what = f"must be {value:.6g} {how} too for the response {RESPONSES[index]!r:.60}"
            same = math.isclose(value, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
            require(same, where, what, other)
