"""What a training script says of itself while hpopt runs it; free of everything heavy."""

import json
import os

REPORTS = "HPOPT_REPORTS"  # as `hpopt_envs.scripts.reports` has it, which isn't light


def report(step: int | None = None, **values: float) -> None:
    """Report values of a training run, such as `hpopt.report(step=100, eval_loss=2.5)`.

    Does nothing where hpopt isn't searching (`python -m hpopt search --command ...`), and in
    processes of a distributed run but for that of rank 0.

    Args:
        step: of the run, optimizer steps.
        **values: numbers by name; `num_input_tokens_seen` is what the trial costs.

    Raises:
        TypeError, ValueError: a value isn't a number.
    """
    path = os.environ.get(REPORTS)
    if path is None or os.environ.get("RANK", "0") != "0":
        return
    numbers = {name: float(value) for name, value in values.items()}
    said = numbers if step is None else {"step": int(step), **numbers}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")
