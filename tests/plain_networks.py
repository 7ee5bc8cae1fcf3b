"""The five networks written as plainly as can be, to compare gradients with.

The convolution is XLA's own, norms follow their definition, and a max pool looks at a window once. Parameters are found
by the names they have in flax's tree. They compute in the precision of what they are given: float64 inside
`jax.enable_x64(True)`.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax


def loss(params, clips, target, *, name, norm="batch", depths=None, stride=1, factored=False, pool=None):
    """The mean cross-entropy of a network's logits on clips `(b t h w c)` with targets `(b k)`."""
    temporal = name == "slow_fusion"
    b, t, h, w, c = clips.shape
    if name == "early_fusion":
        x = clips.transpose(0, 2, 3, 1, 4).reshape(b, 1, h, w, t * c)
    elif temporal:
        x = clips
    else:
        x = clips.reshape(b * t, 1, h, w, c)
    backbone = params["backbone"]
    normalize = {"batch": batch_norm, "group": group_norm, "none": offset}[norm]
    if depths:
        x = small_backbone(backbone, x, depths, stride, normalize, pool or max_pool, temporal=temporal)
    else:
        x = resnet18(backbone, x, normalize, factored=factored, temporal=temporal)
    if name in ("single_frame", "late_pool", "late_concat"):
        x = x.reshape(b, t, *x.shape[2:])
    if name == "single_frame":
        features = x.mean((2, 3))
    elif name == "late_concat":
        features = jax.nn.relu(layer_norm(params["LayerNorm_0"], dense(params["hidden"], x.reshape(b, -1))))[:, None]
    else:
        features = x.mean((1, 2, 3))[:, None]
    logits = dense(params["head"]["logits"], features)
    return -(jax.nn.log_softmax(logits) * target[:, None]).sum(-1).mean()


def small_backbone(params, x, depths, stride, normalize, pool, *, temporal):
    size = 2 if temporal else 1
    layer = 0
    for depth in depths:
        for _ in range(depth):
            x = conv(params[f"Conv_{layer}"], x, (1, 1, 1) if layer else (1, stride, stride))
            x = jax.nn.relu(normalize(params, layer, x))
            layer += 1
        x = pool(x, (size, 2, 2))
    return x


def resnet18(params, x, normalize, *, factored, temporal):
    stem, stride = f"{'Factored' * factored}Conv_0", 2 if temporal else 1
    x = jax.nn.relu(normalize(params, 0, any_conv(params[stem], x, (1, 2, 2), normalize)))
    for block in range(8):
        strides = (stride, 2, 2) if block in (2, 4, 6) else (1, 1, 1)
        x = basic_block(params[f"BasicBlock_{block}"], x, strides, normalize, factored=factored)
    return x


def basic_block(params, x, strides, normalize, *, factored):
    kind = f"{'Factored' * factored}Conv"
    y = jax.nn.relu(normalize(params, 0, any_conv(params[f"{kind}_0"], x, strides, normalize)))
    y = normalize(params, 1, any_conv(params[f"{kind}_1"], y, (1, 1, 1), normalize))
    shortcut = "Conv_0" if factored else "Conv_2"
    if shortcut in params:
        x = normalize(params, 2, conv(params[shortcut], x, strides))
    return jax.nn.relu(x + y)


def any_conv(params, x, strides, normalize):
    """A convolution, or where it is factored one over space, norm, ReLU and one over time."""
    if "kernel" in params:
        return conv(params, x, strides)
    x = jax.nn.relu(normalize(params, 0, conv(params["Conv_0"], x, (1, *strides[1:]))))
    return conv(params["Conv_1"], x, (strides[0], 1, 1))


def conv(params, x, strides):
    kernel = params["kernel"]
    padding = [((size - 1) // 2, size // 2) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def batch_norm(params, index, x):
    return scaled(params[f"BatchNorm_{index}"], x, (0, 1, 2, 3), 1e-5)


def offset(params, index, x):
    return x + params[f"Offset_{index}"]["bias"]


def group_norm(params, index, x):
    params = params[f"GroupNorm_{index}"]
    params = params.get("GroupNorm_0", params)
    b, t, h, w, c = x.shape
    groups = math.gcd(8, c)
    split = x.reshape(b, t, h, w, groups, c // groups)
    return scaled(params, split, (1, 2, 3, 5), 1e-6).reshape(x.shape)


def layer_norm(params, x):
    return scaled(params, x, (-1,), 1e-6)


def scaled(params, x, axes, epsilon):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    shape = x.shape[4:] if x.ndim > 2 else x.shape[1:]
    scale, bias = (params[leaf].reshape(shape) for leaf in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(variance + epsilon) * scale + bias


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def max_pool(x, window):
    """The element of every window that its argmax says, whose gradient goes where it was taken from."""
    windows = whole_windows(x, window)
    b, t, wt, h, wh, w, ww, c = windows.shape
    windows = windows.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, t, h, w, c, wt * wh * ww)
    place = lax.stop_gradient(windows.argmax(-1, keepdims=True))
    return jnp.take_along_axis(windows, place, -1)[..., 0]


def max_pool_of_xla(x, window):
    """XLA's own max pool, and its own gradient."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *window, 1), "VALID")


def whole_windows(x, window):
    kept = [size // width for size, width in zip(x.shape[1:4], window, strict=True)]
    ends = [size * width for size, width in zip(kept, window, strict=True)]
    x = x[:, : ends[0], : ends[1], : ends[2]]
    pairs = [side for size, width in zip(kept, window, strict=True) for side in (size, width)]
    return x.reshape(len(x), *pairs, x.shape[-1])
