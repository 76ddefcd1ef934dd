"""Learning policies on nano tasks: what `python -m hpopt pretrain` does."""
