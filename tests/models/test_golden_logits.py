"""Networks give torchvision's logits, also where PyTorch is not installed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from golden_logits import CLIP_SHAPES, GOLDEN, NUM_CLASSES, draw_tensor, golden_clips

from vjax import models
from vjax.models.registry import torch_names_of
from vjax.spec import Choice
from vjax.training.convert import convert

# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


def shape_in_pytorch(shape):
    """Returns the shape of a kernel `(t h w i o)` or `(i o)` in PyTorch; other shapes are the same there."""
    return (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else shape


@pytest.mark.parametrize("name", CLIP_SHAPES)
def test_the_logits_are_the_golden_ones_of_torchvision(name):
    network = models.create(name, NUM_CLASSES, dropout=0.0)
    if name == "s3d":
        network = network.clone(window=(2, 2, 2))
    clips = jax.ShapeDtypeStruct((1, *CLIP_SHAPES[name]), jnp.float32)
    shapes = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), clips)
    names = torch_names_of(Choice(name))(shapes)
    leaves = flatten_dict(shapes, sep="/")
    tensors = {theirs: draw_tensor(theirs, shape_in_pytorch(leaves[ours].shape)) for ours, theirs in names.items()}
    loaded = convert(shapes, tensors, names, where="golden")
    assert not loaded.reinitialised
    run = jax.jit(functools.partial(network.apply, train=False), compiler_options=UNOPTIMISED)
    found = np.asarray(run(loaded.variables, golden_clips(name)))[0, 0]
    np.testing.assert_allclose(found, GOLDEN[name], atol=1e-4 * np.abs(GOLDEN[name]).max())
