"""ReLU6 with a gradient of its own."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def relu6(x: jax.Array) -> jax.Array:
    """Returns min(max(x, 0), 6); its gradient is 0 at 0 and at 6.

    The backward pass needs the output alone, which the next convolution keeps, too. JAX's derived gradient compares x
    with the maximum for equality. XLA may compute x in several fusions, whose results differ in the last digit, and
    then that gradient is lost.
    """
    return jnp.minimum(jnp.maximum(x, 0), 6)


def _forward(x):
    out = relu6(x)
    return out, out


def _backward(out, grad):
    return (jnp.where((out > 0) & (out < 6), grad, 0),)


relu6.defvjp(_forward, _backward)
