"""Pictures and clips inside a page."""

import base64
import io

import av
import numpy as np
from PIL import Image

from vjax.data.media import enlarge, filter_pictures, gray_picture, overlay, picture_uri, video_uri


def content(uri, kind):
    head, _, body = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(body))


def test_a_clip_is_an_mp4_of_all_frames_with_larger_pixels():
    frames = np.zeros((7, 40, 51, 3), np.uint8)
    frames[3] = 255
    with av.open(content(video_uri(frames, fps=5), "video/mp4")) as container:
        stream = container.streams.video[0]
        shown = [frame.to_ndarray(format="gray8").mean() for frame in container.decode(stream)]
    assert (stream.height, stream.width) == (160, 204)
    assert len(shown) == 7
    assert int(np.argmax(shown)) == 3


def test_a_large_frame_is_made_smaller():
    with av.open(content(video_uri(np.zeros((2, 720, 1280, 3), np.uint8), fps=5), "video/mp4")) as container:
        assert container.streams.video[0].width == 320


def test_a_picture_keeps_its_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    found = np.asarray(Image.open(content(picture_uri(picture), "image/png")))
    np.testing.assert_array_equal(found, enlarge(picture))
    np.testing.assert_array_equal(found[::36, ::36], picture)


def test_an_overlay_is_gray_where_nothing_speaks_and_coloured_elsewhere():
    clip = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    places = np.zeros((2, 4, 4), np.float32)
    places[1, 2, 3] = 1
    found = overlay(clip, places).astype(int)
    assert np.ptp(found[0], axis=-1).max() == 0
    assert np.ptp(found[1, 2, 3]) > 50


def test_filters_lie_side_by_side_with_gray_for_0():
    kernel = np.zeros((3, 2, 2, 3, 5), np.float32)
    kernel[1, 0, 0, :, 0] = 2.0
    found = filter_pictures(kernel)
    assert found.shape[0] == 3
    assert found.max() == 255
    assert 128 in found[0]
    assert found[1, 1, 1].tolist() == [255, 255, 255]


def test_numbers_become_gray_from_the_smallest_to_the_largest():
    found = gray_picture(np.array([[-1.0, 0.0, 1.0]]))
    assert found[0, :, 0].tolist() == [0, 128, 255]
    assert gray_picture(np.zeros((2, 2))).max() == 0


def test_weights_that_are_not_finite_are_drawn_without_a_warning(recwarn):
    assert filter_pictures(np.full((1, 3, 3, 3, 2), np.nan, np.float32)).max() == 255
    assert gray_picture(np.array([[np.nan, 1.0]])).max() == 255
    assert not recwarn
