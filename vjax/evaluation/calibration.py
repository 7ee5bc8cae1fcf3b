"""Whether a network is as often right as it is sure, and how validation videos make it so."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.json_files import read_json, write_json

CALIBRATION_FILE = "calibration.json"  # in the work directory of a run with a validation split
_BINS = 10
_LOWEST = float(np.finfo(np.float32).tiny)  # stands for a probability of 0
_DEVIATION, _FARTHEST = 0.5, 3.0  # of the logarithm of a temperature


def calibration_error(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the expected calibration error: the mean distance between how sure and how often right a network is.

    The videos are put into ten bins by the probability of their predicted class. Each bin counts by its number of
    videos. The error of few videos is too large: even of a network that is as often right as it is sure, each bin has
    another accuracy by chance.

    Args:
      rows: what `reliability` returns.

    Source: Guo et al. 2017, "On calibration of modern neural networks"; with ten bins instead of 15.

    >>> calibration_error(reliability(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1])))
    0.0
    """
    total = sum(row["num_videos"] * abs(row["accuracy"] - row["probability"]) for row in rows)
    return float(total / max(sum(row["num_videos"] for row in rows), 1))


def reliability(probs: np.ndarray, label: np.ndarray) -> list[dict[str, Any]]:
    """Returns a row for each bin of probability that has videos, ready for JSON.

    A row has the ends of the bin, `above` and `up_to`; `num_videos`; the mean `probability` of the predicted classes;
    and the `accuracy`.

    Args:
      probs: `(num_videos k)`, probabilities of each video.
      label: `(num_videos)`, index of each video's class.
    """
    # A network that gives NaN is sure of nothing.
    sure, right = np.nan_to_num(probs.max(axis=1).astype(float)), metrics.top_k_correct(probs, label, k=1)
    bin_of = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    return [
        {
            "above": number / _BINS,
            "up_to": (number + 1) / _BINS,
            "num_videos": int(inside.sum()),
            "probability": float(sure[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(_BINS)
        if (inside := bin_of == number).any()
    ]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How sure a network was of each validation video, and whether it was right.

    Attributes:
      step: step of the state that was measured.
      temperature: number that the logarithms of the probabilities are divided by; above 1 if the network was too sure.
      sure: `(num_videos)`, probability of the predicted class of each video, with the temperature.
      right: `(num_videos)`, whether the predicted class is the label.
    """

    step: int
    temperature: float
    sure: np.ndarray
    right: np.ndarray

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """Returns probabilities `(*b k)` with the temperature; their order stays the same."""
        return _with_temperature(probs, self.temperature)

    def threshold(self, precision: float) -> float:
        """Returns the lowest probability from which on answers are right with a precision: others are "none of these".

        The precision is that on the validation videos with one more video, which is wrong: few videos show little.

        Args:
          precision: share of right answers among those at or above the threshold, in (0, 1).

        Raises:
          InputError: the validation videos cannot show this precision.
        """
        if not 0 < precision < 1:
            raise InputError(f"a precision must lie in (0, 1), got {precision:g}")
        order = np.argsort(-self.sure, kind="stable")
        sure, right = self.sure[order], self.right[order]
        shown = np.cumsum(right) / (np.arange(len(right)) + 2)
        # Videos of the same probability are answered together.
        last = np.append(sure[1:] < sure[:-1], True)[: len(sure)]
        enough = np.flatnonzero(last & (shown >= precision))
        if not len(enough):
            raise InputError(
                f"the {len(right)} validation videos show a precision of at most {shown[last].max(initial=0.0):.3f}, "
                f"not {precision:g}; ask for a lower precision, or train with more validation videos"
            )
        return float(sure[enough[-1]])


def fit_calibration(probs: np.ndarray, label: np.ndarray, *, step: int) -> Calibration:
    """Fits a temperature to the probabilities of validation videos: the most probable one.

    Args:
      probs: `(num_videos k)`, probabilities of each video.
      label: `(num_videos)`, index of each video's class.
      step: step of the state that gave the probabilities.

    Source: Guo et al. 2017, "On calibration of modern neural networks" (temperature scaling). Deviations: the
    temperature acts on the probabilities of a video, which are means over its clips, not on logits. Its logarithm has a
    normal distribution around 0 before the videos are seen, with a deviation of 0.5: few videos that are all right
    would otherwise make the network sure of everything (docs/trust.md, "Scores").
    """
    from scipy import optimize  # imported here, because all commands that do not train start faster without it

    known = np.isfinite(probs).all(axis=1)
    probs, label = probs[known].astype(float), label[known]

    def cost(log_temperature: float) -> float:
        of_label = np.take_along_axis(_with_temperature(probs, math.exp(log_temperature)), label[:, None], axis=1)
        return float(-np.log(of_label).sum() + (log_temperature / _DEVIATION) ** 2 / 2)

    found: Any = optimize.minimize_scalar(cost, bounds=(-_FARTHEST, _FARTHEST), method="bounded")
    temperature = math.exp(found.x)
    right = metrics.top_k_correct(probs, label, k=1)
    sure = _with_temperature(probs, temperature).max(axis=1, initial=0.0)
    return Calibration(step, temperature, sure, np.asarray(right, bool))


def write_calibration(workdir: Path, calibration: Calibration) -> None:
    """Writes a calibration into a work directory."""
    plain = dataclasses.asdict(calibration)
    write_json(workdir / CALIBRATION_FILE, plain | {key: plain[key].tolist() for key in ("sure", "right")})


def read_calibration(workdir: Path, *, step: int) -> Calibration | None:
    """Returns the calibration of the state of a step; None if the work directory has none, or one of another step."""
    path = workdir / CALIBRATION_FILE
    if not path.exists() or (found := read_json(path))["step"] != step:
        return None
    return Calibration(step, found["temperature"], np.array(found["sure"], float), np.array(found["right"], bool))


def _with_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    # In double precision, so that a video is on the same side of a threshold wherever this is computed.
    log_probs = np.log(np.maximum(np.asarray(probs, float), _LOWEST)) / temperature
    powers = np.exp(log_probs - log_probs.max(axis=-1, keepdims=True))
    return np.maximum(powers / powers.sum(axis=-1, keepdims=True), _LOWEST)
