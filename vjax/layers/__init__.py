"""Layers: how convolution, pooling and norms are computed on each platform, with gradients of their own."""
