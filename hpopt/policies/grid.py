"""The configurations that values are learned for, and the ramp that is seen before."""

DIVERGENCE_WEIGHTS = (0.0, 0.3, 1.0, 3.0)
BATCH_MULTIPLES = (1, 4)  # of the smallest batch
CELLS = len(DIVERGENCE_WEIGHTS) * len(BATCH_MULTIPLES)  # of a learning rate, batches varying faster
RAMP_SHARE = 0.3  # of a trial's tokens, at most
RAMP_STEPS = 2  # of each octave, where there is room
RISE = 0.03  # of the base loss: a ramp ends where the objective is so far above its best


def ramp_steps(steps: int, levels: int) -> int:
    """Return the optimizer steps of each level of a ramp; 0 where a trial is too short for one.

    Args:
        steps: of the smallest batch in a trial.
        levels: of the ramp, an octave apart.
    """
    return min(RAMP_STEPS, int(RAMP_SHARE * steps / levels))
