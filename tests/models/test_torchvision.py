"""R3D, MC3 and R(2+1)D compute what torchvision's networks compute with the same tensors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from random_runs import random_run

import vjax
from vjax import models
from vjax.models.r3d import torch_names

torch = pytest.importorskip("torch")
resnet = pytest.importorskip("torchvision").models.video.resnet
safetensors = pytest.importorskip("safetensors.torch")

# The sizes of one axis are odd or even before the strided layers: the zeros that pad them are then before or after.
NUM_CLASSES, CLIP_SHAPE = 7, (5, 45, 56, 3)
# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


def of_34(block):
    """Returns a function that makes torchvision's 3D network with the stages of ResNet-34; it has no name there."""
    return functools.partial(resnet.VideoResNet, block, [resnet.Conv3DSimple] * 4, [3, 4, 6, 3], resnet.BasicStem)


PUBLISHED = {"r3d_18": resnet.r3d_18, "mc3_18": resnet.mc3_18, "r2plus1d_18": resnet.r2plus1d_18}
THEIRS = PUBLISHED | {"r3d_34": of_34(resnet.BasicBlock), "r3d_50": of_34(resnet.Bottleneck)}
each_published = pytest.mark.parametrize("name", PUBLISHED)
each_network = pytest.mark.parametrize("name", THEIRS)


def make_theirs(name, *, shift=0.0):
    """Returns torchvision's network with random norms; a shift moves the ReLUs' inputs away from 0, up or down."""
    torch.manual_seed(0)
    theirs = THEIRS[name](num_classes=NUM_CLASSES)
    torch.nn.init.normal_(theirs.fc.weight, 0, 0.05)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.bias.data += shift * module.weight.data * torch.randn_like(module.bias).sign()
    return theirs


def to_flax(tensor):
    """Returns a tensor as an array with our axes; PyTorch's kernels are `(f c t h w)` and `(f c)`."""
    # A copy, because training changes the statistics of PyTorch in place.
    return tensor.detach().numpy().copy().transpose({5: (2, 3, 4, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim])


def shapes_of(network):
    clips = jax.ShapeDtypeStruct((1, *CLIP_SHAPE), jnp.float32)
    return jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), clips)


def make_ours(name, theirs):
    """Returns our network, and variables with the values of theirs."""
    network, tensors = models.create(name, NUM_CLASSES), theirs.state_dict()
    names = torch_names(shapes_of(network))
    return network, unflatten_dict({path: to_flax(tensors[name]) for path, name in names.items()}, sep="/")


def make_clips(num_clips, clip_shape):
    return np.random.default_rng(0).normal(size=(num_clips, *clip_shape)).astype(np.float32)


def apply(theirs, clips):
    """Returns the logits of their network, with our axis of opinions."""
    return theirs(torch.from_numpy(clips.transpose(0, 4, 1, 2, 3)))[:, None]


def relative_error(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max()


@each_network
def test_every_variable_has_a_tensor_of_its_shape_and_every_tensor_a_variable(name):
    shapes, tensors = shapes_of(models.create(name, NUM_CLASSES)), THEIRS[name](num_classes=NUM_CLASSES).state_dict()
    names = torch_names(shapes)
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert sorted(names.values()) == sorted(tensors.keys() - counters)
    assert {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()} == {
        path: to_flax(tensors[name]).shape for path, name in names.items()
    }


# R3D-34 has the blocks of R3D-18.
@pytest.mark.parametrize("name", [*PUBLISHED, "r3d_50"])
def test_the_logits_are_those_of_torchvision(name):
    theirs = make_theirs(name).eval()
    network, variables = make_ours(name, theirs)
    clips = make_clips(2, CLIP_SHAPE)
    found = jax.jit(functools.partial(network.apply, train=False), compiler_options=UNOPTIMISED)(variables, clips)
    expected = apply(theirs, clips).detach()
    assert expected.std() > 0.1
    assert relative_error(found, expected) < 1e-5


@each_published
def test_a_training_batch_gives_the_logits_statistics_and_gradients_of_torchvision(name):
    """Where a ReLU's input is nearly 0, rounding decides about the gradient; the shift makes that improbable."""
    theirs = make_theirs(name, shift=3.0).train()
    network, variables = make_ours(name, theirs)
    clips, label = make_clips(2, (4, 32, 32, 3)), np.array([1, 4])

    def loss(params):
        logits, changed = network.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[jnp.arange(2), 0, label].mean(), (logits, changed)

    grad = jax.jit(jax.grad(loss, has_aux=True), compiler_options=UNOPTIMISED)
    grads, (logits, changed) = grad(variables["params"])
    expected = apply(theirs, clips)
    torch.nn.functional.cross_entropy(expected[:, 0], torch.from_numpy(label)).backward()
    assert relative_error(logits, expected.detach()) < 1e-5

    # The running means. The variances differ as documented: torchvision's multiplies those of a batch by n / (n - 1).
    names, tensors = torch_names(variables), theirs.state_dict()
    means = {path: leaf for path, leaf in flatten_dict(changed, sep="/").items() if path.endswith("mean")}
    assert max(relative_error(leaf, tensors[names[path]]) for path, leaf in means.items()) < 1e-5

    # The gradient of every parameter. Some are 0 but for rounding: biases that the norm after a convolution removes.
    parameters = dict(theirs.named_parameters())
    pairs = {
        path: (np.asarray(grad), to_flax(parameters[names[f"params/{path}"]].grad))
        for path, grad in flatten_dict(grads, sep="/").items()
    }
    size = np.linalg.norm([np.linalg.norm(expected) for _, expected in pairs.values()])
    errors = {
        path: np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-4 * size)
        for path, (found, expected) in pairs.items()
    }
    assert max(errors.values()) < 1e-4, max(errors, key=errors.get)


@each_published
def test_torchvisions_network_loads_saved_weights_strictly_and_computes_the_same(name, tmp_path):
    trained = random_run(name, num_classes=NUM_CLASSES)
    vjax.save_weights(trained, tmp_path / "w.safetensors")
    theirs = PUBLISHED[name](num_classes=NUM_CLASSES)
    theirs.load_state_dict(safetensors.load_file(tmp_path / "w.safetensors"))
    clips = make_clips(1, (4, 32, 32, 3))
    found = jax.jit(functools.partial(trained.network.apply, train=False), compiler_options=UNOPTIMISED)(
        trained.state.variables, clips
    )
    assert relative_error(found, apply(theirs.eval(), clips).detach()) < 1e-4
