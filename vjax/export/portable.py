"""A function with convolutions over time as sums of 2D convolutions, which every exporter knows.

The function is traced, and its operations are applied again one by one. Functions inside it are opened, so that no rule
for gradients is left; of the forms for several platforms, that of all others is taken.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vjax.errors import InputError
from vjax.models.receptive_field import CALLS


def portable(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns the function without 3D convolutions, calls and branches for platforms."""

    def apply(clips: jax.Array) -> jax.Array:
        traced = jax.make_jaxpr(function)(clips)
        (output,) = _evaluate(traced.jaxpr, traced.consts, [clips])
        return output

    return apply


def _evaluate(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Applies traced operations to inputs."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def value(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for equation in jaxpr.eqns:
        outputs = _apply(equation, [value(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, outputs, strict=True))
    return [value(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    """Applies one operation.

    Raises:
      InputError: it computes in bfloat16, which ONNX runtimes do not, or is a 3D convolution of another form.
    """
    name, params = equation.primitive.name, equation.params
    if any(variable.aval.dtype == jnp.bfloat16 for variable in equation.outvars):
        raise InputError("this network computes in bfloat16, which ONNX runtimes do not; export it as stablehlo")
    if name in CALLS:
        inner = params[CALLS[name]]
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
    if name == "platform_index":
        return [jnp.int32(0)]  # of the branches, which are chosen below
    if name == "cond" and params.get("branches_platforms") is not None:
        branch = params["branches"][params["branches_platforms"].index(None)]
        return _evaluate(branch.jaxpr, branch.consts, inputs[1:])
    if name == "optimization_barrier":
        return inputs
    if name == "pad" and all(low >= 0 and high >= 0 and not inside for low, high, inside in params["padding_config"]):
        # jnp.pad, because jax2onnx does not know lax.pad for a batch of any size.
        x, value = inputs
        return [jnp.pad(x, [pads[:2] for pads in params["padding_config"]], constant_values=value)]
    if name == "conv_general_dilated" and inputs[0].ndim == 5:
        clips, kernel = inputs
        return [_sum_of_taps(clips, kernel, params)]
    outputs = equation.primitive.bind(*inputs, **params)
    return outputs if equation.primitive.multiple_results else [outputs]


def _sum_of_taps(x: jax.Array, kernel: jax.Array, params: Any) -> jax.Array:
    """Returns a convolution of clips `(b t h w c)` with a kernel `(kt kh kw c f)` as a sum over kt.

    Raises:
      InputError: the convolution has other axes, or holes.
    """
    axes, dilations = params["dimension_numbers"], (*params["lhs_dilation"], *params["rhs_dilation"])
    if axes.lhs_spec != (0, 4, 1, 2, 3) or axes.rhs_spec != (4, 3, 0, 1, 2) or set(dilations) != {1}:
        raise InputError(
            "this network has a 3D convolution that is not exported: it must be of clips (b t h w c) and without "
            f"dilation, and has {axes} and dilations {dilations}; export it as stablehlo"
        )
    (stride, *strides), (pad, *pads) = params["window_strides"], params["padding"]
    padded = jnp.pad(x, [(0, 0), pad, (0, 0), (0, 0), (0, 0)])
    num_frames = (padded.shape[1] - len(kernel)) // stride + 1
    total: Any = 0
    for tap in range(len(kernel)):
        frames = lax.slice_in_dim(padded, tap, tap + (num_frames - 1) * stride + 1, stride, axis=1)
        total += lax.conv_general_dilated(
            frames.reshape(-1, *frames.shape[2:]),
            kernel[tap],
            strides,
            pads,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=params["feature_group_count"],
        )
    return total.reshape(-1, num_frames, *total.shape[1:])
