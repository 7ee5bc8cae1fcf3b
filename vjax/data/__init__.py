"""From video files to host batches: decoding, sources, transforms and pipelines; knows nothing of the networks."""
