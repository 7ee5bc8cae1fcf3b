"""What the tests of published networks share: the shapes inside them, and a check of their gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vjax import models

# XLA takes longer to optimise a gradient of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


@functools.cache
def variables_of(name, num_classes, clip_shape):
    """Returns the shapes of the variables of a network of the table."""
    network, clips = models.create(name, num_classes), jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)


def shapes_inside(network, shape):
    """Returns the logits, the parameters and the outputs of all layers by their path, as shapes."""
    clips = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda x: network.init_with_output(
            jax.random.key(0),
            x,
            train=False,
            capture_intermediates=True,
            mutable=["params", "batch_stats", "intermediates"],
        ),
        clips,
    )
    outputs = {
        "/".join(entry.key for entry in path[:-2]): leaf
        for path, leaf in jax.tree.leaves_with_path(variables["intermediates"])
    }
    return logits, variables["params"], outputs


def assert_every_parameter_gets_a_finite_gradient_in_training(network, variables, clips):
    """Checks the gradient of the first class's loss: finite everywhere, and nowhere zero for a whole parameter."""

    @functools.partial(jax.jit, compiler_options=UNOPTIMISED)
    def grads(params):
        def loss(params):
            logits = network.apply({"params": params}, clips, train=True, rngs={"dropout": jax.random.key(0)})
            return -jax.nn.log_softmax(logits)[..., 0].mean()

        return jax.grad(loss)(params)

    found = grads(variables["params"])
    chex.assert_tree_all_finite(found)
    assert not [path for path, grad in jax.tree.leaves_with_path(found) if not np.any(grad)]
