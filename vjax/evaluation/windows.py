"""Windows that slide over the frames of a long video, and their probabilities."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.errors import InputError
from vjax.evaluation.infer import ClipProbs, clip_probs
from vjax.models.fusion import PerFrame
from vjax.ops.clip_input import ClipInput

T = TypeVar("T")
Window = tuple[int, np.ndarray]  # number of its first frame, and its frames (t h w c)
# Function from windows of one video, in their order, to their probabilities `(n k)`.
WindowProbs = Callable[[Sequence[Window]], np.ndarray]


def check_hop(hop: int) -> None:
    """Raises an InputError if windows do not move."""
    if hop < 1:
        raise InputError(f"a window must move by 1 frame or more, got {hop}")


class Slider(Generic[T]):
    """A window of `num_frames` frames that moves by `hop`; what a frame is, only the caller knows."""

    def __init__(self, *, num_frames: int, hop: int):
        """Begins without frames.

        Raises:
          InputError: the hop is below 1.
        """
        check_hop(hop)
        self._num_frames, self._hop = num_frames, hop
        self._held: collections.deque[T] = collections.deque(maxlen=num_frames)
        self._count = self._begun = 0  # frames so far, and those before this run
        self._shown = 0  # frames at the last window

    def begin_anew(self) -> tuple[int, list[T]] | None:
        """Forgets the frames so far; returns a window of them, looped, if they are fewer than a window, or None."""
        short = self.last() if self._count - self._begun < self._num_frames else None
        self._held.clear()
        self._begun = self._count
        return short

    def add(self, frame: T) -> tuple[int, list[T]] | None:
        """Takes a frame; returns the window that it completes, with the number of its first frame, or None."""
        self._held.append(frame)
        self._count += 1
        over = self._count - self._begun - self._num_frames
        if over < 0 or over % self._hop:
            return None
        self._shown = self._count
        return self._count - self._num_frames, list(self._held)

    def last(self) -> tuple[int, list[T]] | None:
        """Returns a window that ends with the last frame, unless one did; fewer frames than a window are looped."""
        held = len(self._held)
        if not held or self._shown == self._count:
            return None
        return self._count - held, [self._held[index % held] for index in range(self._num_frames)]


def slide(frames: Iterable[np.ndarray], *, num_frames: int, hop: int) -> Iterator[Window]:
    """Yields windows `(t h w c)` of frames, each with the number of its first frame.

    The last window ends with the last frame. Fewer frames than a window are looped.

    Raises:
      InputError: the hop is below 1.

    >>> [first for first, _ in slide(iter(np.zeros((10, 1, 1, 3))), num_frames=4, hop=3)]
    [0, 3, 6]
    >>> [first for first, _ in slide(iter(np.zeros((9, 1, 1, 3))), num_frames=4, hop=3)]
    [0, 3, 5]
    """
    slider = Slider[np.ndarray](num_frames=num_frames, hop=hop)
    for frame in frames:
        if found := slider.add(frame):
            yield found[0], np.stack(found[1])
    if found := slider.last():
        yield found[0], np.stack(found[1])


class Inference(Protocol):
    """The compiled inference of a network on windows; one object serves many videos."""

    def start(self, *, rows: int, hop: int) -> WindowProbs:
        """Returns the function for the windows of one video, in batches of up to `rows`, which move by `hop` frames."""
        ...


def compile_windows(
    network: nn.Module, clip_input: ClipInput, mesh: Mesh
) -> Callable[[Any, Callable[[Any], ClipProbs]], Inference]:
    """Jits the inference on windows; calling the result with variables and the inference on clips gives an `Inference`.

    The network of a `PerFrame` computes the features of each frame once, for all windows that have it, unless its input
    depends on the clip, as that of differences does.
    """
    if not isinstance(network, PerFrame) or clip_input.kind != "rgb":
        return lambda variables, infer_clips: WholeWindows(infer_clips, mesh)

    @functools.partial(jax.jit, out_shardings=meshes.replicated(mesh))
    def encode(variables: Any, frames: jax.Array) -> jax.Array:
        features = network.apply(variables, clip_input(frames[:, None]), train=False, method="encode")
        assert isinstance(features, jax.Array)
        return features[:, 0]

    @functools.partial(jax.jit, out_shardings=meshes.replicated(mesh))
    def fuse(variables: Any, features: jax.Array) -> jax.Array:
        logits = network.apply(variables, features, train=False, method="fuse")
        assert isinstance(logits, jax.Array)
        return clip_probs(logits).probs

    return lambda variables, _: SharedFrames(
        functools.partial(encode, variables), functools.partial(fuse, variables), mesh
    )


class WholeWindows:
    """Inference that computes each window from its frames."""

    def __init__(self, infer_clips: Callable[[Any], ClipProbs], mesh: Mesh):
        self._infer_clips, self._mesh = infer_clips, mesh

    def start(self, *, rows: int, hop: int) -> WindowProbs:
        """Returns the function for one video; see `Inference`."""
        del hop
        rows = meshes.round_up(rows, self._mesh)

        def infer(windows: Sequence[Window]) -> np.ndarray:
            clips = np.stack([clip for _, clip in windows])
            return in_batches(lambda batch: self._infer_clips(batch).probs, clips, rows, self._mesh)

        return infer


class SharedFrames:
    """Inference that computes the features of each frame once."""

    def __init__(self, encode: Callable[[Any], Any], fuse: Callable[[Any], Any], mesh: Mesh):
        self._encode, self._fuse, self._mesh = encode, fuse, mesh

    def start(self, *, rows: int, hop: int) -> WindowProbs:
        """Returns the function for one video; see `Inference`."""
        features: dict[int, np.ndarray] = {}  # by the number of the frame; those of frames that no window has left
        rows = meshes.round_up(rows, self._mesh)

        def infer(windows: Sequence[Window]) -> np.ndarray:
            for number in [number for number in features if number < windows[0][0]]:
                del features[number]
            new = {
                first + index: frame
                for first, clip in windows
                for index, frame in enumerate(clip)
                if first + index not in features
            }
            if new:
                # As many frames at a time as a batch of windows adds.
                num_encoded = meshes.round_up(rows * min(hop, len(windows[0][1])), self._mesh)
                found = in_batches(self._encode, np.stack(list(new.values())), num_encoded, self._mesh)
                features.update(zip(new, found, strict=True))
            stacked = np.stack([[features[first + index] for index in range(len(clip))] for first, clip in windows])
            return in_batches(self._fuse, stacked, rows, self._mesh)

        return infer


def in_batches(call: Callable[[Any], Any], array: np.ndarray, size: int, mesh: Mesh) -> np.ndarray:
    """Returns the outputs `(n ...)` of a compiled function on an array `(n ...)`, computed in batches of one size.

    The last batch is filled with its last row, so that all share a compiled program.
    """
    outputs = []
    for start in range(0, len(array), size):
        part = array[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        outputs.append(np.asarray(call(meshes.put_batch(filled, mesh)))[: len(part)])
    return np.concatenate(outputs)
