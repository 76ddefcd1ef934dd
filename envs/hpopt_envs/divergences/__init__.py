"""f-divergences between categorical distributions, and targets of alignment; pure functions."""
