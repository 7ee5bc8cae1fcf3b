"""The section of a report about the first layer: its filters, and what it makes of a clip."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from vjax.data.decode import VideoError
from vjax.data.media import enlarge, filter_pictures, gray_picture, picture_uri, video_uri
from vjax.data.video import Source, Video
from vjax.evaluation.activation_maps import first_features
from vjax.html.page import Figures, Section
from vjax.models.cost import describe_layers
from vjax.ops.filters import xt_slice
from vjax.report.examples import read_clip
from vjax.trained import Trained

_FILTERS = 64  # of most pictures
_FILTER_FPS = 4.0


def first_layer_section(trained: Trained, source: Source | str) -> Iterator[Section]:
    """Yields the section, if there is something to show; a source that is a text cannot be opened."""
    figures = list(_filter_figures(trained))
    if not isinstance(source, str) and len(source.test):
        with contextlib.suppress(VideoError):  # the examples name the videos that cannot be read
            figures += _slice_figures(trained, source.test[0])
    if figures:
        yield Section("filters", "What the first layer looks for", blocks=[Figures(figures)])


def _filter_figures(trained: Trained) -> Iterator[tuple[str, str]]:
    """Yields the filters of the first layer, if it is a convolution of frames."""
    layers = describe_layers(trained.network, trained.test_view.shape[1:])
    variables: Any = trained.state.variables["params"] if layers else {}
    first = layers[0].name if layers else ""
    for part in first.split("/"):
        variables = variables.get(part, {})
    kernel = variables.get("kernel")
    if kernel is None or kernel.ndim != 5:
        return
    kernel = np.asarray(kernel, np.float32)
    time, height, width, channels, count = kernel.shape
    if time == 1 and channels % 3 == 0:  # early fusion has the frames as channels
        kernel = np.moveaxis(kernel.reshape(height, width, channels // 3, 3, count), 2, 0)
    elif channels != 3:
        return
    pictures = filter_pictures(kernel[..., :_FILTERS])
    said = f"{min(count, _FILTERS)} of {count} filters of {first}, {len(pictures)} x {height} x {width}; gray is 0"
    uri = picture_uri(pictures[0]) if len(pictures) == 1 else video_uri(pictures, fps=_FILTER_FPS)
    yield said, uri


def _slice_figures(trained: Trained, video: Video) -> list[tuple[str, str]]:
    """Returns the x-t slice of a clip, and the same slice of the feature map of the first layer that changes most.

    The slice is of the row with the most motion. There is no second picture if the first layer leaves no time, as in
    early fusion.

    Raises:
      VideoError: the video cannot be read.
    """
    clip, _, _ = read_clip(trained, video, 0)
    motion = np.abs(np.diff(clip.astype(np.float32), axis=0)).sum((0, 2, 3))
    row = int(motion.argmax())
    figures = [(f"x-t slice of a clip of {video.name}, row {row}: time runs down", _slice_uri(xt_slice(clip, row=row)))]
    features = first_features(
        trained.network, trained.state.variables, clip[None], clip_input=trained.config.clip_input
    )
    if features is None or features.shape[0] == 1:
        return figures
    number = int(features.std((0, 1, 2)).argmax())
    of_map = xt_slice(features[..., [number]], row=row * features.shape[1] // clip.shape[1])
    said = f"the same slice of map {number} of the first layer, the one that changes most"
    return [*figures, (said, _slice_uri(gray_picture(of_map[..., 0])))]


def _slice_uri(picture: np.ndarray) -> str:
    """Returns a slice, which has few rows, as a picture with rows that are high enough to be seen."""
    rows = -(-picture.shape[1] // (2 * len(picture)))
    return picture_uri(enlarge(picture.repeat(max(1, rows), 0)))
