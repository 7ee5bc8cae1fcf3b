"""The preprocessing that belongs to weights, in the config of a run that starts from them."""

from collections.abc import Iterator
from typing import Any

from vjax import typed
from vjax.config import Config, check_config
from vjax.models.card import Preprocessing
from vjax.ops.frames import as_size
from vjax.training.pretrained import find_pretrained

# The fields of `Preprocessing`, in their order; the other two ways to say the distance of frames; and a key that no
# card states.
_KEYS = (
    "clip.num_frames",
    "clip.fps",
    "clip.size",
    "test.crop_share",
    "normalization.mean",
    "normalization.std",
    "clip.stride",
    "clip.duration_s",
    "clip.input",
)


def bind_preprocessing(config: Config) -> tuple[Config, tuple[str, ...]]:
    """Returns a checked config with the preprocessing of the weights that it starts from, and what to say about it.

    The keys of the clip, the test crop and the normalization that the card of the weights states replace those of the
    config, unless `config.init.preprocessing` is "config". Nothing changes for a run from random parameters or from
    weights that no card describes. Applied twice, it changes nothing more.

    Raises:
      InputError: `config.init.weights` is the name of no weights.
    """
    text = config.init.weights
    if not text:
        return config, ()
    published = find_pretrained(text).published
    if published is None:
        return config, ()
    plain = typed.as_plain(config)
    wanted = {key: value for key, value in keys_of(published.preprocessing) if _get(plain, key) != value}
    if config.init.preprocessing == "config":
        kept = [f"{key} is {_get(plain, key)!r}, not {value!r}" for key, value in wanted.items()]
        return config, tuple(f"other preprocessing than that of {published.name}: {line}" for line in kept)
    said = tuple(f"preprocessing of {published.name}: {key} is {value!r} instead of {_get(plain, key)!r}"
                 for key, value in wanted.items())  # fmt: skip
    for key, value in wanted.items():
        section, _, name = key.partition(".")
        plain[section][name] = value
    return check_config(plain), said


def keys_of(preprocessing: Preprocessing) -> Iterator[tuple[str, Any]]:
    """Yields the keys of the config that a preprocessing states, and their values.

    >>> dict(keys_of(Preprocessing(fps=15.0)))
    {'clip.fps': 15.0, 'clip.stride': None, 'clip.duration_s': None}
    """
    stated = dict(zip(_KEYS, typed.as_mapping(preprocessing).values(), strict=False))
    yield from ((key, value) for key, value in stated.items() if value is not None)
    if preprocessing.fps is not None:
        # Only one of the three can be set.
        yield from (("clip.stride", None), ("clip.duration_s", None))


def list_differences(there: Config, here: Config) -> list[str]:
    """Returns the keys of the preprocessing that differ between two configs: "clip.fps 5.0 there, 15.0 here"."""
    pairs = {key: (_get(typed.as_plain(there), key), _get(typed.as_plain(here), key)) for key in _KEYS}
    return [f"{key} {theirs!r} there, {ours!r} here" for key, (theirs, ours) in pairs.items() if theirs != ours]


def _get(plain: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    value = plain[section][name]
    return as_size(value) if key == "clip.size" else value
