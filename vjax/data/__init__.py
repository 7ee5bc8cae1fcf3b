"""Files to host batches: decoding, sources, transforms and the pipelines; never sees a network."""
