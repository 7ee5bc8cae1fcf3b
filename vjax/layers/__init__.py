"""Layers: convolution (with faster forms on CPU), pooling and norms, with custom gradients."""
