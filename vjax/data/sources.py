"""Sources by name: made videos, and real ones from files, archives and prepared stores."""

from collections.abc import Callable, Mapping
from typing import Any

from vjax import spec
from vjax.data.datasets import hmdb51, kinetics, moving_shapes, something_something, ucf101, weizmann
from vjax.data.datasets.tfds_videos import open_tfds
from vjax.data.files import open_files
from vjax.data.listing import Listing, list_videos
from vjax.data.store import is_store, open_store
from vjax.data.video import Source
from vjax.errors import InputError

# Data sets that are files: from their options to the files, their labels and their splits.
LISTINGS: dict[str, Callable[..., Listing]] = {
    "videos": list_videos,
    "hmdb51": hmdb51.list_videos,
    "kinetics": kinetics.list_videos,
    "something_something": something_something.list_videos,
    "ucf101": ucf101.list_videos,
    "weizmann": weizmann.list_videos,
}


def open_source(config: Mapping[str, Any], *, seed: int, held_out: str = "") -> Source:
    """Returns the source a config names.

    Args:
      config: `dict(name=..., **kwargs)` with a name of `SOURCES`.
      seed: draws a split where one has to be made.
      held_out: comma-separated groups that make the test split; empty where the source splits otherwise.

    Raises:
      InputError: nothing, or nothing consistent, is found there.
    """
    spec.check_names([config.get("name", "")], SOURCES, what="config.source")
    return SOURCES[config["name"]](config, seed=seed, held_out=held_out)


def open_listed(config: Mapping[str, Any], *, seed: int, held_out: str) -> Source:
    """Returns the videos of a data set of `LISTINGS`, from its files or from a prepared store.

    Beside the options of its listing, of which `root` may also be what `vjax prepare` wrote, `config` has

      test_share: share of each class that a made split puts into test; 0.2 if not given.
      max_bad_share: more unreadable videos than this share of all is an error; 0.1 if not given.
    """
    options = {key: value for key, value in config.items() if key not in ("test_share", "max_bad_share")}
    test_share = config.get("test_share", 0.2)
    how = {
        "seed": seed,
        "held_out": held_out,
        "test_share": test_share,
        "max_bad_share": config.get("max_bad_share", 0.1),
    }
    if not 0 < test_share < 1:
        raise InputError(f"config.source.test_share is a share between 0 and 1, got {test_share}")
    check_listing(options)
    if is_store(options["root"]):
        return open_store(options["root"], options, **how)
    return open_files(list_source(options), root=options["root"], **how)


def check_listing(options: Mapping[str, Any]) -> None:
    """Raises an InputError unless the options are those of a listing."""
    name = options["name"]
    spec.check_names([name], LISTINGS, what="config.source")
    kwargs = {key: value for key, value in options.items() if key != "name"}
    spec.check_arguments(LISTINGS[name], kwargs, what=f"config.source {name!r}")


def list_source(options: Mapping[str, Any]) -> Listing:
    """Returns the files of a data set of `LISTINGS`."""
    return spec.create(options, LISTINGS, what="config.source")


def open_moving_shapes(
    *,
    seed: int,
    held_out: str,
    data_dir: str,
    label: str = "motion",
    num_train: int = 2000,
    num_test: int = 400,
    size: int = 40,
    data_seed: int = 0,
) -> Source:
    """Returns the made data set `moving_shapes`, writing it under `data_dir` the first time.

    Args:
      seed: not used: the data set stays the same from run to run.
      held_out: must be empty; the test split is made with other random numbers.
      data_dir: where the data set is kept.
      label: what the class is: "motion", "shape", or "both".
      num_train: training videos.
      num_test: test videos.
      size: pixels of a frame's side.
      data_seed: of everything drawn.
    """
    del seed
    if held_out:
        raise InputError(f"moving_shapes has no groups to hold out, got held_out={held_out!r}")
    options = moving_shapes.Options(label, num_train, num_test, size, data_seed)
    builder = moving_shapes.prepare(options, data_dir=data_dir)
    train, test = (moving_shapes.open_split(builder, split) for split in ("train", "test"))
    return Source(
        class_names=tuple(options.class_names),
        train=train,
        test=test,
        split="held-out made videos",
    )


def _open_records(config: Mapping[str, Any], *, seed: int, held_out: str) -> Source:
    return spec.create(config, _RECORDS, what="config.source", seed=seed, held_out=held_out)


# Data sets that are records already.
_RECORDS: dict[str, Callable[..., Source]] = {"moving_shapes": open_moving_shapes, "tfds": open_tfds}
SOURCES: dict[str, Callable[..., Source]] = dict.fromkeys(_RECORDS, _open_records) | dict.fromkeys(
    LISTINGS, open_listed
)
