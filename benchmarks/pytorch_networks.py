"""vjax's networks in PyTorch, for the comparison in `step_time.py`.

A network that torchvision or PyTorchVideo has is theirs. The others are written here layer by layer. Their modules keep
flax's names (`Conv_0`, `BatchNorm_0`), so that `load` can copy parameters by their path.
"""

# pyright: basic, reportMissingImports=false

import functools
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vjax.export.in_pytorch import LIBRARY, slow_and_fast


def create(name: str, num_classes: int, backbone: dict, clip_shape: tuple[int, ...]) -> nn.Module:
    """Returns a network of `vjax.models.FUSION_NETWORKS` on a backbone of `BACKBONES`, or a published network."""
    if name in LIBRARY:
        network = LIBRARY[name](num_classes, clip_shape)
        return OneOpinion(SlowFast(network) if name == "slowfast_r50" else network)
    if name == "c3d":
        return C3D(num_classes)
    if name in KARPATHY:
        return Karpathy(num_classes, *KARPATHY[name])
    options = dict(backbone)
    built = BACKBONES[options.pop("name")](
        3 * clip_shape[0] if name == "early_fusion" else 3, temporal=name == "slow_fusion", **options
    )
    return Network(name, built, num_classes, clip_shape)


def load(network: nn.Module, arrays: dict[str, "torch.Tensor"], names: dict[str, str]) -> None:
    """Copies arrays into the network by their paths in flax, such as `backbone/Conv_0/kernel`.

    `names` has the name in PyTorch for each path; without names, it is the path.
    """
    if isinstance(network, OneOpinion):
        names = {path: f"network.{name}" for path, name in names.items()}
    else:
        names = {path: _own_name(path) for path in arrays}
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    network.paths = {name: (path, arrays[path].shape) for path, name in names.items()}
    if arrays.keys() != names.keys() or wanted.keys() != network.paths.keys():
        only = sorted(wanted.keys() - network.paths.keys()), sorted(network.paths.keys() - wanted.keys())
        raise ValueError(f"the two networks differ: {only[0]} only in PyTorch, {only[1]} only in vjax")
    # Convolutions: (kt kh kw c f) to (f c kt kh kw); linear layers: (d k) to (k d). A linear layer of vjax can be a
    # convolution of size 1 in PyTorch.
    axes = {5: (4, 3, 0, 1, 2), 2: (1, 0), 1: (0,)}
    tensors = {
        name: arrays[path].permute(axes[arrays[path].ndim]).reshape(wanted[name].shape) for path, name in names.items()
    }
    network.load_state_dict(tensors, strict=False)


def gradients(network: nn.Module) -> dict[str, "torch.Tensor"]:
    """Returns the gradients of the parameters, with the paths and the axes that they have in flax."""
    found = {}
    for name, parameter in network.named_parameters():
        path, shape = network.paths[name]
        grad: Any = parameter.grad
        found[path] = grad.permute({5: (2, 3, 4, 1, 0), 2: (1, 0), 1: (0,)}[grad.ndim]).reshape(shape)
    return found


def _own_name(path: str) -> str:
    """Returns the name of an array in the networks below."""
    *module, leaf = path.split("/")
    leaf = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}.get(leaf, leaf)
    return ".".join([*module, leaf])


class OneOpinion(nn.Module):
    """A network of torchvision or PyTorchVideo with the shape of vjax's logits."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x):
        """Maps clips `(b c t h w)` to logits `(b 1 k)`."""
        return self.network(x)[:, None]


class SlowFast(nn.Module):
    """PyTorchVideo's SlowFast, which takes every fourth frame of a clip for its slow pathway by itself."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.blocks: Any = network.blocks

    def forward(self, x):
        """Maps clips `(b c t h w)` to logits `(b k)`."""
        x = slow_and_fast(x)
        for block in self.blocks:
            x = block(x)
        return x


class Small(nn.Module):
    """The small backbone: stages of convolution, norm and ReLU, each followed by a max pool."""

    def __init__(self, channels: int, *, temporal: bool, widths=(16, 32, 64), depth=1, stride=1):
        super().__init__()
        self.pool = (2 if temporal else 1, 2, 2)
        self.depths = [depth] * len(widths) if isinstance(depth, int) else depth
        self.out_channels = widths[-1]
        layers = [width for width, depth in zip(widths, self.depths, strict=True) for _ in range(depth)]
        for index, width in enumerate(layers):
            strides = (1, stride, stride) if index == 0 else (1, 1, 1)
            self.add_module(f"Conv_{index}", _conv(channels, width, (3 if temporal else 1, 3, 3), strides))
            self.add_module(f"BatchNorm_{index}", _norm(width))
            channels = width

    def forward(self, x):
        """Maps `(b c t h w)` to `(b d t' h' w')`."""
        index = 0
        for depth in self.depths:
            for _ in range(depth):
                x = functional.relu(getattr(self, f"BatchNorm_{index}")(getattr(self, f"Conv_{index}")(x)))
                index += 1
            x = functional.max_pool3d(x, self.pool)
        return x


