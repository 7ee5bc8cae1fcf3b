import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.ops.captions import add_captions


@given(width=st.integers(1, 300), height=st.integers(1, 80))
def test_a_caption_is_above_the_frames_which_keep_their_pixels(width, height):
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, height, width, 3), np.uint8)
    captioned = add_captions(clips, ["walk", "run"])
    factor = captioned.shape[3] // width
    assert captioned.shape == (2, 3, 16 + factor * height, factor * width, 3)
    assert captioned.shape[3] >= 112
    np.testing.assert_array_equal(captioned[:, :, 16::factor, ::factor], clips)
    assert not (captioned[0, :, :16] == captioned[1, :, :16]).all(), "each has its own"
    assert (captioned[:, :1, :16] == captioned[:, :, :16]).all(), "it stays for the whole clip"


@pytest.mark.parametrize("caption", ["", "x" * 500, "Säge über Holz", "走る"])
def test_any_name_of_a_class_can_be_written(caption):
    assert add_captions(np.zeros((1, 2, 8, 8, 3), np.uint8), [caption]).shape == (1, 2, 128, 112, 3)
