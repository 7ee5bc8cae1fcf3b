"""Receptive fields: how many frames, rows and columns of a clip can change one value of an array in a network.

A network is traced, and each operation of the trace is done on positions in place of numbers: an output lies as far in
the clip as the farthest of the inputs that it is made from. So the numbers hold for every network, also for branches,
strides and zeros at the borders. Nothing is computed with real clips.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

# An array of positions has the rank of the array that it belongs to, and size 1 along each axis on which all its values
# are equal. None stands for an array that the clip does not change.
Positions = np.ndarray | None
Field = tuple[int, int, int]

_NOWHERE = -(10**9)  # the position of a zero of a border
# fmt: off
ONE_BY_ONE = frozenset([
    "abs", "add", "and", "ceil", "clamp", "convert_element_type", "copy", "cos", "div", "eq", "erf", "exp", "expm1",
    "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul",
    "ne", "neg", "not", "or", "pow", "round", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient",
    "sub", "tanh", "xor",
])
# fmt: on
# Operations that are other operations under a name, and the parameter that holds these. Loops (scan, while) are not
# among them: what their results depend on grows from round to round.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


class _UnknownOperationError(Exception):
    """An operation whose inputs of one output are not known."""


def receptive_fields(
    function: Callable[[jax.Array], Sequence[jax.Array]], clip_shape: tuple[int, ...]
) -> list[Field] | None:
    """Returns the receptive field `(t, h, w)` of each array that a function makes from clips.

    It is the largest over the values of an array, in frames, rows and columns of the clip. It ends at the borders of
    the clip, so it is at most the clip itself. A convolution in groups counts as one over all channels.

    Args:
      function: function from clips `(1 t h w c)` to arrays.
      clip_shape: shape `(t h w c)` of a clip.

    Returns:
      a field for each array; (0, 0, 0) if the clip does not change it. None if the function has an operation that this
      module does not know.

    >>> receptive_fields(lambda clips: [clips[:, :4].mean(1), clips.max((2, 3))], (8, 6, 5, 3))
    [(4, 1, 1), (1, 6, 5)]
    """
    trace = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, *clip_shape), np.float32))
    sizes = []
    try:
        for axis in (1, 2, 3):
            ahead = np.expand_dims(np.arange(clip_shape[axis - 1]), tuple({0, 1, 2, 3, 4} - {axis}))
            # The largest negative position is the smallest position.
            last, first = (_follow(trace.jaxpr, [positions]) for positions in (ahead, -ahead))
            sizes.append([_largest(*pair) for pair in zip(last, first, strict=True)])
    except _UnknownOperationError:
        return None
    return list(zip(*sizes, strict=True))


def _largest(last: Positions, first: Positions) -> int:
    if last is None or first is None:
        return 0
    return max(0, int((last + first).max()) + 1)


def _follow(jaxpr: Any, inputs: Sequence[Positions]) -> list[Positions]:
    """Returns the positions of the outputs of traced operations."""
    known: dict[Any, Positions] = dict(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        # A literal is in no dictionary, because it is no variable; neither are constants.
        values = [None if hasattr(v, "val") else known.get(v) for v in equation.invars]
        if all(value is None for value in values):
            continue
        known.update(zip(equation.outvars, _apply(equation, values), strict=True))
    return [None if hasattr(v, "val") else known.get(v) for v in jaxpr.outvars]


def _apply(equation: Any, values: Sequence[Positions]) -> Sequence[Positions]:
    """Returns the positions of the outputs of one operation, of which one input or more depends on the clip."""
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        branches = params["branches"]
        # Of the forms for several platforms the default: those for CPU work in tiles, and see more than they need.
        platforms = params.get("branches_platforms")
        if platforms is not None:
            branches = [branches[platforms.index(None)]]
        found = [_follow(branch.jaxpr, values[1:]) for branch in branches]
        return [_join(outputs) for outputs in zip(*found, strict=True)]
    if name == "optimization_barrier":
        return values
    if name in ONE_BY_ONE:
        return [_join(values)]
    if name in CALLS:
        inner = params[CALLS[name]]
        return _follow(getattr(inner, "jaxpr", inner), values)
    rule = _RULES.get(name) or (_reduce if name.startswith(("reduce_", "arg")) and "axes" in params else None)
    if rule is None:
        raise _UnknownOperationError(name)
    shapes = [variable.aval.shape for variable in equation.invars]
    return [rule(values, shapes, equation.outvars[0].aval.shape, params)]


def _join(values: Sequence[Positions]) -> Positions:
    given = [value for value in values if value is not None]
    return functools.reduce(np.maximum, given) if given else None


# Each rule takes the positions and the shapes of the inputs, the shape of the output, and the parameters.
def _broadcast(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    sizes = [1] * len(out_shape)
    for size, axis in zip(values[0].shape, params["broadcast_dimensions"], strict=True):
        sizes[axis] = size
    return values[0].reshape(sizes)


def _reshape(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    # The last axes that stay keep size 1 where they have it; the others are written out.
    (positions, *_), (shape, *_) = values, shapes
    kept = 0
    while kept < min(len(shape), len(out_shape)) and shape[-1 - kept] == out_shape[-1 - kept]:
        kept += 1
    end, tail = len(shape) - kept, positions.shape[len(shape) - kept :]
    full = np.broadcast_to(positions, (*shape[:end], *tail))
    return _shrink(full.reshape(*out_shape[: len(out_shape) - kept], *tail))


def _shrink(positions: np.ndarray) -> np.ndarray:
    for axis in range(positions.ndim):
        first = positions.take([0], axis)
        if (positions == first).all():
            positions = first
    return positions


def _squeeze(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    return values[0].squeeze(params["dimensions"])


def _transpose(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    return values[0].transpose(params["permutation"])


def _reverse(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    return np.flip(values[0], params["dimensions"])


def _reduce(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    return values[0].max(tuple(params["axes"]))


def _slice(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    strides = params["strides"] or [1] * len(out_shape)
    parts = zip(values[0].shape, params["start_indices"], params["limit_indices"], strides, strict=True)
    return values[0][tuple(slice(None) if size == 1 else slice(start, end, step) for size, start, end, step in parts)]


def _pad(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    positions = values[0]
    if positions is None:
        raise _UnknownOperationError("pad")  # with a number that depends on the clip
    for axis, (before, after, between) in enumerate(params["padding_config"]):
        if (before, after, between) == (0, 0, 0):
            continue
        written = np.moveaxis(_write_out(positions, axis, shapes[0][axis]), axis, 0)
        if between:
            spread = np.full((len(written) + (len(written) - 1) * between, *written.shape[1:]), _NOWHERE)
            spread[:: between + 1] = written
            written = spread
        positions = np.moveaxis(_pad_axis(written, before, after), 0, axis)
    return positions


def _pad_axis(positions: np.ndarray, before: int, after: int) -> np.ndarray:
    """Pads the first axis; negative numbers cut."""
    cut = positions[max(0, -before) : len(positions) - max(0, -after)]
    sizes = [(max(0, before), max(0, after)), *[(0, 0)] * (positions.ndim - 1)]
    return np.pad(cut, sizes, constant_values=_NOWHERE)


def _write_out(positions: np.ndarray, axis: int, size: int) -> np.ndarray:
    return np.repeat(positions, size, axis) if positions.shape[axis] == 1 else positions


def _concatenate(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    axis, parts = params["dimension"], []
    for positions, shape in zip(values, shapes, strict=True):
        parts.append(np.full([1] * len(shape), _NOWHERE) if positions is None else positions)
        parts[-1] = _write_out(parts[-1], axis, shape[axis])
    sizes = np.broadcast_shapes(*[(*part.shape[:axis], 1, *part.shape[axis + 1 :]) for part in parts])
    parts = [np.broadcast_to(part, (*sizes[:axis], part.shape[axis], *sizes[axis + 1 :])) for part in parts]
    return _shrink(np.concatenate(parts, axis))


def _stack(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    axis = params["axis"]
    values = [None if positions is None else np.expand_dims(positions, axis) for positions in values]
    shapes = [(*shape[:axis], 1, *shape[axis:]) for shape in shapes]
    return _concatenate(values, shapes, out_shape, {"dimension": axis})


def _window(positions: np.ndarray, axis: int, window: int, stride: int, pad: tuple[int, int], gap: int) -> np.ndarray:
    """Returns the farthest positions in windows along one axis; `gap` is the distance between two of their values."""
    if positions.shape[axis] == 1:
        return positions  # each window has a value, and all are equal
    padded = _pad_axis(np.moveaxis(positions, axis, 0), *pad)
    found = np.lib.stride_tricks.sliding_window_view(padded, (window - 1) * gap + 1, axis=0)
    return np.moveaxis(found[::stride, ..., ::gap].max(-1), 0, axis)


def _reduce_window(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    if any(step != 1 for step in params["base_dilation"]):
        raise _UnknownOperationError("reduce_window with base_dilation")
    names = ("window_dimensions", "window_strides", "padding", "window_dilation")
    positions = values[0]
    for axis, (window, stride, pad, gap) in enumerate(zip(*(params[name] for name in names), strict=True)):
        positions = _window(positions, axis, window, stride, pad, gap)
    return positions


def _convolve(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    if values[1] is not None or any(step != 1 for step in params["lhs_dilation"]):
        raise _UnknownOperationError("convolution with a kernel made from the clip, or transposed")
    numbers = params["dimension_numbers"]
    positions = values[0].transpose(numbers.lhs_spec).max(1, keepdims=True)  # (b c t h w)
    kernel = [shapes[1][axis] for axis in numbers.rhs_spec[2:]]
    names = ("window_strides", "padding", "rhs_dilation")
    for axis, (size, stride, pad, gap) in enumerate(zip(kernel, *(params[name] for name in names), strict=True), 2):
        positions = _window(positions, axis, size, stride, pad, gap)
    return positions.transpose(np.argsort(numbers.out_spec))


def _dot(values: Any, shapes: Any, out_shape: Any, params: Any) -> np.ndarray:
    # The axes of the output: those of the batch, then the free axes of each input.
    contracted, batched = params["dimension_numbers"]
    num_free = [len(shape) - len(c) - len(b) for shape, c, b in zip(shapes, contracted, batched, strict=True)]
    found = []
    for side, positions in enumerate(values):
        if positions is None:
            continue
        free = [a for a in range(positions.ndim) if a not in (*contracted[side], *batched[side])]
        moved = positions.max(tuple(contracted[side]), keepdims=True)
        moved = moved.transpose((*batched[side], *free, *contracted[side]))
        kept = moved.shape[: len(batched[side]) + len(free)]
        ones = [1] * num_free[1 - side]
        batch, free_sizes = kept[: len(batched[side])], kept[len(batched[side]) :]
        found.append(moved.reshape((*batch, *free_sizes, *ones) if side == 0 else (*batch, *ones, *free_sizes)))
    return functools.reduce(np.maximum, found)


_RULES: dict[str, Callable[[Any, Any, Any, Any], np.ndarray]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "rev": _reverse,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "stack": _stack,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "conv_general_dilated": _convolve,
    "dot_general": _dot,
}
