"""The train step and all that surrounds it: optimizers, checkpoints, logs and the loop."""
