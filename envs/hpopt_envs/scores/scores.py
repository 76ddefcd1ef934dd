"""Scores of responses: what alignment rewards, and what its constraints are about."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import WorldError, foreign
from ..references import import_attribute, is_reference
from .matching import SECONDS, Matcher, Overdue
from .model import load_classifier
from .pep257 import pep257

Function = Callable[[list[str], list[str]], Any]  # prompts and responses -> a number a response

FORMS = "pep257, regex:PATTERN, length:N, model:ID, model:ID:LABEL or module:function"


@dataclass(frozen=True)
class Score:
    """A number for each response to a prompt.

    Attributes:
        name: as the user wrote it.
        function: of prompts and responses, lists of one length; returns a sequence of numbers,
            for `score` to check.
        model: that the function asks; None where it asks none.
    """

    name: str
    function: Function
    model: torch.nn.Module | None = None

    def __call__(self, prompts: list[str], responses: list[str]) -> Any:
        return self.function(prompts, responses)

    @property
    def parameters(self) -> int:
        """How many its model has: 0 where it has none."""
        return sum(p.numel() for p in self.model.parameters()) if self.model is not None else 0

    def to(self, device: torch.device) -> None:
        """Move the model, which every score of that model shares."""
        if self.model is not None:
            self.model.to(device)


def make_score(spec: str, setting: str) -> Score:
    r"""Return a score from its description.

    Args:
        spec: one of

            - "pep257": the form of a docstring's summary, in [0, 1], see `pep257`;
            - "regex:PATTERN": 1 where `re.search` finds the pattern in the response, else 0;
            - "length:N": 1 − min(1, |words − N| / N), words being what is between spaces;
            - "model:ID": the output of a reward model, a Hugging Face id or a folder;
              "model:ID:LABEL": the probability that a classifier gives to a label;
              both read the prompt and the response as one text;
            - "module:function": what a function of the user's returns for lists of prompts and
              responses; modules of the working directory come first.
        setting: that it is the value of, for messages.

    Raises:
        WorldError: it is none of these, or can't be loaded.
    """
    kind, colon, rest = spec.partition(":")
    if spec == "pep257":
        return Score(spec, lambda _, responses: [pep257(response) for response in responses])
    if kind in ("regex", "length") and colon:
        return Score(spec, (_regex if kind == "regex" else _length)(rest, setting))
    with _at(setting):
        if kind == "model" and colon:
            classifier = load_classifier(*rest.partition(":")[::2])
            return Score(spec, classifier, classifier.model)
        if is_reference(spec):
            function = import_attribute(spec)
            if not callable(function):
                raise WorldError(f"{spec} must be a function, but is {_shown(function)}")
            return Score(spec, function)
    raise WorldError(f"{setting}: must be {FORMS}, but got {spec!r}")


def score(function: Score, prompts: list[str], responses: list[str], setting: str) -> torch.Tensor:
    """Return what a score says of responses: (n,), float64, finite.

    Args:
        function: the score.
        prompts: n of them, one a response.
        responses: n of them.
        setting: that named the score, for messages.

    Raises:
        WorldError: it raised something, or returned anything but n finite numbers.
    """
    where = f"{setting}: {function.name}"
    with foreign(where), torch.no_grad():
        returned = function(list(prompts), list(responses))
        values = list(returned) if isinstance(returned, Iterable) else None
    if values is None or len(values) != len(responses):
        but = _shown(returned) if values is None else len(values)
        raise WorldError(
            f"{where} must return {len(responses)} numbers, one a response, but returned {but}"
        )
    numbers = [
        _number(value, where, response) for value, response in zip(values, responses, strict=True)
    ]
    return torch.tensor(numbers, dtype=torch.float64)


def parse_constraint(text: str) -> tuple[Score, float]:
    r"""Return a score and the mean that it is to have, from text such as "regex:\bamazing\b=0.5".

    Raises:
        WorldError: there is no finite number behind the last "=", or no score before it.
    """
    spec, equals, target = text.rpartition("=")
    try:
        mean = float(target) if equals else math.nan
    except ValueError:
        mean = math.nan
    if not math.isfinite(mean):
        raise WorldError(
            f"constraint: must be SCORE=TARGET, TARGET being a finite number, but got {text!r}"
        )
    return make_score(spec, "constraint"), mean


def _regex(pattern: str, setting: str) -> Function:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise WorldError(
            f"{setting}: regex must be a regular expression, but got {pattern!r:.200}: {error}"
        ) from error
    matcher = Matcher(pattern)

    def find(_: list[str], responses: list[str]) -> list[float]:
        try:
            return [float(found) for found in matcher.found_in(responses)]
        except Overdue as error:
            raise WorldError(
                f"{setting}: regex must come to an end with a response within {SECONDS:g} s, but "
                f"{pattern!r:.200} didn't with {error.args[0]!r:.60}"
            ) from None

    return find


def _length(text: str, setting: str) -> Function:
    if not text.isdecimal() or int(text) < 1:
        raise WorldError(f"{setting}: length must be a whole number > 0 of words, but got {text!r}")
    length = int(text)
    return lambda _, responses: [
        1 - min(1.0, abs(len(response.split()) - length) / length) for response in responses
    ]


@contextmanager
def _at(setting: str) -> Iterator[None]:
    """Say which setting asked for what can't be loaded."""
    try:
        yield
    except WorldError as error:
        raise WorldError(f"{setting}: {error}") from error


def _number(value: Any, where: str, response: str) -> float:
    """Return a score as a float: Python's numbers, NumPy's, and tensors of one.

    Raises:
        WorldError: it is something else, or not finite.
    """
    try:
        number = None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = None
    if number is None:
        raise WorldError(
            f"{where} must return numbers, but returned {_shown(value)} for the response "
            f"{response!r:.60}"
        )
    if not math.isfinite(number):
        raise WorldError(
            f"{where} must be finite, but was {number} for the response {response!r:.60}"
        )
    return number


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:60]
