"""Search spaces at random: each keeps its promises, or is refused in a line."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import hpopt_search_spaces
from hpopt_search_spaces import SearchSpace, TrainingFacts, load_space

from .campaign import attempt
from .mutation import mutated

WHAT = "search spaces: shipped ones changed, and random ones"
COUNT = 20_000
POINTS = 3  # of the unit cube that are tried of each space that is accepted

NUMBERS = (
    *("0", "-1", "1", "3", "16", "64", "1e-5", "0.1", "0.5", "1.0", "10.0", "1e308", "-1e308"),
    *("5e-324", "nan", "inf", "-inf", "-0.0", "9223372036854775807", "9" * 400, "9" * 5000),
)
ODD = ("true", '"x"', '""', '"auto"', "[]", "[1, 2]", "{}", "1979-05-27", '"\\u0000"', '"é\\n"')
NAMES = ("learning_rate", "batch_size", "optimizer", "divergence_weight", "x", '"a b"', '""', '"é"')
KEYS = {
    "low": NUMBERS,
    "high": NUMBERS,
    "default": (*NUMBERS, *ODD),
    "log": ("true", "false"),
    "zero": ("true", "false"),
    "dynamic": ("true", "false"),
    "powers_of_two": ("true", "false"),
    "octaves": ("[-6, 5]", "[-1, 1]", "[0, 0]", "[5, -6]", "[nan, 1]", "[-1e9, 1e9]", "[1]"),
    "choices": ("[1, 2]", "[]", "[1, 1]", "[1, 1.0, true]", '["a", "b"]', "[nan, 1]", "[[1]]"),
    "active_when": (
        "{}",
        "{x = [1]}",
        "{x = []}",
        "{learning_rate = [0.1]}",
        '{x = "a"}',
        "{y = [nan]}",
    ),
    "unknown": ODD,
}


def case(seed: int, folder: Path) -> Iterator[str]:
    draw = Random(seed)
    data = mutated(draw.choice(_shipped()), draw) if draw.random() < 0.6 else _random(draw)
    path = folder / "space.toml"
    path.write_bytes(data)
    space, wrong = attempt(lambda: load_space(path))
    if space is not None:
        wrong = attempt(lambda: _check(space, draw))[1]
    yield wrong and f"{wrong} ({data!r:.600})"


@cache
def _shipped() -> tuple[bytes, ...]:
    folder = Path(hpopt_search_spaces.__file__).parent / "spaces"
    return tuple(path.read_bytes() for path in sorted(folder.glob("*.toml")))


def _random(draw: Random) -> bytes:
    """Return a space of parameters that are sound more often than they would be by chance."""
    lines = []
    for name in draw.sample(NAMES, draw.randint(1, 4)):
        kind = draw.choice(("float", "float", "integer", "choice", "other"))
        low, high = sorted(draw.sample((1, 2, 4, 16, 64, 1024), 2))
        kinds: dict[str, dict[str, Any]] = {
            "float": {"low": f"{low}e-3", "high": f"{high}e-3", "default": f"{high}e-3"},
            "integer": {"low": low, "high": high, "default": low},
            "choice": {"choices": f"[{low}, {high}]", "default": high},
            "other": {},
        }
        sound = kinds[kind]
        for key in draw.sample(sorted(KEYS), draw.choice((0, 0, 1, 2, 3))):
            sound[key] = draw.choice(KEYS[key])
        lines += [
            f"[parameters.{name}]",
            f'type = "{kind}"',
            *(f"{k} = {v}" for k, v in sound.items()),
        ]
    return "\n".join(lines).encode()


def _check(space: SearchSpace, draw: Random) -> None:
    """Make sure that JSON carries a space, and that points of it survive the way there and back."""
    back = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert back == space, "JSON doesn't carry it"
    assert back.fingerprint == space.fingerprint, "another fingerprint after JSON"
    resolved = space.resolve(TrainingFacts(10**6, 10**6, 32768, 64, False))
    resolved.validate(resolved.defaults())
    for _ in range(POINTS):
        point = [draw.choice((0.0, 1.0, draw.random())) for _ in resolved.names]
        values = resolved.decode(point)
        resolved.validate(values)
        assert resolved.decode(resolved.encode(values)) == values, f"{values} doesn't come back"
