"""Every network of the table gives the same probabilities after it is exported."""

import functools
import importlib.util

import flax.linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from exported import FUSION, PUBLISHED, check_model, network_of

from vjax.errors import InputError
from vjax.export import onnx_file
from vjax.export.onnx_file import load_onnx, to_onnx
from vjax.export.portable import portable
from vjax.export.stablehlo import PLATFORMS, load_stablehlo, to_stablehlo

needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime"))), reason="the extra 'onnx' is not installed"
)


@pytest.fixture(autouse=True)
def _freed():
    """Frees the compiled programs, which hold the variables of their networks: together they take ten gigabytes."""
    yield
    network_of.cache_clear()
    jax.clear_caches()


@pytest.mark.parametrize("case", [*FUSION, *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED)])
def test_stablehlo_gives_the_probabilities_of_the_network(case):
    function, shape = network_of(case)
    model = to_stablehlo(function, shape)
    assert jax.export.deserialize(bytearray(model)).platforms == PLATFORMS
    check_model(load_stablehlo(model), function, shape)


@needs_onnx
@pytest.mark.parametrize("case", [*FUSION, *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED)])
def test_onnx_gives_the_probabilities_of_the_network_with_2d_convolutions(case):
    import onnx

    function, shape = network_of(case)
    model = to_onnx(function, shape)
    kernels = {constant.name: constant.dims for constant in onnx.load_from_string(model).graph.initializer}
    nodes = onnx.load_from_string(model).graph.node
    assert not [node for node in nodes if node.op_type == "Conv" and len(kernels.get(node.input[1], ())) == 5]
    check_model(load_onnx(model), function, shape)


class Outside(nn.Module):
    """A network from outside with flax's own 3D convolution, grouped and with strides."""

    @nn.compact
    def __call__(self, clips):
        x = nn.Conv(6, (3, 3, 3), strides=(2, 2, 1), padding="SAME")(clips)
        x = nn.Conv(6, (2, 1, 3), feature_group_count=3, padding="VALID")(nn.relu(x))
        return x.mean((1, 2, 3))


def operations(function, *inputs):
    """The names of the operations of a function, and the rank of its convolutions."""
    for equation in jax.make_jaxpr(function)(*inputs).eqns:
        yield equation.primitive.name, equation.invars[0].aval.ndim if equation.invars else 0


def test_a_portable_function_has_no_3d_convolution_and_gives_the_same_numbers():
    network, clips = Outside(), jax.random.normal(jax.random.key(0), (2, 7, 9, 8, 3))
    variables = network.init(jax.random.key(1), clips)
    function = functools.partial(network.apply, variables)
    found = list(operations(portable(function), clips))
    assert ("conv_general_dilated", 4) in found
    assert ("conv_general_dilated", 5) not in found
    np.testing.assert_allclose(portable(function)(clips), function(clips), atol=1e-5)


@pytest.mark.parametrize("case", FUSION)
def test_a_portable_network_has_no_rules_for_gradients_and_no_platforms(case):
    function, shape = network_of(case)
    names = {name for name, _ in operations(portable(function), np.zeros((2, *shape), np.uint8))}
    assert not names & {"cond", "custom_vjp_call", "custom_jvp_call", "platform_index"}, names


@needs_onnx
@pytest.mark.parametrize("case", ["late_pool, rgb", "slow_fusion, rgb"])
def test_a_network_is_exported_with_no_operation_for_its_norms_and_no_transpose_around_its_convolutions(case):
    import onnx

    nodes = onnx.load_from_string(to_onnx(*network_of(case))).graph.node
    found = [node.op_type for node in nodes]
    assert {"Conv", "MaxPool", "Relu"} <= set(found)
    assert found.count("Sub") <= 2  # of the mean of the input, and of the largest logit; none for a norm
    made_by = {name: node.op_type for node in nodes for name in node.output}
    assert not [node for node in nodes if node.op_type == "Transpose" and made_by.get(node.input[0]) == "Conv"]


def test_a_convolution_with_holes_is_refused():
    kernel = jnp.ones((2, 1, 1, 3, 4))

    def holes(clips):
        axes = ("NDHWC", "DHWIO", "NDHWC")
        return jax.lax.conv_general_dilated(
            clips, kernel, (1, 1, 1), "VALID", rhs_dilation=(2, 1, 1), dimension_numbers=axes
        )

    with pytest.raises(InputError, match=r"without dilation, .*; export it as stablehlo$"):
        portable(holes)(jnp.zeros((1, 5, 4, 4, 3)))


def test_a_network_in_bfloat16_is_refused():
    function, shape = network_of(FUSION[0], dtype="bfloat16")
    with pytest.raises(InputError, match="computes in bfloat16, which ONNX runtimes do not; export it as stablehlo"):
        portable(function)(np.zeros((1, *shape), np.uint8))


def test_a_network_in_bfloat16_is_exported_as_stablehlo():
    function, shape = network_of(FUSION[0], dtype="bfloat16")
    check_model(load_stablehlo(to_stablehlo(function, shape)), function, shape)


@needs_onnx
def test_an_operation_that_the_extra_does_not_know_is_named():
    unheard = jax.extend.core.Primitive("unheard")
    unheard.def_impl(lambda x: x)
    unheard.def_abstract_eval(lambda x: x)
    with pytest.raises(
        InputError, match=r"no form for an operation of this network \(.*unheard.*\); export it as stab"
    ):
        to_onnx(lambda clips: unheard.bind(clips.mean((1, 2, 3))), (2, 3, 4, 3))


def test_a_missing_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(onnx_file.importlib, "import_module", missing)
    function, shape = network_of(FUSION[0])
    with pytest.raises(InputError, match=r"ONNX files need the extra onnx: pip install 'vjax\[onnx\]'"):
        to_onnx(function, shape)
