"""The model card of an exported network: what it was trained on, how good it is, and where it may fail."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vjax import workdirs
from vjax.config import PATHS
from vjax.data.splits import without_place
from vjax.json_files import read_json
from vjax.text import count, format_table
from vjax.trained import Trained

_MOST_CLASSES = 100  # rows
_MARKS = re.compile(r"[\\`*_<>\[\]|#]")  # of Markdown and HTML


def model_card(trained: Trained, *, files: Mapping[str, str]) -> str:
    """Returns the card in Markdown.

    Args:
      trained: network of a run.
      files: what is in each file beside the card.
    """
    result = workdirs.finished_result(trained.workdir)
    parts = [
        f"# {trained.network_name}: {count(len(trained.class_names), 'class', 'classes')}",
        "A network that names the class of a video, trained with vjax.",
        _bullets(f"{name}: {value}" for name, value in trained.facts()),
        "## Files",
        _bullets(f"`{name}`: {content}" for name, content in files.items()),
        "`python run.py VIDEO...` prints the classes of videos.",
        "## Input and output",
        _input(trained),
        "## Training data",
        _training_data(trained),
        "## How good it is",
        *(
            _numbers(result, trained)
            if result is not None
            else ["The run was not finished when this was written: not known."]
        ),
        "## Limits",
        _bullets(_limits(trained, result)),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _input(trained: Trained) -> str:
    t, h, w, c = trained.test_view.shape[1:]
    return (
        f"The model takes uint8 clips `(b {t} {h} {w} {c})`, RGB, any b, and returns probabilities `(b "
        f"{len(trained.class_names)})` in the order of `labels.json`. Normalization is inside. Of a video, it takes "
        f"{trained.test_view.describe()}. The probabilities of the video are the mean over them, with the temperature "
        "of `preprocessing.json`. `clips.py` makes the clips."
    )


def _training_data(trained: Trained) -> str:
    config, names = trained.config, ", ".join(map(_plain, trained.class_names[:_MOST_CLASSES]))
    options = ", ".join(f"{key}={value!r}" for key, value in config.source.options.items() if key not in PATHS)
    counted, path = "", trained.workdir / "data.json"
    if path.exists():
        counts = read_json(path)
        counted = (
            f"{count(counts['train'], 'video')} to train on, {counts['val']:,} to choose by, {counts['test']:,} to "
            f"test on; split {without_place(counts['split'], config.keep_split)}. "
        )
    return (
        f"Source `{config.source.name}`{f' ({options})' if options else ''}: {counted}{int(trained.state.step):,} "
        f"steps of {count(config.batch_size, 'clip')}. Classes: {names}"
        f"{', ...' if len(trained.class_names) > _MOST_CLASSES else ''}."
    )


def _plain(name: str) -> str:
    """Returns the name of a class as text of Markdown, in one line."""
    return _MARKS.sub(r"\\\g<0>", " ".join(name.split()))


def _numbers(result: Mapping[str, Any], trained: Trained) -> Iterator[str]:
    low, high = result["video@1_interval"]
    yield (
        f"It is right about {result['video@1']:.1%} of {count(result['num_videos'], 'test video')} (95 % interval "
        f"{low:.1%} to {high:.1%}; chance {result['chance']:.1%}). Mean of the classes: {result['mean_class']:.1%}. "
        f"Expected calibration error: {result.get('calibrated_error', result['calibration_error']):.3f}."
    )
    yield f"Protocol: {without_place(result['protocol'], trained.config.keep_split)}."
    rows = [(_plain(name), of) for name, of in list(result["class_accuracy"].items())[:_MOST_CLASSES]]
    yield format_table(["class", "accuracy"], rows)


def _limits(trained: Trained, result: Mapping[str, Any] | None) -> Iterator[str]:
    """Yields what one must know before one relies on the network."""
    yield "It answers with one of its classes for any video, also where none of them is to be seen."
    yield "The numbers hold for videos like those of the test split: of the same cameras, places and people."
    yield f"It was tested on {trained.test_view.timing.describe()}; other rates and lengths are other data."
    yield from result["notes"] if result is not None else ()
