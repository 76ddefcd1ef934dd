"""Bits that flip in snapshots: never taken up, and the study comes to the same trials."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch

from hpopt_envs.episode.snapshots import read_snapshot, write_snapshot

from . import studies
from .campaign import attempt
from .mutation import flipped, mutated

WHAT = "snapshots with flipped bits or other changes: read, resume"
COUNT = 1000
SEARCHERS = ("random", "ppo", "random+promotion")
TENSORS = 20  # reads of a snapshot with real tensors a case, for one study that is resumed


def case(seed: int, folder: Path) -> Iterator[str]:
    draw = Random(seed)
    path = folder / "trial.safetensors"
    for number in range(TENSORS):
        path.write_bytes((flipped if number % 2 else mutated)(_whole(), draw))
        read, wrong = attempt(lambda: read_snapshot(path))
        yield wrong or ("" if read is None or _same(read) else "read as another state")
    path.unlink()
    *frames, end = studies.frames(draw.choice(SEARCHERS), 0)
    with_snapshots = [f for f in frames if any(n.startswith("snapshots/") for n in f)]
    frame = dict(draw.choice(with_snapshots))
    for name in frame:
        if name.startswith("snapshots/"):
            frame[name] = flipped(frame[name], draw)
    studies.put(frame, folder)
    resumed, wrong = attempt(lambda: studies.resume(folder))
    if resumed is not None:
        wrong = "" if studies.trials_of(folder) == studies.trials_in(end) else "other trials"
    yield wrong


@cache
def _whole() -> bytes:
    """Return a snapshot such as real training writes, with moments."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.safetensors"
        generator = torch.Generator().manual_seed(0)
        tensors = {
            "model.a": torch.randn(50, 4, generator=generator),
            "optimizer.0.exp_avg": torch.randn(9, generator=generator).to(torch.bfloat16),
            "random": torch.arange(64, dtype=torch.uint8),
        }
        write_snapshot(path, tensors, {"trial": 1, "state": {"seed": 1, "loss": 0.5}})
        return path.read_bytes()


def _same(read: tuple[dict[str, torch.Tensor], dict[str, object]]) -> bool:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trial.safetensors"
        path.write_bytes(_whole())
        tensors, meta = read_snapshot(path)
    return (
        read[1] == meta
        and read[0].keys() == tensors.keys()
        and all(torch.equal(read[0][name], tensor) for name, tensor in tensors.items())
    )