class ResNet18(nn.Module):
    """R3D-18; R(2+1)D-18 with the paper's widths if factored; the 2D network if not temporal."""

    def __init__(self, channels: int, *, temporal: bool, factored: bool = False, widths=(64, 128, 256, 512)):
        super().__init__()
        conv, self.conv_name = (Factored, "FactoredConv") if factored and temporal else (_conv, "Conv")
        self.add_module(f"{self.conv_name}_0", conv(channels, widths[0], (3 if temporal else 1, 7, 7), (1, 2, 2)))
        self.BatchNorm_0 = _norm(widths[0])
        self.out_channels, channels = widths[-1], widths[0]
        for index in range(8):
            width, stride = widths[index // 2], 2 if index in (2, 4, 6) else 1
            self.add_module(f"BasicBlock_{index}", Block(channels, width, stride, conv, temporal=temporal))
            channels = width

    def forward(self, x):
        """Maps `(b c t h w)` to `(b d t' h' w')`."""
        x = functional.relu(self.BatchNorm_0(getattr(self, f"{self.conv_name}_0")(x)))
        for index in range(8):
            x = getattr(self, f"BasicBlock_{index}")(x)
        return x


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int, features: int, stride: int, conv, *, temporal: bool):
        super().__init__()
        kernel, strides = (3 if temporal else 1, 3, 3), (stride if temporal else 1, stride, stride)
        self.names = [f"FactoredConv_{i}" if conv is Factored else f"Conv_{i}" for i in range(2)]
        self.add_module(self.names[0], conv(channels, features, kernel, strides))
        self.add_module(self.names[1], conv(features, features, kernel))
        self.BatchNorm_0, self.BatchNorm_1 = _norm(features), _norm(features)
        self.shortcut = ""
        if stride != 1 or channels != features:
            self.shortcut = "Conv_0" if conv is Factored else "Conv_2"
            self.add_module(self.shortcut, _conv(channels, features, (1, 1, 1), strides))
            self.BatchNorm_2 = _norm(features)

    def forward(self, x):
        """Maps `(b c t h w)` to `(b d t' h' w')`."""
        y = functional.relu(self.BatchNorm_0(getattr(self, self.names[0])(x)))
        y = self.BatchNorm_1(getattr(self, self.names[1])(y))
        if self.shortcut:
            x = self.BatchNorm_2(getattr(self, self.shortcut)(x))
        return functional.relu(x + y)


class Factored(nn.Module):
    """A convolution over space, a norm, a ReLU and a convolution over time."""

    def __init__(self, channels: int, features: int, kernel: tuple[int, int, int], strides=(1, 1, 1)):
        super().__init__()
        time, between = kernel[0], _equal_width(channels, features, kernel)
        self.Conv_0 = _conv(channels, between, (1, *kernel[1:]), (1, *strides[1:]))
        self.BatchNorm_0 = _norm(between)
        self.Conv_1 = _conv(between, features, (time, 1, 1), (strides[0], 1, 1))

    def forward(self, x):
        """Maps `(b c t h w)` to `(b d t' h' w')`."""
        return self.Conv_1(functional.relu(self.BatchNorm_0(self.Conv_0(x))))


def _equal_width(channels: int, features: int, kernel: tuple[int, int, int]) -> int:
    """Returns the channels between two factored convolutions with about the parameters of the one they replace."""
    time, area = kernel[0], math.prod(kernel[1:])
    return time * area * channels * features // (area * channels + time * features)


# Kernel size, stride, factor of width and channels of each block of EfficientNet-Lite0, and its stride over time in 3D.
_LITE0 = [
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 1), (3, 1, 6, 24, 1), (5, 2, 6, 40, 2), (5, 1, 6, 40, 1), (3, 2, 6, 80, 2),
    (3, 1, 6, 80, 1), (3, 1, 6, 80, 1), (5, 1, 6, 112, 1), (5, 1, 6, 112, 1), (5, 1, 6, 112, 1), (5, 2, 6, 192, 2),
    (5, 1, 6, 192, 1), (5, 1, 6, 192, 1), (5, 1, 6, 192, 1), (3, 1, 6, 320, 1),
]  # fmt: skip


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 with TensorFlow's padding."""

    def __init__(self, channels: int, *, temporal: bool):
        super().__init__()
        self.out_channels, self.temporal = 1280, temporal
        conv = functools.partial(SameConv3d if temporal else SameConv2d, bias=False)
        self.stem, self.stem_norm = conv(channels, 32, (3 if temporal else 1, 3, 3), (1, 2, 2)), _lite_norm(32)
        channels = 32
        for index, (size, stride, factor, features, time_stride) in enumerate(_LITE0):
            kernel = (3 if temporal else 1, size, size)
            strides = (time_stride if temporal else 1, stride, stride)
            self.add_module(f"MBConv_{index}", MBConv(channels, features, factor, kernel, strides, conv))
            channels = features
        self.last, self.last_norm = conv(channels, 1280, (1, 1, 1)), _lite_norm(1280)

    def forward(self, x):
        """Maps `(b c t h w)` to `(b d t' h' w')`."""
        b, _, t, *_ = x.shape
        if not self.temporal:
            # PyTorch computes 2D convolutions faster than those of depth 1.
            x = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = functional.relu6(self.stem_norm(self.stem(x)))
        for index in range(len(_LITE0)):
            x = getattr(self, f"MBConv_{index}")(x)
        x = functional.relu6(self.last_norm(self.last(x)))
        return x if self.temporal else x.unflatten(0, (b, t)).transpose(1, 2)


