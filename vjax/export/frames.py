"""Clips as frames with the channels in front, and traced operations on them.

ONNX runtimes convolve `(n c h w)` and keep it in blocks of channels from one convolution to the next as long as nothing
but operations on each value comes between. So clips `(b t h w c)` are held as their frames, `(b*t c h w)`.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import core, lax

from vjax.models.receptive_field import ONE_BY_ONE

# While jax2onnx traces, some functions are operations of their own, such as "jax.nn.relu".
_ON_EACH_VALUE = ONE_BY_ONE | {"maximum", "minimum", "relu", "relu6", "sigmoid", "silu", "dropout"}


class Frames:
    """Clips `(b t h w c)` as frames.

    Attributes:
      time: number of frames of a clip, t.
    """

    def __init__(self, compute: Callable[[], Any], time: int) -> None:
        """Keeps the function that gives the frames `(b*t c h w)`."""
        self._compute = compute
        self.time = time

    @functools.cached_property
    def array(self) -> Any:
        """The frames `(b*t c h w)`, computed when they are first used."""
        return self._compute()

    def split(self) -> Any:
        """Returns the frames of each clip, `(b t c h w)`."""
        return self.array.reshape(-1, self.time, *self.array.shape[1:])

    def joined(self) -> jax.Array:
        """Returns the clips `(b t h w c)`."""
        return self.split().transpose(0, 1, 3, 4, 2)


def frames_of(clips: Any) -> Frames:
    """Returns clips `(b t h w c)` as frames."""
    if isinstance(clips, Frames):
        return clips
    return _merge(folded(lambda x: x.transpose(0, 1, 4, 2, 3), clips))


def _merge(split: Any) -> Frames:
    """Returns frames of clips `(b t c h w)`."""
    return _held(folded(lambda x: x.reshape(-1, *x.shape[2:]), split), split.shape[1])


def _held(array: Any, time: int) -> Frames:
    """Returns frames that are computed already."""
    return Frames(lambda: array, time)


class Convolution(Frames):
    """A convolution, times a factor plus an offset for each channel, which is computed when it is first used."""

    def __init__(self, clips: Frames, kernel: Any, params: Any, scale: Any = None, offset: Any = None) -> None:
        """Keeps what the convolution is computed from.

        Args:
          clips: input.
          kernel: kernel `(kt f c kh kw)`.
          params: parameters of the traced convolution.
          scale: factors `(1 f 1 1)`, or None.
          offset: offsets `(1 f 1 1)`, or None.
        """
        (stride, *_), (pad, *_) = params["window_strides"], params["padding"]
        super().__init__(self._convolve, (clips.time + sum(pad) - len(kernel)) // stride + 1)
        self.parts = clips, kernel, params
        self.scale, self.offset = scale, offset

    def _convolve(self) -> Any:
        clips, kernel, params = self.parts
        (stride, *strides), (pad, *pads) = params["window_strides"], params["padding"]
        kernels = folded(lambda x: [x[tap] for tap in range(len(x))], kernel)
        if self.scale is not None:
            # The runtime multiplies, once: so kernels that are stored in 16 bits stay so.
            kernels = [kernel * self.scale.reshape(-1, 1, 1, 1) for kernel in kernels]
        groups = params["feature_group_count"]
        inputs = [clips.array]
        if len(kernel) > 1 or stride > 1 or any(pad):
            none = (0, 0)
            # Of 16 channels and more, onnxruntime keeps in blocks what is a multiple of 4.
            channels = len(kernel) * clips.array.shape[1]
            more = (0, -clips.array.shape[1] % 4 if groups == 1 and channels >= 16 and channels % 4 else 0)
            sides = [none, pad, more, none, none]
            padded = jnp.pad(clips.split(), sides) if any(map(any, sides)) else clips.split()
            kernels = [jnp.pad(kernel, [none, more, none, none]) for kernel in kernels] if any(more) else kernels
            stops = [tap + (self.time - 1) * stride + 1 for tap in range(len(kernel))]
            parts = [lax.slice_in_dim(padded, tap, stop, stride, axis=1) for tap, stop in enumerate(stops)]
            if groups == 1:
                # One convolution of the taps side by side as channels: fewer additions, and arrays in other blocks.
                inputs = [_merge(lax.concatenate(parts, 2)).array]
                kernels = [lax.concatenate(kernels, 1)]
            else:
                inputs = [_merge(part).array for part in parts]
        out = [
            lax.conv_general_dilated(x, kernel, strides, pads, feature_group_count=groups)
            for x, kernel in zip(inputs, kernels, strict=True)
        ]
        if self.offset is not None:
            out[0] += self.offset
        return functools.reduce(operator.add, out)

    def changed(self, name: str, value: Any) -> "Convolution":
        """Returns the sum, difference, product or quotient with a value for each channel `(1 f 1 1)`."""
        scale, offset = self.scale, self.offset
        if name in ("add", "sub"):
            value = value if name == "add" else folded(operator.neg, value)
            offset = value if offset is None else folded(operator.add, offset, value)
        else:
            value = value if name == "mul" else folded(lambda x: 1 / x, value)
            scale = value if scale is None else folded(operator.mul, scale, value)
            offset = None if offset is None else folded(operator.mul, offset, value)
        return Convolution(*self.parts, scale, offset)


class Maxima(Frames):
    """The maxima of slices of the same clips, which is a pool if the slices start at neighbouring positions."""

    def __init__(self, clips: Frames, starts: set[Any], sizes: list[int], strides: Sequence[int]) -> None:
        """Keeps what the maxima are computed from.

        Args:
          clips: clips that the slices are of.
          starts: of each slice in time start, stop and stride, and the first row and column.
          sizes: size `[t h w]` of each slice.
          strides: strides `(sh sw)` of all slices.
        """
        super().__init__(self._pool, sizes[0])
        self.parts = clips, starts, sizes, tuple(strides)

    def _pool(self) -> Any:
        clips, starts, (_, *sizes), strides = self.parts
        maxima = []
        for time in sorted({time for time, _, _ in starts}):
            frames = _merge(lax.slice_in_dim(clips.split(), *time, axis=1)) if time != (0, clips.time, 1) else clips
            positions = [start[1:] for start in starts if start[0] == time]
            rows, columns = [(min(axis), max(axis)) for axis in zip(*positions, strict=True)]
            window = (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1)
            if len(positions) == math.prod(window):
                positions = [(rows[0], columns[0])]
            else:
                window = (1, 1)
            maxima += [_pool_windows(frames.array, start, window, sizes, strides) for start in positions]
        return functools.reduce(lax.max, maxima)

    def joined_with(self, other: Any) -> "Maxima | None":
        """Returns the maxima of the slices of both, or None if they are not of the same clips."""
        if not isinstance(other, Maxima) or self.parts[0] is not other.parts[0] or self.parts[2:] != other.parts[2:]:
            return None
        clips, starts, sizes, strides = self.parts
        return Maxima(clips, starts | other.parts[1], sizes, strides)


def _pool_windows(
    x: Any, start: Sequence[int], window: Sequence[int], sizes: Sequence[int], strides: Sequence[int]
) -> Any:
    """Returns the maxima `(n c h' w')` of windows of frames, of which the first one starts at a row and a column."""
    for axis in (0, 1):
        # What a slice can do needs no pool.
        stride = strides[axis] if window == (1, 1) else 1
        stop = start[axis] + (sizes[axis] - 1) * strides[axis] + window[axis]
        if (start[axis], stop, stride) != (0, x.shape[axis + 2], 1):
            x = lax.slice_in_dim(x, start[axis], stop, stride, axis=axis + 2)
    if window == (1, 1):
        return x
    # flax's pool has the channels last, but jax2onnx leaves out these transposes.
    x = nn.max_pool(x.transpose(0, 2, 3, 1), window_shape=window, strides=strides, padding="VALID")
    return x.transpose(0, 3, 1, 2)


def folded(function: Callable[..., Any], *inputs: Any) -> Any:
    """Returns the result of a function, computed now and not by the runtime if it does not depend on the clips."""
    if any(isinstance(x, core.Tracer) for x in inputs):
        return function(*inputs)
    with jax.ensure_compile_time_eval():
        return function(*inputs)


def convolve(clips: Any, kernel: Any, params: Any) -> Convolution:
    """Returns the convolution of clips with a kernel `(kt kh kw c f)`."""
    return Convolution(frames_of(clips), folded(lambda x: x.transpose(0, 4, 3, 1, 2), kernel), params)


def apply_to_frames(equation: Any, inputs: Sequence[Any]) -> Any:
    """Applies a traced operation to inputs of which some are frames; None if there is no rule for it."""
    name = equation.primitive.name.rpartition(".")[2]
    if name in _ON_EACH_VALUE:
        return _on_each_value(name, equation, inputs)
    rule = _RULES.get(equation.primitive.name)
    return None if rule is None else rule(equation.params, *inputs)


def _on_each_value(name: str, equation: Any, inputs: Sequence[Any]) -> Frames:
    operands = [x if not isinstance(x, Frames) and jnp.ndim(x) == 0 else frames_of(x) for x in inputs]
    first, second = operands[0], operands[-1]
    if name in ("add", "sub", "mul", "div") and isinstance(first, Convolution) and _is_of_channels(second):
        return first.changed(name, second.array)
    if name in ("max", "maximum") and isinstance(first, Maxima):
        found = first.joined_with(second)
        if found is not None:
            return found
    time = max(x.time for x in operands if isinstance(x, Frames))
    arrays = [_for_each(x, time) if isinstance(x, Frames) else x for x in operands]
    return _held(equation.primitive.bind(*arrays, **equation.params), time)


def _is_of_channels(x: Any) -> bool:
    """Returns whether an operand is one value for each channel, `(1 c 1 1)`."""
    if not isinstance(x, Frames) or isinstance(x, (Convolution, Maxima)):
        return False
    return x.time == 1 and (x.array.shape[0], *x.array.shape[2:]) == (1, 1, 1)


def _for_each(x: Frames, time: int) -> Any:
    """Returns frames that broadcast against those of clips of another length."""
    if x.time == time or x.array.shape[0] == 1:
        return x.array
    return _merge(lax.concatenate([x.split()] * time, 1)).array


def _slice(params: Any, x: Frames) -> Frames | None:
    strides = params["strides"] or (1,) * 5
    (_, time, height, width, channels) = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    if channels != (0, x.array.shape[1], 1):
        return None
    if (time, height, width) == tuple((0, size, 1) for size in (x.time, *x.array.shape[2:])):
        return x
    return Maxima(x, {(time, height[0], width[0])}, [len(range(*axis)) for axis in (time, height, width)], strides[2:4])


def _pad(params: Any, x: Frames, value: Any) -> Frames | None:
    if not only_adds(params["padding_config"]):
        return None
    batch, time, *space, channels = [pad[:2] for pad in params["padding_config"]]
    if any(time):
        return _merge(jnp.pad(x.split(), (batch, time, channels, *space), constant_values=value))
    if not any(map(any, (channels, *space))):
        return x
    return _held(jnp.pad(x.array, (batch, channels, *space), constant_values=value), x.time)


def only_adds(padding: Sequence[tuple[int, int, int]]) -> bool:
    """Returns whether padding only adds values at the ends, as `jnp.pad` does."""
    return all(low >= 0 and high >= 0 and not inside for low, high, inside in padding)


def _concatenate(params: Any, *inputs: Any) -> Frames | None:
    frames = [frames_of(x) for x in inputs]
    if params["dimension"] == 1:
        return _merge(lax.concatenate([x.split() for x in frames], 1))
    if params["dimension"] != 4:
        return None
    return _held(lax.concatenate([x.array for x in frames], 1), frames[0].time)


def _reduce_sum(params: Any, x: Frames) -> Any:
    if tuple(params["axes"]) != (1, 2, 3):
        return None
    return x.split().sum((1, 3, 4))


_RULES = {"slice": _slice, "pad": _pad, "concatenate": _concatenate, "reduce_sum": _reduce_sum}
