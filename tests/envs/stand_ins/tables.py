"""Tables of finished runs: by their rates and sizes, and by checkpoints."""

import math
from collections.abc import Callable

RATES, SIZES = (1e-4, 2e-4, 1e-3), (8, 16, 64)
LOSSES = {(r, s): 2.0 + abs(math.log(r / 2e-4)) / 8 + s / 256 for r in RATES for s in SIZES}
MISSING = (1e-3, 64)
HEAD = "task,learning_rate,batch_size,loss,accuracy,parameters,training_tokens\n"
ROWS = "".join(
    f"{task},{rate},{size},{LOSSES[rate, size] + shift},0.{size},{parameters},5000\n"
    for task, shift, parameters in (("small", 0.0, 70_000), ("large", -1.0, 90_000))
    for rate, size in LOSSES
    if (rate, size) != MISSING
)
CURVES = {(1, 0.1): [40.0, 20.0, 10.0], (2, 0.1): [30.0, 15.0], (2, 0.3): [35.0, 25.0, 12.0]}
STEPS = "task,epochs,dropout,checkpoint,perplexity,bleu\n" + "".join(
    f"t,{epochs},{dropout},{100 * step},{value},{-value}\n"
    for (epochs, dropout), curve in CURVES.items()
    # The order of rows doesn't matter.
    for step, value in reversed(list(enumerate(curve, start=1)))
)

Write = Callable[[str, str], None]