class MBConv(nn.Module):
    """An inverted residual block."""

    def __init__(self, channels: int, features: int, factor: int, kernel, strides, conv):
        super().__init__()
        wide = channels * factor
        self.widens, self.shortcut = factor != 1, strides == (1, 1, 1) and channels == features
        if self.widens:
            self.expand, self.expand_norm = conv(channels, wide, (1, 1, 1)), _lite_norm(wide)
        self.depthwise, self.depthwise_norm = conv(wide, wide, kernel, strides, groups=wide), _lite_norm(wide)
        self.project, self.project_norm = conv(wide, features, (1, 1, 1)), _lite_norm(features)

    def forward(self, x):
        """Maps `(b c t h w)`, or frames `(b c h w)`, to the same axes."""
        y = functional.relu6(self.expand_norm(self.expand(x))) if self.widens else x
        y = functional.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.shortcut else y


class SameConv3d(nn.Conv3d):
    """A convolution with TensorFlow's padding."""

    def forward(self, x):
        """Maps `(b c t h w)` to `(b f t' h' w')`."""
        pads = _same_pads(x.shape[2:], self.kernel_size, self.stride)
        # Equal zeros before and after an axis are the convolution's own padding, which is faster.
        if all(before == after for before, after in pads):
            return functional.conv3d(x, self.weight, None, self.stride, [a for a, _ in pads], 1, self.groups)
        padded = functional.pad(x, [zeros for pair in reversed(pads) for zeros in pair])
        return functional.conv3d(padded, self.weight, None, self.stride, 0, 1, self.groups)


class SameConv2d(nn.Conv3d):
    """A convolution of frames with TensorFlow's padding; the weight has an axis of time, as in flax."""

    def forward(self, x):
        """Maps `(b c h w)` to `(b f h' w')`."""
        weight: Any = self.weight[:, :, 0]
        pads = _same_pads(x.shape[2:], self.kernel_size[1:], self.stride[1:])
        if all(before == after for before, after in pads):
            return functional.conv2d(x, weight, None, self.stride[1:], [a for a, _ in pads], 1, self.groups)
        padded = functional.pad(x, [zeros for pair in reversed(pads) for zeros in pair])
        return functional.conv2d(padded, weight, None, self.stride[1:], 0, 1, self.groups)


