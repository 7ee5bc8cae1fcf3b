"""Functions on arrays: frame sampling, crop and resize, augmentation, mixing and temporal filters."""
