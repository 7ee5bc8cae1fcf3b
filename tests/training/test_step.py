import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vjax import mesh as meshes
from vjax import models
from vjax.evaluation import metrics
from vjax.training.layer_rates import EQUAL_RATES, LayerRates
from vjax.training.optim import create_optimizer
from vjax.training.step import compile_step, init_state, make_grad_fn, soft_target, train_step
from vjax.training.wrappers import accumulated, checked_finite, sharded, with_ema

CLIP_SHAPE = (4, 8, 8, 3)


def make(network="slow_fusion", *, dropout=0.0, norm="batch", **kwargs):
    passed = {name: kwargs.pop(name) for name in ("optimizer", "layout", "options") if name in kwargs}
    backbone = {"name": "small", "widths": kwargs.pop("widths", (4, 8)), "norm": norm}
    backbone |= {"remat": kwargs.pop("remat", False)}
    return make_step(models.create(network, 3, backbone=backbone, dropout=dropout, **kwargs), **passed)


def make_step(built, *, optimizer=None, layout=None, options=None):
    options = {"layer_rates": EQUAL_RATES, "accumulate": 1, "ema_decay": 0.0, "skip_nonfinite": False} | (options or {})
    freeze_norms = options.pop("freeze_norms", False)
    rates, keep_ema = options["layer_rates"], options["ema_decay"] > 0
    tx, _ = create_optimizer(optimizer or {"name": "sgd", "learning_rate": 0.1}, num_steps=100, layer_rates=rates)
    layout = layout or meshes.data_parallel(meshes.make_mesh(jax.devices()[:1]))
    grad_fn = make_grad_fn(built, layer_rates=rates, freeze_norms=freeze_norms)
    grad_fn = sharded(accumulated(grad_fn, options["accumulate"]), layout)
    step = functools.partial(train_step, grad_fn=grad_fn, optimizer=tx, key=jax.random.key(1))
    step = checked_finite(with_ema(step, options["ema_decay"]), skip=options["skip_nonfinite"])
    return init_state(built, tx, key=jax.random.key(0), clip_shape=CLIP_SHAPE, keep_ema=keep_ema), step


def make_batch(size=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "clips": rng.integers(0, 256, (size, *CLIP_SHAPE), np.uint8),
        "label": rng.integers(0, 3, size).astype(np.int32),
    }


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_steps_bring_the_loss_of_one_batch_down(norm):
    state, step = make(norm=norm)
    jitted, batch, losses = jax.jit(step), make_batch(), []
    for _ in range(30):
        state, sums = jitted(state, batch)
        losses.append(metrics.means(sums)["loss"])
    assert losses[-1] < 0.5 * losses[0]
    assert int(state.step) == 30


def test_a_step_is_the_same_with_and_without_jit():
    state, step = make(dropout=0.3, widths=(4,))
    plain, _ = step(state, make_batch())
    jitted, _ = jax.jit(step)(state, make_batch())
    chex.assert_trees_all_close(plain, jitted, rtol=1e-4, atol=1e-5)


