"""A policy's folder: weights as safetensors, and a card in JSON that says what they are."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from ..errors import StudyError
from .sight import SIGHT_VERSION
from .values import Values

OURS = Path(__file__).parent / "shipped"
WEIGHTS, CARD = "policy.safetensors", "card.json"


@dataclass(frozen=True)
class Policy:
    """Value networks as they were frozen.

    Attributes:
        fitted: to tables; they say regrets.
        practised: what these became by practising on studies; they say the lowest regret that a
            study has from then on, on average over trials.
        card: what it learned from, when, at which cost, and what it is worth.
        digest: SHA-256 of its weights.
    """

    fitted: Values
    practised: Values
    card: Mapping[str, Any]
    digest: str


def save_policy(folder: Path, fitted: Values, practised: Values, about: Mapping[str, Any]) -> str:
    """Write a policy, see `Policy`, and return the digest of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = _both(fitted, practised).state_dict()
    data = save({name: tensor.contiguous() for name, tensor in weights.items()})
    digest = hashlib.sha256(data).hexdigest()
    card = {
        "kind": "values",
        "version": SIGHT_VERSION,
        "networks": len(fitted.networks),
        "weights_sha256": digest,
        **about,
    }
    (folder / WEIGHTS).write_bytes(data)
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return digest


def load_policy(folder: str = "") -> Policy:
    """Read a policy.

    Args:
        folder: that `hpopt pretrain` wrote; "" for the one that comes with hpopt.

    Raises:
        StudyError: there is none, it is broken, or it is of a version that sees something else.
    """
    place = Path(folder) if folder else OURS
    try:
        data = (place / WEIGHTS).read_bytes()
        card = json.loads((place / CARD).read_text(encoding="utf-8"))
        digest = hashlib.sha256(data).hexdigest()
        _check(place, card, digest)
        with torch.random.fork_rng(devices=[]):  # new networks draw weights
            fitted, practised = Values(card["networks"]), Values(card["networks"])
        _both(fitted, practised).load_state_dict(load(data))
    except OSError as error:
        raise StudyError(
            f"policy: {place} must have {WEIGHTS} and {CARD}, as `hpopt pretrain` writes them, but "
            f"{Path(error.filename or place).name} can't be read: {error.strerror}"
        ) from None
    except (ValueError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"policy: {place} is broken: {reason}") from None
    return Policy(fitted.eval(), practised.eval(), card, digest)


def _both(fitted: Values, practised: Values) -> nn.ModuleDict:
    return nn.ModuleDict({"fitted": fitted, "practised": practised})


def _check(place: Path, card: Any, digest: str) -> None:
    """Refuse what isn't a policy of this version.

    Raises:
        StudyError: it isn't one.
    """
    if not isinstance(card, dict) or card.get("kind") != "values":
        raise StudyError(f"policy: {place / CARD} must be the card of value networks")
    if card.get("version") != SIGHT_VERSION:
        raise StudyError(
            f"policy: {place} must be of version {SIGHT_VERSION}, but is of "
            f"{card.get('version')!r}; `hpopt pretrain` makes one anew"
        )
    if not (isinstance(card.get("networks"), int) and 1 <= card["networks"] <= 100):
        raise StudyError(f"policy: {place / CARD} must say how many networks there are")
    if card.get("weights_sha256") != digest:
        raise StudyError(f"policy: {place / WEIGHTS} must be what its card says, but has {digest}")
