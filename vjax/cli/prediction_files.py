"""Predictions as tables and JSON, and the file that `vjax predict --out` writes while it predicts."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from vjax.errors import InputError
from vjax.evaluation.predict import Prediction, rank
from vjax.json_files import GrowingCSV, check_writable

UNKNOWN = "none of these"
TOP = 5  # number of classes shown per video
_ENDINGS = (".csv", ".jsonl")


def check_out(path: str) -> None:
    """Raises an InputError if the file cannot be written or has another ending."""
    if Path(path).suffix.lower() not in _ENDINGS:
        raise InputError(f"--out {path}: the ending decides the format; it must be one of {', '.join(_ENDINGS)}")
    check_writable(path)


class PredictionFile:
    """The file of --out, which has what was predicted so far at any time; None writes nothing."""

    def __init__(self, path: str | None, threshold: float | None):
        self._threshold = threshold
        self._table: GrowingCSV | None = None
        self._lines: TextIO | None = None
        self._opened = contextlib.ExitStack()
        if path and path.lower().endswith(".csv"):
            self._table = self._opened.enter_context(GrowingCSV(path, ["video", "class", "probability"]))
        elif path:
            stream = Path(path).open("w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
            self._lines = self._opened.enter_context(stream)

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def write(self, found: Prediction) -> None:
        """Writes a prediction and flushes it."""
        if self._table is not None:
            self._table.add(*self._rows(found))
        if self._lines is not None:
            entry = prediction_json(found, threshold=self._threshold)
            self._lines.write(json.dumps(entry) + "\n")
            self._lines.flush()

    def _rows(self, found: Prediction) -> Iterator[tuple[str, str, str]]:
        if is_unknown(found, self._threshold):
            yield found.name, UNKNOWN, ""
        for name, probability in found.ranked()[:TOP]:
            yield found.name, name, f"{probability:.6f}"


def is_unknown(prediction: Prediction, threshold: float | None) -> bool:
    """Returns whether no class of a prediction reaches a threshold."""
    return threshold is not None and not prediction.probs.max() >= threshold  # NaN is unknown


def prediction_json(prediction: Prediction, *, threshold: float | None) -> dict[str, Any]:
    """Returns a prediction with all classes and clips, ready for JSON."""
    return {
        "name": prediction.name,
        **({} if threshold is None else {"unknown": is_unknown(prediction, threshold)}),
        "ranked": [{"class": name, "probability": p} for name, p in prediction.ranked()],
        "clips": [
            {
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "ranked": [{"class": name, "probability": p} for name, p in rank(clip.probs, prediction.class_names)],
            }
            for clip in prediction.clips
        ],
    }
