"""Winograd's minimal filtering, F(2, 3): two outputs of three taps with four products instead of six.

Along one axis, inputs d0 to d3 and taps g0 to g2 give y0 = m0 + m1 + m2 and y1 = m1 - m2 - m3, where

    m0 = (d0 - d2) g0      m1 = (d1 + d2) (g0 + g1 + g2) / 2
    m3 = (d1 - d3) g2      m2 = (d2 - d1) (g0 - g1 + g2) / 2

Along time, height and width at once, 3 x 3 x 3 taps need 64 products for 8 outputs instead of 216. Each of the 64 is
one matrix product over all tiles and channels. Every coefficient is 1 or 1/2, so the error stays that of a plain sum.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks". Deviations: three axes, not two; no
tiles larger than 2; matrix products over whole clips, not block by block.

Clips are `(b t h w c)` and kernels `(kt kh kw c f)`; axis 1 is time, 2 height, 3 width. Along `axes` a kernel has 3
taps, the stride is 1, and one zero pads each side.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers import conv_forms
from vjax.layers.conv_forms import Triple


def convolve(x: jax.Array, kernel: jax.Array, *, axes: Sequence[int]) -> jax.Array:
    """Returns the convolution `(b t h w f)`; outside `axes` the kernel has one tap."""
    return _convolve(x, kernel, axes, turned=False)


def input_gradient(grad: jax.Array, kernel: jax.Array, *, axes: Sequence[int]) -> jax.Array:
    """Returns the input gradient `(b t h w c)`: the output's gradient, convolved with the flipped kernel."""
    return _convolve(grad, kernel, axes, turned=True)


def kernel_gradient(
    x: jax.Array, grad: jax.Array, *, kernel_shape: tuple[int, ...], strides: Triple, axes: Sequence[int]
) -> jax.Array:
    """Returns the kernel gradient; taps along other axes than `axes` are stacked as channels."""
    inner_shape = tuple(1 if i + 1 in axes else size for i, size in enumerate(kernel_shape))
    tiles = _split([_pad(x, axes)], axes, _input_tiles)
    grads = _split([_pad_to_even(grad, axes)], axes, _gradient_tiles)
    gradients = [
        conv_forms.kernel_gradient_by_patches(tile, part, kernel_shape=inner_shape, strides=strides)
        for tile, part in zip(tiles, grads, strict=True)
    ]
    return _join(gradients, axes, lambda four, axis: _kernel_from_tiles(four, axis - 1))


def _convolve(x: jax.Array, kernel: jax.Array, axes: Sequence[int], *, turned: bool) -> jax.Array:
    # Along the last axis the four products are one batched product: it compiles faster and runs equally fast. Along the
    # other axes the copies would cost more than that saves.
    *listed, last = axes
    tiles = [jnp.stack(_input_tiles(tile, last)) for tile in _split([_pad(x, axes)], listed, _input_tiles)]
    taps = kernel[::-1, ::-1, ::-1] if turned else kernel
    kernels = [
        jnp.concatenate(_kernel_tiles(tile, last), axis=last - 1).reshape(4, *kernel.shape[3:])
        for tile in _split([taps], listed, _kernel_tiles)
    ]
    product = "pbthwf,pcf->pbthwc" if turned else "pbthwc,pcf->pbthwf"
    products = [jnp.einsum(product, tile, taps) for tile, taps in zip(tiles, kernels, strict=True)]
    outputs = _join([_outputs_from_products(list(four), last) for four in products], listed, _outputs_from_products)
    return outputs[:, : x.shape[1], : x.shape[2], : x.shape[3]]


def _split(
    arrays: list[jax.Array], axes: Sequence[int], split: Callable[[jax.Array, int], list[jax.Array]]
) -> list[jax.Array]:
    """Splits every array into four along each axis in turn."""
    for axis in axes:
        arrays = [part for array in arrays for part in split(array, axis)]
    return arrays


def _join(arrays: list[jax.Array], axes: Sequence[int], join: Callable[[list[jax.Array], int], jax.Array]) -> jax.Array:
    """Joins groups of four arrays along each axis, in the reverse order of `_split`."""
    for axis in reversed(axes):
        arrays = [join(arrays[i : i + 4], axis) for i in range(0, len(arrays), 4)]
    return arrays[0]


def _pad(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Pads `axes` with a zero on both sides, and one more at the end of an odd size: a tile gives two outputs."""
    return jnp.pad(x, [(1, 1 + size % 2) if axis in axes else (0, 0) for axis, size in enumerate(x.shape)])


def _pad_to_even(grad: jax.Array, axes: Sequence[int]) -> jax.Array:
    return jnp.pad(grad, [(0, size % 2) if axis in axes else (0, 0) for axis, size in enumerate(grad.shape)])


def _input_tiles(padded: jax.Array, axis: int) -> list[jax.Array]:
    num_tiles = padded.shape[axis] // 2 - 1
    d0, d1, d2, d3 = (lax.slice_in_dim(padded, q, q + 2 * num_tiles - 1, stride=2, axis=axis) for q in range(4))
    return [d0 - d2, d1 + d2, d2 - d1, d1 - d3]


def _kernel_tiles(taps: jax.Array, axis: int) -> list[jax.Array]:
    g0, g1, g2 = (lax.index_in_dim(taps, tap, axis - 1) for tap in range(3))
    ends, middle = (g0 + g2) / 2, g1 / 2
    return [g0, ends + middle, ends - middle, g2]


def _kernel_from_tiles(tiles: list[jax.Array], axis: int) -> jax.Array:
    """Applies the transpose of `_kernel_tiles`."""
    ends, middle = (tiles[1] + tiles[2]) / 2, (tiles[1] - tiles[2]) / 2
    return jnp.concatenate([tiles[0] + ends, middle, ends + tiles[3]], axis)


def _outputs_from_products(m: list[jax.Array], axis: int) -> jax.Array:
    pairs = jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis + 1)
    return pairs.reshape(*pairs.shape[:axis], -1, *pairs.shape[axis + 2 :])


def _gradient_tiles(grad: jax.Array, axis: int) -> list[jax.Array]:
    """Applies the transpose of `_outputs_from_products`."""
    g0, g1 = (lax.slice_in_dim(grad, q, None, stride=2, axis=axis) for q in range(2))
    return [g0, g0 + g1, g0 - g1, -g1]
