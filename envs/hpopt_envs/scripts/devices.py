"""Which device a worker's scripts see, where there are several."""

import os
from pathlib import Path

WORKER = "HPOPT_WORKER"  # the number of a worker's process, from 0; see hpopt/pool/processes.py
VISIBLE = "CUDA_VISIBLE_DEVICES"


def device_of_worker() -> dict[str, str]:
    """Return what to set so that workers share devices out; {} where there is nothing to share.

    One worker, which is this process, leaves all devices to its script.
    """
    worker, said = os.environ.get(WORKER), os.environ.get(VISIBLE)
    if worker is None:
        return {}
    there = _on_machine() if said is None else [one for one in said.split(",") if one.strip()]
    return {VISIBLE: there[int(worker) % len(there)]} if len(there) > 1 else {}


def _on_machine() -> list[str]:
    count = sum(path.name[len("nvidia") :].isdigit() for path in Path("/dev").glob("nvidia*"))
    return [str(device) for device in range(count)]
