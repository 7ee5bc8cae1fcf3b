import jax
import numpy as np

from vjax import mesh as meshes


def test_a_batch_is_split_by_rows_over_all_devices():
    mesh = meshes.make_mesh()
    rows = np.arange(16).reshape(16, 1)
    batch = meshes.put_batch({"x": rows}, mesh)["x"]
    assert mesh.axis_names == ("data",)
    assert len(batch.addressable_shards) == jax.device_count() == 8
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 1)}


def test_gathering_gives_back_every_row_in_order():
    mesh = meshes.make_mesh()
    rows = {"x": np.arange(16), "mask": np.arange(16) % 3 == 0}
    found = meshes.gather(meshes.put_batch(rows, mesh), mesh)
    np.testing.assert_array_equal(found["x"], rows["x"])
    np.testing.assert_array_equal(found["mask"], rows["mask"])


def test_a_mesh_can_be_smaller_than_the_machine():
    assert meshes.make_mesh(jax.devices()[:2]).size == 2
