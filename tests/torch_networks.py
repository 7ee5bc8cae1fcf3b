"""What the comparisons with PyTorch's networks share: random tensors, our variables, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

torch = pytest.importorskip("torch")

# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


def randomize(theirs, classifier):
    """Draws the classifier and the norms of a network."""
    torch.nn.init.normal_(classifier.weight, 0, 0.5 / classifier.weight.shape[1] ** 0.5)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return theirs


def to_flax(tensor):
    """Returns a tensor as an array with our axes; PyTorch's kernels are `(f c t h w)` and `(f c)`."""
    # A copy, because training changes the statistics of PyTorch in place.
    return tensor.detach().numpy().copy().transpose({5: (2, 3, 4, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim])


def fit(tensor, shape):
    """Returns a tensor with our axes; a convolution of size 1 becomes a linear layer if its kernel has that shape."""
    array = to_flax(tensor)
    return array.reshape(shape) if array.ndim == 5 and array.shape == (1, 1, 1, *shape) else array


def shapes_of(network, clip_shape):
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    return jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), clips)


def variables_from(theirs, network, torch_names, clip_shape):
    """Returns variables of our network with the values of theirs."""
    shapes, tensors = shapes_of(network, clip_shape), theirs.state_dict()
    leaves, names = flatten_dict(shapes, sep="/"), torch_names(shapes)
    return unflatten_dict({path: fit(tensors[name], leaves[path].shape) for path, name in names.items()}, sep="/")


def assert_each_variable_has_a_tensor(theirs, network, torch_names, clip_shape):
    """Checks that variables and tensors are paired, and that their shapes agree."""
    shapes, tensors = shapes_of(network, clip_shape), theirs.state_dict()
    names = torch_names(shapes)
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert sorted(names.values()) == sorted(tensors.keys() - counters)
    leaves = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    assert leaves == {path: fit(tensors[name], leaves[path]).shape for path, name in names.items()}


def make_clips(num_clips, clip_shape):
    return np.random.default_rng(0).normal(size=(num_clips, *clip_shape)).astype(np.float32)


def to_torch(clips):
    return torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3)))


def relative_error(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() / np.abs(np.asarray(expected)).max()


def evaluate(network, variables, clips):
    """Returns our logits in evaluation."""
    return jax.jit(functools.partial(network.apply, train=False), compiler_options=UNOPTIMISED)(variables, clips)


def in_float64(network):
    """Returns our network with all layers in float64."""
    if hasattr(network, "backbone"):
        return network.clone(backbone=network.backbone.clone(dtype=jnp.float64))
    return network.clone(dtype=jnp.float64)


def assert_training_agrees(network, variables, theirs, *, names, clips):
    """Checks logits, running means and the gradients of all parameters of two clips' cross-entropy.

    Both networks compute in float64: in float32, rounding decides about the gradient where a ReLU's input is nearly 0.
    Neither network may have dropout. Their logits are `(b k)`, ours `(b 1 k)`.
    """
    theirs, label = theirs.double(), np.array([1, 4])
    with jax.enable_x64(True):
        network = in_float64(network)
        variables, clips = jax.tree.map(lambda array: array.astype(np.float64), (variables, clips))

        def loss(params):
            logits, changed = network.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
            return -jax.nn.log_softmax(logits)[jnp.arange(2), 0, label].mean(), (logits, changed)

        grad = jax.jit(jax.grad(loss, has_aux=True), compiler_options=UNOPTIMISED)
        grads, (logits, changed) = jax.tree.map(np.asarray, grad(variables["params"]))
    expected = theirs(to_torch(clips))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(label)).backward()
    assert logits.dtype == np.float64
    assert relative_error(logits[:, 0], expected.detach()) < 1e-9

    # The running means; each network keeps its own share of them. The variances differ as documented: PyTorch
    # multiplies those of a batch by n / (n - 1).
    tensors, before = theirs.state_dict(), flatten_dict(variables, sep="/")
    norms = {name: module for name, module in theirs.named_modules() if isinstance(module, torch.nn.BatchNorm3d)}
    for path, found in flatten_dict(changed, sep="/").items():
        if path.endswith("mean"):
            norm, _, _ = names[path].rpartition(".")
            step = (tensors[names[path]].numpy() - before[path]) / norms[norm].momentum
            assert relative_error((found - before[path]) / 0.1, step) < 1e-9, path

    # The gradient of every parameter. Some are 0 but for rounding: biases that the norm after a convolution removes.
    parameters = dict(theirs.named_parameters())
    pairs = {
        path: (grad, fit(parameters[names[f"params/{path}"]].grad, grad.shape))
        for path, grad in flatten_dict(grads, sep="/").items()
    }
    size = np.linalg.norm([np.linalg.norm(expected) for _, expected in pairs.values()])
    errors = {
        path: np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-4 * size)
        for path, (found, expected) in pairs.items()
    }
    assert max(errors.values()) < 1e-8, max(errors, key=errors.get)
