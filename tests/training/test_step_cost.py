"""The cost model against what XLA plans, on simulated devices."""

import functools

import jax
import jax.numpy as jnp
import pytest

from vjax import mesh as meshes
from vjax import models
from vjax.spec import Choice
from vjax.training.optim import create_optimizer
from vjax.training.step import compile_step, init_state, make_grad_fn, train_step
from vjax.training.step_cost import collective_bytes, step_cost
from vjax.training.wrappers import accumulated, checked_finite, sharded

CLIP_SHAPE = (8, 16, 16, 3)


def make(norm="batch"):
    network = models.create("slow_fusion", 5, backbone={"name": "small", "widths": (8, 16), "norm": norm})
    optimizer, _ = create_optimizer(Choice("adamw", learning_rate=0.1), num_steps=10)
    return network, optimizer


def compile_for(num_devices, *, sharding, norm, batch_size, accumulate=1):
    """Returns the step as XLA has compiled it, convolutions in the form that GPUs and TPUs take."""
    network, optimizer = make(norm)
    mesh = meshes.make_mesh(jax.devices()[:num_devices])
    layout = meshes.LAYOUTS[sharding](mesh)
    shapes = jax.eval_shape(
        lambda key: init_state(network, optimizer, key=key, clip_shape=CLIP_SHAPE), jax.random.key(0)
    )
    state = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        layout.shardings(shapes),
    )
    batch = {
        "clips": jax.ShapeDtypeStruct((batch_size, *CLIP_SHAPE), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    }
    grad_fn = sharded(accumulated(make_grad_fn(network), accumulate), layout)
    step = functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=jax.random.key(1))
    step = checked_finite(step, skip=False)
    return compile_step(step, state, batch, mesh).run


@pytest.fixture
def native_convolution(monkeypatch):
    """The CPU's own forms exchange tiles; what other devices run is told by their own form."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **_: default(*args))


def cost(num_devices, *, norm="batch", batch_size=16, sharding="data", **options):
    network, optimizer = make(norm)
    return step_cost(
        network, optimizer, clip_shape=CLIP_SHAPE, batch_size=batch_size, num_devices=num_devices, sharding=sharding,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("num_devices", [1, 2, 4, 8])
def test_under_data_parallelism_the_gradient_goes_over_the_wire_once_and_nothing_else(
    native_convolution, num_devices, norm
):
    found = collective_bytes(compile_for(num_devices, sharding="data", norm=norm, batch_size=16).as_text())
    traffic = cost(num_devices, norm=norm).traffic
    assert found == ({} if num_devices == 1 else {"all-reduce": traffic.all_reduce})
    assert traffic.all_gather == 0


@pytest.mark.parametrize("num_devices", [2, 8])
def test_under_fsdp_parameters_are_gathered_once_and_gradients_added_up_once(native_convolution, num_devices):
    found = collective_bytes(compile_for(num_devices, sharding="fsdp", norm="batch", batch_size=16).as_text())
    traffic = cost(num_devices, sharding="fsdp").traffic
    assert found.keys() == {"all-reduce", "all-gather"}
    assert found["all-gather"] == traffic.all_gather
    assert found["all-reduce"] == pytest.approx(traffic.all_reduce, abs=64)  # norms and what clips them, a few floats


@pytest.mark.parametrize("sharding", ["data", "fsdp"])
@pytest.mark.parametrize("num_devices", [1, 2, 4, 8])
def test_the_state_and_the_batch_take_what_xla_plans_for_them(native_convolution, num_devices, sharding):
    planned = compile_for(num_devices, sharding=sharding, norm="batch", batch_size=16).memory_analysis()
    memory = cost(num_devices, sharding=sharding).memory
    labels = 16 // num_devices * 4
    assert planned.argument_size_in_bytes == memory.state + memory.clips // 2 + labels


@pytest.mark.parametrize("num_devices", [1, 4])
@pytest.mark.parametrize("batch_size", [16, 64])
def test_what_a_step_needs_beside_its_arguments_is_near_what_xla_plans(native_convolution, num_devices, batch_size):
    planned = compile_for(num_devices, sharding="data", norm="batch", batch_size=batch_size).memory_analysis()
    memory = cost(num_devices, batch_size=batch_size).memory
    assert planned.temp_size_in_bytes == pytest.approx(memory.gradients + memory.activations + memory.scratch, rel=0.2)


def test_accumulation_keeps_less_and_sends_more():
    once, four = cost(2), cost(2, accumulate=4)
    assert four.memory.activations == once.memory.activations / 4
    assert four.traffic.all_reduce == 4 * once.traffic.all_reduce


def test_fsdp_keeps_an_eighth_of_large_arrays_on_each_of_eight_devices():
    whole, part = cost(8).memory.state, cost(8, sharding="fsdp").memory.state
    assert whole / 8 < part < whole / 3  # biases and norms are whole


def test_a_ring_sends_an_all_reduce_twice_less_a_part():
    assert cost(1).traffic.sent == 0
    assert cost(4).traffic.sent == round(2 * cost(4).traffic.all_reduce * 3 / 4)


def test_a_thousand_devices_need_not_be_there():
    assert cost(1000, batch_size=2000).memory.clips == 2 * 2 * 8 * 16 * 16 * 3


def test_collectives_are_read_from_a_program_as_xla_writes_it():
    hlo = """
      %a = f32[2,3]{1,0} all-gather(%x), dimensions={0}
      ROOT %b = (bf16[4]{0}, /*index=1*/pred[2]{0}) all-reduce-start(%y, %z), to_apply=%add
      %c = f32[8]{0} add(%a, %b)
    """
    assert collective_bytes(hlo) == {"all-gather": 24, "all-reduce": 10}