def test_a_step_takes_the_gradient_of_the_mean_loss_over_the_batch():
    state, step = make(norm="group", optimizer={"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0})
    once, _ = jax.jit(step)(state, make_batch(4))
    twice = {key: np.concatenate([value, value]) for key, value in make_batch(4).items()}
    doubled, _ = jax.jit(step)(state, twice)
    chex.assert_trees_all_close(once.params, doubled.params, rtol=1e-4, atol=1e-6)


def test_dropout_differs_from_step_to_step_and_not_from_run_to_run():
    state, step = make(dropout=0.5)
    batch, jitted = make_batch(), jax.jit(step)
    losses = [metrics.means(jitted(state.replace(step=jnp.asarray(at)), batch)[1])["loss"] for at in (0, 1, 0)]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]


def test_a_weight_of_a_class_counts_its_clips_as_often():
    batch = make_batch()
    label = batch["label"]
    twice = {key: np.concatenate([rows, rows[label == 1]]) for key, rows in batch.items()}
    counted = len(twice["label"])
    found = []
    for each, weights, factor in ((batch, (1.0, 2.0, 1.0), 8 / counted), (twice, (), 1.0)):
        grad_fn = make_grad_fn(Linear(), class_weights=weights)
        params = Linear().init(jax.random.key(0), jnp.zeros((1, *CLIP_SHAPE)), train=False)["params"]
        grads, sums, _ = grad_fn(params, {}, each, jax.random.key(1))
        found.append((jax.tree.map(lambda leaf, factor=factor: factor * leaf, grads), float(sums["loss"].total)))
    chex.assert_trees_all_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    assert 0 < (label == 1).sum() < 8


def test_the_sums_weigh_every_clip_once():
    state, step = make("single_frame")
    _, sums = jax.jit(step)(state, make_batch(5))
    assert {name: float(sums[name].weight) for name in ("loss", "clip@1")} == {"loss": 5.0, "clip@1": 5.0}
    assert 0 <= metrics.means(sums)["clip@1"] <= 1


class Linear(nn.Module):
    """The smallest network there is: what is tested with it does not depend on the network."""

    @nn.compact
    def __call__(self, clips, *, train):
        return nn.Dense(3)(clips.mean((2, 3)))


@pytest.mark.parametrize("share", [0.7, 0.3])
def test_a_mixed_batch_weighs_both_labels_by_their_shares_and_counts_the_larger_as_right(share):
    state, step = make_step(Linear(), optimizer={"name": "sgd", "learning_rate": 0.1, "momentum": 0.0})
    batch, other_label = make_batch(), make_batch(seed=1)["label"]
    mixed = batch | {"other_label": other_label, "share": np.full(8, share, np.float32)}
    own, other, both = (jax.jit(step)(state, each) for each in (batch, batch | {"label": other_label}, mixed))
    numbers = [metrics.means(sums) for _, sums in (own, other, both)]
    assert numbers[2]["loss"] == pytest.approx(share * numbers[0]["loss"] + (1 - share) * numbers[1]["loss"], rel=1e-5)
    assert numbers[0]["clip@1"] != numbers[1]["clip@1"]
    assert numbers[2]["clip@1"] == numbers[0 if share > 0.5 else 1]["clip@1"]
    expected = jax.tree.map(lambda a, b: share * a + (1 - share) * b, own[0].params, other[0].params)
    chex.assert_trees_all_close(both[0].params, expected, rtol=1e-4, atol=1e-6)


def test_a_clip_mixed_with_one_of_its_own_class_has_that_class_alone_as_its_target():
    batch = {"label": jnp.array([2, 0]), "other_label": jnp.array([2, 1]), "share": jnp.array([0.4, 0.4])}
    np.testing.assert_allclose(soft_target(batch, num_classes=3), [[0, 0, 1], [0.4, 0.6, 0]], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "learning_rate": 0.1}, {"name": "adamw", "learning_rate": 0.1}])
def test_frozen_layers_and_their_average_stay_bit_for_bit_and_cost_no_gradient(optimizer):
    flops = {}
    for text in ("", "backbone=0"):
        rates = LayerRates.parse(text)
        state, step = make(optimizer=optimizer, options={"layer_rates": rates, "ema_decay": 0.9}, widths=(8, 8))
        compiled = jax.jit(step).lower(state, make_batch()).compile()
        flops[text] = compiled.cost_analysis()["flops"]
        after = state
        for seed in range(3):
            after, _ = compiled(after, make_batch(seed=seed))
    jax.tree.map(np.testing.assert_array_equal, after.params["backbone"], state.params["backbone"])
    jax.tree.map(np.testing.assert_array_equal, after.ema["backbone"], state.params["backbone"])
    assert np.any(after.params["head"]["logits"]["kernel"] != state.params["head"]["logits"]["kernel"])
    assert np.any(after.batch_stats["backbone"]["BatchNorm_0"]["mean"] != 0), "norms follow the data"
    assert flops["backbone=0"] < 0.6 * flops[""]


