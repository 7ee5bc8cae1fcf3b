"""EfficientNet-Lite0 computes what a network in PyTorch with the tensors' names computes."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vjax import models
from vjax.models.efficientnet import MBConv, torch_names
from vjax.training.convert import convert

torch = pytest.importorskip("torch")

# The sizes before the strided layers are odd along one axis, and even or both along the other.
NUM_CLASSES, CLIP_SHAPE = 7, (2, 64, 45, 3)
# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}
# Source: Tan and Le 2019, table 1: the blocks' kernel sizes, strides, factors of width and output channels.
BLOCKS = [
    (3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24), (5, 2, 6, 40), (5, 1, 6, 40), (3, 2, 6, 80), (3, 1, 6, 80),
    (3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112), (5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192),
    (5, 1, 6, 192), (3, 1, 6, 320),
]  # fmt: skip


class SameConv(torch.nn.Conv2d):
    """A convolution with TensorFlow's padding."""

    def forward(self, x):
        pads = []
        for size, num_taps, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            zeros = max(0, (-(-size // stride) - 1) * stride + num_taps - size)
            pads = [zeros // 2, zeros - zeros // 2, *pads]  # PyTorch pads the last axis first
        return super().forward(torch.nn.functional.pad(x, pads))


def make_norm(channels):
    return torch.nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class Block(torch.nn.Module):
    def __init__(self, channels, num_taps, stride, factor, features):
        super().__init__()
        wide = channels * factor
        if factor != 1:
            self._expand_conv = SameConv(channels, wide, 1, bias=False)
            self._bn0 = make_norm(wide)
        self._depthwise_conv = SameConv(wide, wide, num_taps, stride, groups=wide, bias=False)
        self._bn1 = make_norm(wide)
        self._project_conv = SameConv(wide, features, 1, bias=False)
        self._bn2 = make_norm(features)
        self.factor, self.shortcut = factor, stride == 1 and channels == features

    def forward(self, x):
        y = x
        if self.factor != 1:
            y = torch.nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = torch.nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class Lite0(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), make_norm(32)
        channels = [32, *[features for *_, features in BLOCKS]]
        self._blocks = torch.nn.ModuleList(
            [Block(before, *block) for before, block in zip(channels, BLOCKS, strict=False)]
        )
        self._conv_head, self._bn1 = SameConv(320, 1280, 1, bias=False), make_norm(1280)
        self._fc = torch.nn.Linear(1280, num_classes)

    def forward(self, x):
        x = torch.nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = torch.nn.functional.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def make_theirs(*, shift=0.0):
    """Returns a network with random norms; a shift moves the inputs of ReLU6 away from 0 and 6."""
    torch.manual_seed(0)
    theirs = Lite0(NUM_CLASSES)
    torch.nn.init.normal_(theirs._fc.weight, 0, 0.05)
    for module in theirs.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.bias.data += shift * torch.randn_like(module.bias).sign()
    return theirs


def make_ours(theirs):
    """Returns our network, and variables with the values of theirs."""
    network = models.create("single_frame", NUM_CLASSES, backbone={"name": "efficientnet_lite0"})
    clips = jax.ShapeDtypeStruct((1, *CLIP_SHAPE), jnp.float32)
    shapes = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), clips)
    # Copies, because training changes the statistics of PyTorch in place.
    tensors = {name: tensor.numpy().copy() for name, tensor in theirs.state_dict().items()}
    converted = convert(shapes, tensors, torch_names(shapes), where="memory")
    assert not converted.unused
    assert not converted.reinitialised
    return network, converted.variables


def make_clips(num_clips):
    return np.random.default_rng(0).normal(size=(num_clips, *CLIP_SHAPE)).astype(np.float32)


def apply(theirs, clips):
    """Returns the logits of their network, with our axis of opinions: one for each frame."""
    frames = torch.from_numpy(clips.reshape(-1, *clips.shape[2:]).transpose(0, 3, 1, 2))
    return theirs(frames).reshape(*clips.shape[:2], -1)


def relative_error(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max()


def test_the_logits_and_the_output_of_every_block_are_those_of_pytorch():
    theirs = make_theirs().eval()
    network, variables = make_ours(theirs)
    clips, outputs = make_clips(2), []
    for block in theirs._blocks:
        block.register_forward_hook(lambda module, args, out: outputs.append(out.detach().numpy()))
    with torch.no_grad():
        expected = apply(theirs, clips)

    @functools.partial(jax.jit, compiler_options=UNOPTIMISED)
    def run(variables, clips):
        return network.apply(
            variables,
            clips,
            train=False,
            capture_intermediates=lambda module, _: isinstance(module, MBConv),
            mutable=["intermediates"],
        )

    found, kept = run(variables, clips)
    assert expected.std() > 0.05
    assert relative_error(found, expected) < 1e-5
    for index, output in enumerate(outputs):
        ours = kept["intermediates"]["backbone"][f"MBConv_{index}"]["__call__"][0]
        assert relative_error(np.asarray(ours)[:, 0].transpose(0, 3, 1, 2), output) < 1e-5, index


def test_a_training_batch_gives_the_logits_statistics_and_gradients_of_pytorch():
    """The shift keeps inputs of ReLU6 away from 0 and 6, where rounding decides about the gradient."""
    theirs = make_theirs(shift=3.0).train()
    network, variables = make_ours(theirs)
    clips, label = make_clips(3), np.array([1, 4, 0])

    def loss(params):
        logits, changed = network.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[jnp.arange(3), :, label].mean(), (logits, changed)

    grads, (logits, changed) = jax.jit(jax.grad(loss, has_aux=True), compiler_options=UNOPTIMISED)(variables["params"])
    expected = apply(theirs, clips)
    assert relative_error(logits, expected.detach()) < 1e-4

    # The running means. The variances differ as documented: PyTorch multiplies those of a batch by n / (n - 1).
    names, tensors = torch_names(variables), theirs.state_dict()
    means = {path: leaf for path, leaf in flatten_dict(changed, sep="/").items() if path.endswith("mean")}
    assert max(relative_error(leaf, tensors[names[path]]) for path, leaf in means.items()) < 1e-4

    # The gradient of every parameter, against float64: here float32 alone is off by up to 5e-4 in PyTorch, too. Some
    # are 0 but for rounding: biases that the next norm removes.
    exact = copy.deepcopy(theirs).double()
    labels = torch.from_numpy(label.repeat(CLIP_SHAPE[0]))
    torch.nn.functional.cross_entropy(apply(exact, clips.astype(float)).flatten(0, 1), labels).backward()
    exact_grads = {name: parameter.grad.numpy() for name, parameter in exact.named_parameters()}
    wanted = {"params": grads}
    converted = convert(wanted, exact_grads, torch_names(wanted), where="memory").variables
    flat, expected = (flatten_dict(tree, sep="/") for tree in (wanted, converted))
    off = {path: np.linalg.norm(flat[path] - expected[path]) for path in flat}
    size = {path: np.linalg.norm(expected[path]) for path in flat}
    whole = np.linalg.norm(list(size.values()))
    assert np.linalg.norm(list(off.values())) / whole < 1e-4
    errors = {path: off[path] / (size[path] + 1e-4 * whole) for path in flat}
    assert max(errors.values()) < 1e-3, max(errors, key=errors.get)
