"""A snapshot that was damaged, or is of another trial, is never taken up."""

import random
import shutil
from pathlib import Path

import pytest

from hpopt_envs.episode.snapshots import read_snapshot, write_snapshot
from hpopt_envs.errors import WorldError
from tests.hpopt.searching import killed, resume, search

ONE = {"trials": 1, "agent": "random", "confirm_seeds": 0, "trial_tokens": 8 * 4096}


def snapshot_of(journal: Path) -> Path:
    (snapshot,) = (journal.parent / "snapshots").iterdir()
    return snapshot


@pytest.mark.parametrize("bit", range(6))
def test_a_flipped_bit_costs_its_segments_and_changes_nothing(bit: int, tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", **ONE)
    snapshot = snapshot_of(killed(tmp_path, 13, **ONE))
    data = bytearray(snapshot.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    draw = random.Random(bit)
    where = draw.randrange(header, len(data)) if bit % 2 else draw.randrange(header)
    data[where] ^= 1 << draw.randrange(8)
    snapshot.write_bytes(data)
    resumed = resume(tmp_path)
    assert resumed.trials[0].value == whole.trials[0].value
    assert resumed.cost > whole.cost


@pytest.mark.parametrize("other", [{"seed": 7}, {"space": "lora"}, {}])
def test_a_snapshot_of_another_trial_is_not_taken_up(
    other: dict[str, object], tmp_path: Path
) -> None:
    whole = search(tmp_path / "whole", **ONE)
    mine = snapshot_of(killed(tmp_path, 13, **ONE))
    events = 13 if other else 9  # of the same trial, two segments before
    theirs = snapshot_of(killed(tmp_path / "other", events, **{**ONE, **other}))
    shutil.copy(theirs, mine)
    resumed = resume(tmp_path)
    assert resumed.trials[0].value == whole.trials[0].value
    assert resumed.cost > whole.cost


def test_snapshots_without_a_checksum_are_read(tmp_path: Path) -> None:
    """Versions before 0.3 wrote them."""
    import json

    import torch
    from safetensors.torch import save_file

    tensors, meta = {"a": torch.arange(3.0)}, {"segments": []}
    save_file(tensors, tmp_path / "old", metadata={"hpopt": json.dumps(meta)})
    write_snapshot(tmp_path / "new", tensors, meta)
    for name in ("old", "new"):
        read, told = read_snapshot(tmp_path / name)
        assert torch.equal(read["a"], tensors["a"])
        assert told == meta
    with pytest.raises(WorldError, match="must be a snapshot"):
        read_snapshot(tmp_path / "none")
    damaged = (tmp_path / "new").read_bytes().replace(b"sha256", b"sha255")
    (tmp_path / "new").write_bytes(damaged)  # else it would pass for one without
    with pytest.raises(WorldError, match="must be a snapshot"):
        read_snapshot(tmp_path / "new")
