"""Videos as examples in a report: what the network saw, where and when it looked, and what it answered over time."""

from collections.abc import Iterator, Sequence

import numpy as np

from vjax.data.decode import VideoError
from vjax.data.media import overlay, video_uri
from vjax.data.video import Source, Video
from vjax.errors import InputError
from vjax.evaluation.activation_maps import activation_maps
from vjax.evaluation.predict import ClipPrediction
from vjax.evaluation.predictions import TestPredictions
from vjax.html.charts import LineChart, line_chart
from vjax.html.page import Example, Examples, Section
from vjax.text import Advance
from vjax.trained import Trained

_EXAMPLES = 6  # of mistakes, and of hits
_PLAYED_FPS = 12.5  # at most: faster clips are over before they are seen


def example_sections(
    trained: Trained, source: Source | str, predictions: TestPredictions, advance: Advance
) -> Iterator[Section]:
    """Yields the sections of the surest mistakes and of the least sure hits.

    Args:
      trained: network of the run.
      source: videos of the run; or the reason why they cannot be opened.
      predictions: predictions of the run.
      advance: progress callback; gets the number of examples that are done and the number of all.
    """
    titles = {"mistakes": "The surest mistakes", "hits": "The least sure hits"}
    if isinstance(source, str):
        for key, title in titles.items():
            yield Section(key, title, f"The videos cannot be shown: {source}")
        return
    names, probs, right = trained.class_names, predictions.probs, predictions.right
    sure = np.nan_to_num(probs.max(1))
    wrong, hits = np.flatnonzero(~right), np.flatnonzero(right)
    chosen = {
        "mistakes": wrong[np.argsort(-sure[wrong], kind="stable")][:_EXAMPLES],
        "hits": hits[np.argsort(sure[hits], kind="stable")][:_EXAMPLES],
    }
    total, done = sum(map(len, chosen.values())), 0
    for key, positions in chosen.items():
        examples: list[Example] = []
        for position in map(int, positions):
            label, predicted = int(predictions.label[position]), int(np.argmax(probs[position]))
            said = f"{names[predicted]} ({sure[position]:.2f})" + ("" if right[position] else f", not {names[label]}")
            try:
                video = source.test[position]
                examples.append(make_example(trained, video, title=said, label=label, predicted=predicted))
            except VideoError as error:
                examples.append(Example(said, f"cannot be read: {error}", []))
            done += 1
            advance(done, total)
        text = "" if examples else "There is none."
        if examples:
            text = (
                "The clip is the one that speaks most for the prediction. Bright places spoke for it, as HiResCAM (the "
                "local form of Grad-CAM) finds them."
            )
        yield Section(key, titles[key], text, [Examples(examples)] if examples else [])


def make_example(trained: Trained, video: Video, *, title: str, label: int, predicted: int) -> Example:
    """Returns an example: the clip that speaks most for the predicted class, its activation map, and two charts.

    Args:
      trained: network of the run.
      video: test video.
      title: heading.
      label: class of the video.
      predicted: class that the network has predicted.

    Raises:
      VideoError: the video cannot be read.
    """
    (found,) = trained.predict([video])
    index = int(np.argmax([clip.probs[predicted] for clip in found.clips]))
    clip, fps, start_s = read_clip(trained, video, index)
    rate, names = min(fps, _PLAYED_FPS), trained.class_names
    clips = [("what the network saw", video_uri(clip, fps=rate))]
    shown = [_over_time(found.clips, names, sorted({label, predicted}))]
    try:
        maps = activation_maps(
            trained.network,
            trained.state.variables,
            clip[None],
            np.array([predicted]),
            clip_input=trained.config.clip_input,
        )
    except InputError as error:  # a network from outside may have no features with rows and columns
        return Example(title, f"{video.name}; no map: {error}", clips, shown)
    clips.append((f"where it saw {names[predicted]}", video_uri(overlay(clip, np.asarray(maps.places[0])), fps=rate)))
    shares = [(start_s + number / fps, float(share)) for number, share in enumerate(np.asarray(maps.frames[0]))]
    title_of_shares = f"when it saw {names[predicted]}: share of each frame of the clip"
    shown.append(line_chart(title_of_shares, {"share": shares}, x_label="seconds", marked=("share",)))
    return Example(title, video.name, clips, shown)


def read_clip(trained: Trained, video: Video, index: int) -> tuple[np.ndarray, float, float]:
    """Returns a test clip of a video, `(t h w c)` from the middle crop, its frames per second and its start in seconds.

    Args:
      trained: network of the run, whose test view is used.
      video: video.
      index: number of the clip among the clips of the test view.
    """
    view = trained.test_view
    frames = view.indices(video)[index]
    clip = view(video)[index * view.num_crops + view.num_crops // 2]
    step = max(int(np.max(np.diff(frames), initial=1)), 1)
    return clip, video.fps / step, float(frames.min() / video.fps)


def _over_time(clips: Sequence[ClipPrediction], class_names: Sequence[str], shown: Sequence[int]) -> LineChart:
    series = {
        class_names[k]: [((clip.start_s + clip.end_s) / 2, float(clip.probs[k])) for clip in clips] for k in shown
    }
    title = "probability of each test clip over time"
    return line_chart(title, series, x_label="seconds", unit_range=True, marked=tuple(series))
