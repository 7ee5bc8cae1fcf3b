import os
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import pytest

from vjax import models
from vjax.errors import InputError
from vjax.spec import Choice
from vjax.training.checkpoint import Checkpoints
from vjax.training.optim import create_optimizer
from vjax.training.step import init_state


def make_state(num_classes=3, *, norm="batch", seed=0):
    network = models.create("slow_fusion", num_classes, backbone={"name": "small", "widths": (8,), "norm": norm})
    optimizer, _ = create_optimizer(Choice("adamw", learning_rate=0.1), num_steps=10)
    return init_state(network, optimizer, key=jax.random.key(seed), clip_shape=(4, 8, 8, 3))


def steps_kept(path):
    return sorted(int(folder.name) for folder in path.iterdir() if folder.name.isdigit())


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_restored_state_equals_the_saved_one_bit_for_bit(tmp_path, norm):
    checkpoints, state = Checkpoints(tmp_path), make_state(norm=norm)
    checkpoints.save(3, state, metrics=None)
    checkpoints.wait()
    restored = Checkpoints(tmp_path).restore(3, make_state(norm=norm, seed=1))
    chex.assert_trees_all_equal(restored, state)
    chex.assert_trees_all_equal_structs(restored, state)


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    for step, accuracy in enumerate([0.3, 0.9, None, 0.5, None, 0.7], start=1):
        checkpoints.save(step, state, metrics=None if accuracy is None else {"val/video@1": accuracy})
    checkpoints.wait()
    assert steps_kept(tmp_path) == [2, 5, 6]
    assert checkpoints.latest_step() == 6
    assert checkpoints.best_step() == 2


def test_without_a_validation_split_the_newest_two_are_kept_and_none_is_the_best(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    for step, accuracy in enumerate([0.9, 0.3, 0.5], start=1):
        checkpoints.save(step, state, metrics={"test/video@1": accuracy})
    checkpoints.wait()
    assert steps_kept(tmp_path) == [2, 3]
    assert checkpoints.best_step() is None


def test_saves_that_overtake_each_other_do_not_look_like_a_vanished_folder(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    for step in range(1, 21):
        checkpoints.save(step, state, metrics=None)
        if step % 2 == 0:  # every other save finds the one before it still being written
            checkpoints.wait()
    assert steps_kept(tmp_path) == [19, 20]


def test_a_vanished_folder_is_noticed_at_the_next_save(tmp_path):
    checkpoints, state = Checkpoints(tmp_path / "checkpoints"), make_state()
    checkpoints.save(1, state, metrics=None)
    checkpoints.save(2, state, metrics=None)
    checkpoints.wait()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(InputError, match="checkpoints was removed during the run; its checkpoints are lost"):
        checkpoints.save(3, state, metrics=None)


def test_a_run_that_goes_on_knows_the_checkpoint_it_came_from(tmp_path):
    checkpoints, state = Checkpoints(tmp_path / "checkpoints"), make_state()
    checkpoints.save(1, state, metrics=None)
    checkpoints.close()
    again = Checkpoints(tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(InputError, match="was removed during the run"):
        again.save(2, state, metrics=None)


@pytest.mark.parametrize(
    ("has_checksums", "reason"),
    [
        (True, r"d/\w+ is not what was written"),
        (False, r"Requested byte range .* is not valid for value of size \d+"),  # as older versions wrote them
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_reason_however_deep_its_folder(tmp_path, has_checksums, reason):
    folder, state = tmp_path / ("a" * 200) / ("b" * 200), make_state()
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, state, metrics=None)
    checkpoints.close()
    for path in (folder / "3").rglob("d/*"):  # where arrays are kept
        os.truncate(path, path.stat().st_size // 2)
    if not has_checksums:
        (folder / "3" / "default" / "checksums.json").unlink()
    with pytest.raises(InputError, match=rf"b/3 is damaged \({reason}\)$"):
        Checkpoints(folder).check(3)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 1] = bytes([content[len(content) // 2] ^ 1]) if content else b""
    path.write_bytes(content)


HARMS = [pathlib.Path.unlink, lambda path: os.truncate(path, path.stat().st_size // 2), flip_a_bit]


@pytest.mark.parametrize("harm", HARMS, ids=["lost", "cut off", "flipped"])
def test_whatever_file_is_harmed_is_noticed_or_does_not_matter(tmp_path, harm):
    state = make_state()
    checkpoints = Checkpoints(tmp_path / "whole")
    checkpoints.save(3, state, metrics=None)
    checkpoints.close()
    names = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    noticed = set()
    for number, name in enumerate(names):
        shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        harm(tmp_path / str(number) / name)
        harmed = Checkpoints(tmp_path / str(number), read_only=True)
        try:
            harmed.check(3)
            chex.assert_trees_all_equal(harmed.restore(3, state), state)
        except InputError:
            noticed.add(name)
    needed = {name for name in names if name.match("3/default/d/*") or name.match("3/default/manifest.ocdbt")}
    assert len(needed) > 1
    assert noticed >= needed


@pytest.mark.parametrize("count", [2, 5, 1000])
def test_processes_find_together_what_one_would_find(tmp_path, count):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    checkpoints.save(3, state, metrics=None)
    checkpoints.wait()
    for index in range(count):
        checkpoints.check(3, index=index, count=count)
    for path in (tmp_path / "3").rglob("d/*"):
        os.truncate(path, path.stat().st_size // 2)
    found = 0
    for index in range(count):
        try:
            checkpoints.check(3, index=index, count=count)
        except InputError:
            found += 1
    assert found


def test_an_empty_folder_has_no_newest_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none").latest_step() is None


def test_a_state_that_changes_after_the_save_does_not_change_the_checkpoint(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), make_state()
    expected = jax.device_get(state)
    checkpoints.save(1, state, metrics=None)
    jax.jit(lambda s: jax.tree.map(jnp.zeros_like, s), donate_argnums=0)(state)
    checkpoints.wait()
    chex.assert_trees_all_equal(checkpoints.restore(1, make_state()), expected)


def test_a_checkpoint_of_another_number_of_classes_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(3), metrics=None)
    checkpoints.wait()
    message = r"does not fit the network: parameter head/logits/bias has shape \(3,\) .* and \(5,\) in the network"
    with pytest.raises(InputError, match=message):
        checkpoints.restore(1, make_state(5))
