"""Datasets by name: listings of official video files, the generated `moving_shapes`, and any TFDS video dataset."""
