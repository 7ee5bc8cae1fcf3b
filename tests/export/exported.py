"""Networks of the table with made variables, and what their inference is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vjax import models
from vjax.export.inference import make_inference
from vjax.models.registry import cards
from vjax.ops.clip_input import ClipInput

FUSION = [f"{name}, {kind}" for name in models.FUSION_NETWORKS for kind in ("rgb", "difference", "foreground")]
# One of each family; docs/export.md has the figures of all.
PUBLISHED = ("karpathy_slow", "c3d", "r2plus1d_18", "s3d", "slowfast_r50", "x3d_s")


@functools.lru_cache(maxsize=1)  # some have half a gigabyte
def network_of(case, **options):
    """Returns the inference on uint8 clips of a network, and the shape of a clip."""
    name, _, kind = case.partition(", ")
    shape = (6, 16, 16, 3) if name in models.FUSION_NETWORKS else (*cards()[name].clip, 3)
    if name in models.FUSION_NETWORKS:
        options |= {"backbone": {"name": "small", "widths": (4, 6)}}
    network = models.create(name, 5, **options)
    shapes = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), jnp.zeros((1, *shape)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        # Kernels of the size that keeps numbers of one size; variances above 0.
        if path[-1].key == "kernel":
            return (rng.standard_normal(leaf.shape) * (2 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5).astype(leaf.dtype)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return make_inference(network, variables, ClipInput(kind or "rgb"), half=False), shape


def check_model(run, function, shape):
    """Checks that a model gives the probabilities of a network, for batches of one and of two clips."""
    clips = np.random.default_rng(1).integers(0, 256, (2, *shape)).astype(np.uint8)
    expected = np.asarray(jax.jit(function)(clips))
    np.testing.assert_allclose(expected.sum(1), 1, rtol=1e-4)
    for size in (1, 2):
        np.testing.assert_allclose(run(clips[:size]), expected[:size], atol=1e-4)
