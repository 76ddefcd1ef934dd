"""Real fine-tuning: weights, gradients, optimizers and evaluation of a training run."""
