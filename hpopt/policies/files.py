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

from ..errors import StudyError
from .sight import SIGHT_VERSION
from .values import Values

OURS = Path(__file__).parent / "shipped"
WEIGHTS, CARD = "values.safetensors", "card.json"


@dataclass(frozen=True)
class Policy:
    """A value network as it was frozen.

    Attributes:
        values: its networks.
        card: what it learned from, when, at which cost, and what it is worth.
        digest: SHA-256 of its weights.
    """

    values: Values
    card: Mapping[str, Any]
    digest: str


def save_policy(folder: Path, values: Values, about: Mapping[str, Any]) -> str:
    """Write a policy, and return the digest of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.contiguous() for name, tensor in values.state_dict().items()})
    digest = hashlib.sha256(data).hexdigest()
    card = {
        "kind": "values",
        "version": SIGHT_VERSION,
        "networks": len(values.networks),
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
            values = Values(card["networks"])
        values.load_state_dict(load(data))
    except OSError as error:
        raise StudyError(
            f"policy: {place} must have {WEIGHTS} and {CARD}, as `hpopt pretrain` writes them, but "
            f"{Path(error.filename or place).name} can't be read: {error.strerror}"
        ) from None
    except (ValueError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"policy: {place} is broken: {reason}") from None
    return Policy(values.eval(), card, digest)


def _check(place: Path, card: Any, digest: str) -> None:
    """Refuse what isn't a policy of this version.

    Raises:
        StudyError: it isn't one.
    """
    if not isinstance(card, dict) or card.get("kind") != "values":
        raise StudyError(f"policy: {place / CARD} must be the card of a value network")
    if card.get("version") != SIGHT_VERSION:
        raise StudyError(
            f"policy: {place} must be of version {SIGHT_VERSION}, but is of "
            f"{card.get('version')!r}; `hpopt pretrain` makes one anew"
        )
    if not (isinstance(card.get("networks"), int) and 1 <= card["networks"] <= 100):
        raise StudyError(f"policy: {place / CARD} must say how many networks there are")
    if card.get("weights_sha256") != digest:
        raise StudyError(f"policy: {place / WEIGHTS} must be what its card says, but has {digest}")
