"""Requests to an environment and its replies: plain data, and their JSON form.

The same JSON goes through a worker's pipe and into the journal.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from hpopt_search_spaces import Value

from .records import Control, Outcome, Segment, Trial


@dataclass(frozen=True)
class StudyFacts:
    """What the pool hands down for the observation.

    Attributes:
        budget_left: share of the budget that is left, in [0, 1].
        best_improvement: (base objective − best value so far) / scale, 0 before the first value.
        rank: share of the ended trials that were better at the same segment, in [0, 1].
    """

    budget_left: float = 1.0
    best_improvement: float = 0.0
    rank: float = 0.0


@dataclass(frozen=True)
class Start:
    """A new trial, or a resumed one.

    Attributes:
        trial: its id.
        seed: what its random draws are keyed by.
        initial: unit-cube point that relative moves start from and that static coordinates of
            relative and discrete views keep; None for the space's default.
        fixed: hyperparameters of this trial that the space doesn't have.
        test: measure nothing before its end, and there on the test split too.
        entrant: which schedule it tests, by name; "" where that isn't said.
        snapshot: a file to take the trial up from.
        digest: of what must be in that file, see `digest_of`.
        study: facts of the study for the observation.
    """

    trial: int
    seed: int
    initial: tuple[float, ...] | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)
    test: bool = False
    entrant: str = ""
    snapshot: str | None = None
    digest: str = ""
    study: StudyFacts = StudyFacts()


@dataclass(frozen=True)
class Advance:
    """Train one segment.

    Attributes:
        action: in the environment's view (see `hpopt_envs.episode.actions`).
        hyperparameters: all of them, in place of an action; what follows is for these alone.
        tokens: task tokens of a segment with given hyperparameters, whole optimizer steps; None
            for a whole segment.
        probe: measure the loss on the trial's probe batch after it; an explosion is then no end.
        roll_back: train on from the best point of the trial that was probed, else from the base
            weights.
        last: end the trial after this segment.
        snapshot: a file to write the state to afterwards; None for none.
        study: facts of the study for the observation.
    """

    action: tuple[float, ...] = ()
    hyperparameters: Mapping[str, Value] | None = None
    tokens: int | None = None
    probe: bool = False
    roll_back: bool = False
    last: bool = False
    snapshot: str | None = None
    study: StudyFacts = StudyFacts()


@dataclass(frozen=True)
class Save:
    """Write the weights of a snapshot where `from_pretrained` (or the task's user) finds them.

    Attributes:
        snapshot: a file.
        digest: of what must be in it, see `digest_of`.
        folder: to write into.
    """

    snapshot: str
    digest: str
    folder: str


@dataclass(frozen=True)
class End:
    """Let go of a trial that a pruner ended; what still runs of it outside is ended."""


Request = Start | Advance | Save | End


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Attributes:
        observation: features after it.
        reward: of the segment; 0 after Start.
        segment: the finished segment; None after Start, or where none was finished.
        outcome: how the trial ended; None while it runs.
        reason: one line where the outcome needs one.
        value: the objective at the trial's end, as minimised; None where there is none.
        snapshot: the file that was written; None where none was.
        died: the worker died; nothing else in the reply holds.
        stuck: why the study can't go on for now, such as a full disk; "" where it can. Nothing else
            in the reply holds, and nothing came of the request.
    """

    observation: tuple[float, ...] = ()
    reward: float = 0.0
    segment: Segment | None = None
    outcome: Outcome | None = None
    reason: str = ""
    value: float | None = None
    snapshot: str | None = None
    died: bool = False
    stuck: str = ""


_REQUESTS: dict[str, type] = {"start": Start, "advance": Advance, "save": Save, "end": End}


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.value
        if isinstance(value, Enum)
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for name, value in pairs
    }


def to_json(message: Request | Reply | Segment) -> dict[str, Any]:
    """Return a dictionary that `json.dumps` takes; requests carry their `kind`."""
    plain = asdict(message, dict_factory=_plain)
    kinds = [kind for kind, cls in _REQUESTS.items() if isinstance(message, cls)]
    return {"kind": kinds[0], **plain} if kinds else plain


def digest_of(trial: Trial) -> str:
    """Return what tells a trial as far as it was trained from every other: a digest.

    When and at which cost of the study it happened is no part of it, nor is what a test showed.
    """
    plain = [{**to_json(s), "study_cost": 0, "wall_seconds": 0} for s in trial.segments]
    for segment in plain:
        del segment["test_metrics"], segment["test_objective"]
        if segment["probe_forgetting"] is None:  # so it is in what was saved before there was one
            del segment["probe_forgetting"]
    text = json.dumps([trial.id, trial.seed, plain], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def request_from_json(data: Mapping[str, Any]) -> Request:
    """Rebuild a request from `to_json`'s dictionary."""
    plain = {name: value for name, value in data.items() if name != "kind"}
    if "study" in plain:
        plain["study"] = StudyFacts(**plain["study"])
    for name in ("action", "initial"):
        if plain.get(name) is not None:
            plain[name] = tuple(plain[name])
    request: Request = _REQUESTS[data["kind"]](**plain)
    return request


def segment_from_json(data: Mapping[str, Any]) -> Segment:
    """Rebuild a segment from `to_json`'s dictionary."""
    return Segment(**{**data, "control": Control(data["control"])})


def reply_from_json(data: Mapping[str, Any]) -> Reply:
    """Rebuild a reply from `to_json`'s dictionary."""
    plain = dict(data)
    plain["observation"] = tuple(plain["observation"])
    if plain["segment"] is not None:
        plain["segment"] = segment_from_json(plain["segment"])
    if plain["outcome"] is not None:
        plain["outcome"] = Outcome(plain["outcome"])
    return Reply(**plain)
