"""One of two processes that train a model together; run by `test_two_processes.py`.

python one_of_two.py OUT
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from hpopt.live import Controller
from hpopt.live.probing import TrainerProbe
from hpopt.live.steering import Probed
from tests.hpopt.live.runs import RATE, probes, rates, trainer, weights


def main() -> None:
    out, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    if rank == 1:  # what it measures must not count
        measure = TrainerProbe.__call__

        def other(self: Any) -> Probed:
            measure(self)
            return Probed(100.0 + len(os.environ))

        TrainerProbe.__call__ = other  # type: ignore[method-assign]
    ran = trainer(out, [Controller()], learning_rate=16 * RATE, ddp_backend="gloo", max_steps=30)
    ran.train()
    sums = {name: tensor.double().sum().item() for name, tensor in weights(ran).items()}
    told = {"rates": rates(ran), "sums": sums, "probes": probes(ran)}
    told["processes"] = ran.args.world_size
    (out / f"{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