def test_the_parameters_stay_float32_in_bfloat16_training():
    state, step = make(dtype="bfloat16")
    after, sums = jax.jit(step)(state, make_batch())
    chex.assert_trees_all_equal_dtypes(state, after)
    assert sums["loss"].total.dtype == jnp.float32


@pytest.mark.parametrize("network", ["slow_fusion", "single_frame"])
def test_one_device_and_eight_take_the_same_step(network):
    devices = jax.devices()
    assert len(devices) == 8, "the test session simulates eight devices"
    after = {}
    for count in (1, 8):
        state, step = make(network)
        mesh = meshes.make_mesh(devices[:count])
        state = jax.device_put(state, meshes.replicated(mesh))
        batches = [meshes.put_batch(make_batch(16, seed), mesh) for seed in range(3)]
        compiled = compile_step(step, state, batches[0], mesh)
        for batch in batches:
            state, sums = compiled.run(state, batch)
        after[count] = jax.device_get((state, sums))
    chex.assert_trees_all_close(after[1], after[8], rtol=1e-3, atol=1e-5)


def test_a_compiled_step_uses_up_its_state_and_keeps_it_on_every_device():
    state, step = make()
    mesh = meshes.make_mesh()
    state = jax.device_put(state, meshes.replicated(mesh))
    batch = meshes.put_batch(make_batch(8), mesh)
    compiled = compile_step(step, state, batch, mesh)
    after, _ = compiled.run(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert all(len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(after.params))
    assert compiled.compile_s > 0


def test_a_step_is_traced_once_for_all_batches():
    state, step = make()
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def jitted(state, batch):
        return step(state, batch)

    for seed in range(3):
        state, _ = jitted(state, make_batch(seed=seed))
    with pytest.raises(AssertionError):
        jitted(state, make_batch(4))


def test_frozen_norms_keep_their_statistics_and_the_other_parameters_learn():
    options = {"freeze_norms": True, "accumulate": 2, "ema_decay": 0.9}
    layout = meshes.fully_sharded(meshes.make_mesh(jax.devices()[:2]))
    state, step = make(options=options, layout=layout, widths=(8,), remat=True)
    statistics = jax.tree.map(lambda leaf: leaf + jnp.linspace(0, 1, leaf.size), state.batch_stats)
    state = jax.device_put(state.replace(batch_stats=statistics), layout.shardings(state))
    after, _ = jax.jit(step)(state, make_batch())
    chex.assert_trees_all_equal(after.batch_stats, statistics)
    assert len(jax.tree.leaves(statistics)) > 1
    norm = "backbone", "BatchNorm_0", "scale"
    before, found, mean = (
        functools.reduce(dict.__getitem__, norm, tree) for tree in (state.params, after.params, after.ema)
    )
    assert np.all(before != found)
    assert np.all(before != mean)


def test_with_frozen_norms_a_clip_does_not_see_the_others_of_its_batch():
    """So a batch in parts gives the update of the whole, which it does not with the statistics of the parts."""
    state, whole = make(options={"freeze_norms": True}, widths=(4,))
    _, parts = make(options={"freeze_norms": True, "accumulate": 4}, widths=(4,))
    quickly = {"xla_backend_optimization_level": 0}
    found = [jax.jit(step, compiler_options=quickly)(state, make_batch(8)) for step in (whole, parts)]
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_batch_in_parts_gives_the_update_of_the_whole(accumulate):
    """With a norm that looks at one clip at a time; batch norm sees the rows of a part."""
    state, whole = make(norm="group")
    _, parts = make(norm="group", options={"accumulate": accumulate})
    once, once_sums = jax.jit(whole)(state, make_batch(8))
    again, again_sums = jax.jit(parts)(state, make_batch(8))
    chex.assert_trees_all_close(once, again, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(once_sums, again_sums, rtol=1e-4)


def test_a_part_takes_as_many_rows_from_every_device():
    mesh = meshes.make_mesh()
    layout = meshes.data_parallel(mesh)
    state, step = make(norm="group", layout=layout, options={"accumulate": 2})
    state = jax.device_put(state, meshes.replicated(mesh))
    batch = meshes.put_batch(make_batch(16), mesh)
    compiled = compile_step(step, state, batch, mesh)
    text = compiled.run.as_text()
    assert "all-gather" not in text, "rows of clips would travel between devices"
    assert "all-to-all" not in text


def test_a_batch_in_parts_has_the_operations_of_the_whole():
    mesh = meshes.make_mesh(jax.devices()[:1])
    matrix, rows = jax.device_put((jnp.ones((64, 64)), jnp.ones((32, 64))), meshes.replicated(mesh))

    def step(matrix, rows):
        return jax.lax.scan(lambda matrix, part: (matrix, part @ matrix), matrix, rows.reshape(4, 8, 64))

    found = compile_step(step, matrix, rows, mesh, accumulate=4).flops
    assert found == pytest.approx(2 * 32 * 64 * 64, rel=0.05)


def test_the_average_of_the_parameters_is_what_answers():
    state, step = make(options={"ema_decay": 0.9})
    means, params = [state.ema], []
    jitted = jax.jit(step)
    for seed in range(3):
        state, _ = jitted(state, make_batch(seed=seed))
        means.append(state.ema)
        params.append(state.params)
    for number, decay in enumerate([1 / 10, 2 / 11, 3 / 12]):
        expected = jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, means[number], params[number])  # noqa: B023
        chex.assert_trees_all_close(means[number + 1], expected, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_equal(state.variables["params"], state.ema)
    assert not any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), state.ema, state.params)))


