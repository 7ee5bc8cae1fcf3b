"""A function with convolutions over time as sums of 2D convolutions, which every exporter knows.

The function is traced, and its operations are applied again one by one. Functions inside it are opened, so that no rule
for gradients is left; of the forms for several platforms, that of all others is taken.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.export.frames import Convolution, Frames, apply_to_frames, convolve, folded, only_adds
from vjax.models.receptive_field import CALLS


def portable(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns the function without 3D convolutions, calls and branches for platforms."""

    def apply(clips: jax.Array) -> jax.Array:
        traced = jax.make_jaxpr(function)(clips)
        (output,) = _evaluate(traced.jaxpr, traced.consts, [clips])
        return output.joined() if isinstance(output, Frames) else output

    return apply


def _evaluate(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Applies traced operations to inputs."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def value(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for equation in _needed(jaxpr):
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
    if name == "conv_general_dilated" and len(equation.invars[0].aval.shape) == 5:
        clips, kernel = inputs
        return [_convolve(clips, kernel, params)]
    if any(isinstance(x, Frames) for x in inputs):
        found = apply_to_frames(equation, inputs)
        if found is not None:
            return [found]
        inputs = [x.joined() if isinstance(x, Frames) else x for x in inputs]
    if name == "pad" and only_adds(params["padding_config"]):
        # jnp.pad, because jax2onnx does not know lax.pad for a batch of any size.
        x, value = inputs
        return [jnp.pad(x, [pads[:2] for pads in params["padding_config"]], constant_values=value)]
    # Constants are computed now, but not those that grow, such as a broadcast: they would be in the file.
    bind = functools.partial(equation.primitive.bind, **params)
    outputs = folded(bind, *inputs) if _shrinks(equation) else bind(*inputs)
    return outputs if equation.primitive.multiple_results else [outputs]


def _needed(jaxpr: Any) -> list[Any]:
    """Returns the operations that the outputs depend on."""
    needed, equations = set(jaxpr.outvars), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(variable for variable in equation.invars if not hasattr(variable, "val"))
            equations.append(equation)
    return equations[::-1]


def _shrinks(equation: Any) -> bool:
    """Returns whether the outputs are no larger than the inputs together."""
    shapes = [variable.aval.shape for variable in equation.outvars]
    if not all(isinstance(size, int) for shape in shapes for size in shape):
        return False
    return sum(map(math.prod, shapes)) <= sum(math.prod(variable.aval.shape) for variable in equation.invars)


def _convolve(x: Any, kernel: Any, params: Any) -> Convolution:
    """Returns a convolution of clips `(b t h w c)` with a kernel `(kt kh kw c f)`.

    Raises:
      InputError: the convolution has other axes, or holes.
    """
    axes, dilations = params["dimension_numbers"], (*params["lhs_dilation"], *params["rhs_dilation"])
    if axes.lhs_spec != (0, 4, 1, 2, 3) or axes.rhs_spec != (4, 3, 0, 1, 2) or set(dilations) != {1}:
        raise InputError(
            "this network has a 3D convolution that is not exported: it must be of clips (b t h w c) and without "
            f"dilation, and has {axes} and dilations {dilations}; export it as stablehlo"
        )
    return convolve(x, kernel, params)
