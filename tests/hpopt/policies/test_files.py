"""A policy's files: what is written is read again, and what isn't a policy is refused in a line."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpopt.errors import StudyError
from hpopt.policies.files import CARD, OURS, WEIGHTS, load_policy, save_policy
from hpopt.policies.values import Values
from tests.hpopt.policies.sights import draw


def written(folder: Path) -> tuple[Values, Values]:
    torch.manual_seed(3)
    fitted, practised = Values(2).eval(), Values(2).eval()
    save_policy(folder, fitted, practised, {"seed": 3})
    return fitted, practised


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    fitted, practised = written(tmp_path)
    policy = load_policy(str(tmp_path))
    for saved, loaded in ((fitted, policy.fitted), (practised, policy.practised)):
        assert torch.equal(loaded.predict(draw(0))[0], saved.predict(draw(0))[0])
    assert policy.card["seed"] == 3
    assert policy.digest == hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()


def test_the_one_of_ours_is_what_its_card_says() -> None:
    policy = load_policy()
    assert policy.card["weights_sha256"] == policy.digest
    assert policy.card["families"] >= 20
    assert policy.card["tasks"] >= 20 * 32
    assert {"adagrad", "text"} <= set(policy.card["held_out"])
    assert (OURS / WEIGHTS).stat().st_size < 2**21 + 2**16


def card(folder: Path, **changes: object) -> None:
    told = json.loads((folder / CARD).read_text()) | changes
    (folder / CARD).write_text(json.dumps(told))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda f: (f / CARD).unlink(), "card.json can't be read"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "policy.safetensors can't be read"),
    "no JSON": (lambda f: (f / CARD).write_text("{"), "is broken"),
    "other JSON": (lambda f: (f / CARD).write_text("[]"), "must be the card of value networks"),
    "other kind": (lambda f: card(f, kind="weather"), "must be the card of value networks"),
    "other version": (lambda f: card(f, version=99), "must be of version 2, but is of 99"),
    "no number": (lambda f: card(f, networks="two"), "must say how many networks"),
    "other weights": (lambda f: card(f, weights_sha256="0"), "must be what its card says"),
    "other size": (lambda f: card(f, networks=3), "is broken"),
    "torn": (lambda f: torn(f), "is broken"),
}


def torn(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()[:-100]
    (folder / WEIGHTS).write_bytes(data)
    card(folder, weights_sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_no_policy_is_refused_in_a_line(what: str, tmp_path: Path) -> None:
    written(tmp_path)
    harm, line = DAMAGE[what]
    harm(tmp_path)
    with pytest.raises(StudyError, match="^policy: ") as refused:
        load_policy(str(tmp_path))
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="policy: .*nowhere must have policy.safetensors and"):
        load_policy(str(tmp_path / "nowhere"))