def test_without_an_average_the_parameters_answer():
    state, _ = make()
    assert state.variables["params"] is state.params
    assert not jax.tree.leaves(state.ema)


def broken(state):
    """The state with a number in it that spoils every loss."""
    return state.replace(params=jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), state.params))


def test_a_step_whose_loss_is_not_finite_is_counted():
    state, step = make()
    jitted = jax.jit(step)
    _, sums = jitted(state, make_batch())
    assert float(sums["nonfinite"].total) == 0
    _, sums = jitted(broken(state), make_batch())
    assert float(sums["nonfinite"].total) == 1
    assert not np.isfinite(metrics.means(sums)["loss"])


def test_a_bad_step_that_is_skipped_changes_the_step_alone_and_weighs_nothing():
    state, step = make(options={"skip_nonfinite": True, "ema_decay": 0.9})
    state = broken(state)
    after, sums = jax.jit(step)(state, make_batch())
    assert int(after.step) == int(state.step) + 1
    chex.assert_trees_all_equal(after.replace(step=state.step), state)
    assert float(sums["loss"].total) == float(sums["loss"].weight) == 0
    assert float(sums["nonfinite"].total) == 1


def test_a_good_step_is_the_same_whether_bad_ones_are_skipped_or_not():
    state, step = make()
    _, skipping = make(options={"skip_nonfinite": True})
    found = [jax.jit(each)(state, make_batch())[0] for each in (step, skipping)]
    # Two programs: XLA fuses their sums differently, so a last digit may differ.
    chex.assert_trees_all_close(*found, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_fully_sharded_run_takes_the_same_steps_and_keeps_less_on_a_device(optimizer):
    mesh, after, kept = meshes.make_mesh(), {}, {}
    for name, make_layout in meshes.LAYOUTS.items():
        layout = make_layout(mesh)
        state, step = make(layout=layout, optimizer={"name": optimizer, "learning_rate": 0.01}, widths=(16, 32))
        state = jax.device_put(state, layout.shardings(state))
        kept[name] = meshes.device_bytes(state)
        compiled = compile_step(step, state, meshes.put_batch(make_batch(16), mesh), mesh)
        for seed in range(3):
            state, _ = compiled.run(state, meshes.put_batch(make_batch(16, seed), mesh))
        assert meshes.device_bytes(state) == kept[name], "a step must leave the state where it was"
        after[name] = jax.device_get(state)
    chex.assert_trees_all_close(after["data"], after["fsdp"], rtol=1e-3, atol=1e-5)
    assert kept["fsdp"] < 0.25 * kept["data"]
