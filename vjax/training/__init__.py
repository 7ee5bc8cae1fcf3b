"""Training: the train step, optimizers, checkpoints, writers and the loop."""