def _same_pads(sizes, kernel, strides) -> list[tuple[int, int]]:
    totals = [
        max(0, (-(-size // stride) - 1) * stride + taps - size)
        for size, taps, stride in zip(sizes, kernel, strides, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


class _FrameOrClipNorm(nn.BatchNorm3d):
    def _check_input_dim(self, input):
        pass


def _lite_norm(channels: int) -> nn.Module:
    return _FrameOrClipNorm(channels, eps=1e-3, momentum=0.1)


class C3D(nn.Module):
    """C3D, whose last pool pads 7 x 7 positions to 4 x 4."""

    def __init__(self, num_classes: int):
        super().__init__()
        channels = 3
        for name, width in (
            ("conv1a", 64), ("conv2a", 128), ("conv3a", 256), ("conv3b", 256), ("conv4a", 512), ("conv4b", 512),
            ("conv5a", 512), ("conv5b", 512),
        ):  # fmt: skip
            self.add_module(name, nn.Conv3d(channels, width, 3, padding=1))
            channels = width
        self.fully_connected = nn.ModuleDict({"fc6": nn.Linear(512 * 4 * 4, 4096), "fc7": nn.Linear(4096, 4096)})
        self.head = nn.ModuleDict({"logits": nn.Linear(4096, num_classes)})

    def forward(self, x):
        """Maps clips `(b c 16 112 112)` to logits `(b 1 k)`."""
        for stage, names in enumerate((("1a",), ("2a",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))):
            for name in names:
                x = functional.relu(getattr(self, f"conv{name}")(x))
            if stage == 4:
                x = functional.pad(x, (0, 1, 0, 1))
            x = functional.max_pool3d(x, (1 if stage == 0 else 2, 2, 2))
        # The order of flax: channels last.
        x = x.permute(0, 2, 3, 4, 1).flatten(1)
        for layer in ("fc6", "fc7"):
            x = functional.relu(self.fully_connected[layer](x))
        return self.head["logits"](x)[:, None]


# Frames that the filters of the first three convolutions cover, distance of the frames that the network sees, and
# whether these meet in the first linear layer; otherwise each frame has logits.
KARPATHY = {
    "karpathy_single": ((1, 1, 1), 1, False),
    "karpathy_early": ((10, 1, 1), 1, True),
    "karpathy_late": ((1, 1, 1), 15, True),
    "karpathy_slow": ((4, 2, 2), 1, True),
}


class Karpathy(nn.Module):
    """A network of Karpathy et al. 2014 at one resolution."""

    def __init__(self, num_classes: int, extents: tuple[int, int, int], step: int, joined: bool):
        super().__init__()
        self.step, self.joined = step, joined
        channels, layers = 3, {}
        for index, (width, size) in enumerate(((96, 11), (256, 5), (384, 3), (384, 3), (256, 3))):
            extent, stride = extents[index] if index < 3 else 1, 3 if index == 0 else 1
            strides, pads = (2 if extent > 1 else 1, stride, stride), (0, (size - 1) // 2, (size - 1) // 2)
            layers[f"conv{index + 1}"] = nn.Conv3d(channels, width, (extent, size, size), strides, pads)
            channels = width
        self.frame = nn.ModuleDict(layers)
        # PyTorch divides the sum of squares by the number of channels in it.
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.5, k=2.0)
        maps = 2 if step > 1 else 1
        self.fully_connected = nn.ModuleDict({"fc6": nn.Linear(maps * 7 * 7 * 256, 4096), "fc7": nn.Linear(4096, 4096)})
        self.head = nn.ModuleDict({"logits": nn.Linear(4096, num_classes)})

    def forward(self, x):
        """Maps clips `(b c t 170 170)` to logits `(b v k)`."""
        x = x[:, :, :: self.step]
        for index in range(1, 6):
            x = functional.relu(self.frame[f"conv{index}"](x))
            if index <= 2:
                x = self.norm(x)
            if index in (1, 2, 5):
                x = functional.max_pool3d(x, (1, 2, 2))
        # The order of flax: channels last.
        x = x.permute(0, 2, 3, 4, 1)
        x = x.flatten(1)[:, None] if self.joined else x.flatten(2)
        for layer in ("fc6", "fc7"):
            x = functional.relu(self.fully_connected[layer](x))
        return self.head["logits"](x)


BACKBONES = {"small": Small, "resnet18": ResNet18, "efficientnet_lite0": EfficientNetLite0}


class Network(nn.Module):
    """The five ways of fusing time: a network from clips `(b c t h w)` to logits `(b v k)`."""

    def __init__(self, name: str, backbone: nn.Module, num_classes: int, clip_shape: tuple[int, ...]):
        super().__init__()
        self.name, self.backbone = name, backbone
        features: Any = backbone.out_channels
        if name == "late_concat":
            with torch.no_grad():
                shape = backbone.eval()(torch.zeros(1, 3, *clip_shape[:3])).shape
            backbone.train()
            self.hidden, self.LayerNorm_0 = nn.Linear(shape[1:].numel(), 256), nn.LayerNorm(256, eps=1e-6)
            features = 256
        self.head = nn.ModuleDict({"logits": nn.Linear(features, num_classes)})

    def forward(self, x):
        """Maps clips `(b c t h w)` to logits `(b v k)`."""
        if self.name == "early_fusion":
            # The channels have the same order as in flax: time first, then colour.
            b, c, t, h, w = x.shape
            x = x.permute(0, 2, 1, 3, 4).reshape(b, t * c, 1, h, w)
        y = self.backbone(x)
        if self.name == "single_frame":
            y = y.mean((3, 4)).transpose(1, 2)
        elif self.name == "late_concat":
            flat = y.permute(0, 2, 3, 4, 1).flatten(1)
            y = functional.relu(self.LayerNorm_0(self.hidden(flat)))[:, None]
        else:
            y = y.mean((2, 3, 4))[:, None]
        return self.head["logits"](y)


def _conv(channels: int, features: int, kernel: tuple[int, int, int], strides=(1, 1, 1)) -> nn.Module:
    time, height, width = ((size - 1) // 2 for size in kernel)
    return nn.Conv3d(channels, features, kernel, strides, (time, height, width), bias=False)


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm3d(channels, eps=1e-5, momentum=0.1)
