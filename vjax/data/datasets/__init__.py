"""TFDS builders: data sets that are made, or prepared, once and then read by position."""
