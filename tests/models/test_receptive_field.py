"""Receptive fields against what changes when a clip changes."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from vjax.layers.conv import space_time_conv
from vjax.models.receptive_field import receptive_fields

SHAPE = (7, 9, 8, 2)
_NTHWC = ("NTHWC", "THWIO", "NTHWC")
CLIPS = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)


def measured_field(function):
    """The largest number of frames, rows and columns that change one value of the output, one at a time."""
    plain = np.asarray(function(CLIPS))
    sizes = []
    for axis in (1, 2, 3):
        reached = np.zeros((CLIPS.shape[axis], plain.size), bool)
        for index in range(CLIPS.shape[axis]):
            changed = CLIPS.copy()
            np.moveaxis(changed, axis, 0)[index] += 10
            reached[index] = np.abs(np.asarray(function(changed)) - plain).reshape(-1) > 1e-4
        # From the first to the last that matters: a stride may leave some in between alone.
        spans = [np.flatnonzero(column) for column in reached.T]
        sizes.append(max((span[-1] - span[0] + 1 for span in spans if len(span)), default=0))
    return tuple(sizes)


def kernel(*shape):
    return np.abs(np.random.default_rng(1).normal(size=shape)).astype(np.float32)


@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    strides=st.tuples(*[st.integers(1, 3)] * 3),
    pad=st.sampled_from(["centered", "same"]),
)
@settings(deadline=None, max_examples=15)
def test_the_field_of_a_convolution_is_what_changes_it(sizes, strides, pad):
    def convolve(clips):
        return space_time_conv(clips, kernel(*sizes, 2, 3), strides=strides, pad=pad)

    (found,) = receptive_fields(lambda clips: [convolve(clips)], SHAPE)
    assert found == measured_field(convolve)


FUNCTIONS = {
    "slices": lambda x: x[:, 1:6:2, ::-1, 3:],
    "branches": lambda x: jnp.concatenate([x[:, :-2].mean(3), 2 * x[:, 2:, :, 0]], -1),
    "stack": lambda x: jnp.stack([x[:, frame] for frame in (0, 2, 5)], 1).sum(1),
    "frames as clips": lambda x: x.reshape(7, 1, 9, 8, 2).sum(2).reshape(1, 7, 8, 2),
    "frames as channels": lambda x: x.transpose(0, 2, 3, 1, 4).reshape(1, 1, 9, 8, 14) @ kernel(14, 3),
    "pad and cut": lambda x: lax.pad(x, 0.0, [(0, 0, 0), (1, -2, 0), (0, 1, 1), (0, 0, 0), (0, 0, 0)])[:, 1:] * 2,
    "pools": lambda x: nn.max_pool(nn.avg_pool(x, (2, 3, 1), (1, 2, 1), "SAME"), (1, 2, 2), padding="VALID"),
    "dilated": lambda x: lax.conv_general_dilated(
        x, kernel(3, 2, 1, 2, 4), (1, 2, 1), "SAME", rhs_dilation=(2, 3, 1), dimension_numbers=_NTHWC
    ),
    "the clip by itself": lambda x: jnp.einsum("bthwc,bshwc->bts", x[:, :3], x[:, :2]),
    "a branch of cond": lambda x: lax.cond(jnp.array(True), lambda y: y.mean(1), lambda y: y[:, 0], x),
    "nothing": lambda x: jnp.zeros((1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_field_is_what_changes_a_value(name):
    (found,) = receptive_fields(lambda clips: [FUNCTIONS[name](clips)], SHAPE)
    assert found == measured_field(FUNCTIONS[name])


def test_the_fields_of_several_arrays_come_in_their_order():
    assert receptive_fields(lambda x: [x, x.mean(1), x[:, :2].mean((1, 2, 3))], SHAPE) == [
        (1, 1, 1),
        (7, 1, 1),
        (2, 9, 8),
    ]


def last_of_a_scan(x):
    return lax.scan(lambda total, frame: (total + frame, None), jnp.zeros_like(x[:, 0]), x.swapaxes(0, 1))[0]


def own_pool(x):
    window = (1, 2, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, jnp.logaddexp, window, window, "VALID")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.sort(x, axis=1),
        lambda x: jnp.fft.rfft(x, axis=1),
        lambda x: lax.cumsum(x, 1),
        last_of_a_scan,
        own_pool,
    ],
)
def test_an_unknown_operation_gives_no_field(function):
    assert receptive_fields(lambda clips: [function(clips)], SHAPE) is None
