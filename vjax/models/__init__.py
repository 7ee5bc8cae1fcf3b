"""Networks: pure linen modules from clips `(b t h w c)` to votes `(b v k)`."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from vjax import spec
from vjax.models.fusion import EarlyFusion, LateFusion, SingleFrame, SlowFusion
from vjax.models.trunks import TRUNKS

MODELS = {
    "single_frame": SingleFrame,
    "late_fusion": LateFusion,
    "early_fusion": EarlyFusion,
    "slow_fusion": SlowFusion,
}

# The five rungs, from no time at all to time in every layer; what `vjax compare` trains.
LADDER: dict[str, dict[str, Any]] = {
    "single_frame": {"name": "single_frame"},
    "late_pool": {"name": "late_fusion", "fuse": "pool"},
    "late_concat": {"name": "late_fusion", "fuse": "concat"},
    "early_fusion": {"name": "early_fusion"},
    "slow_fusion": {"name": "slow_fusion"},
}

NAMES = tuple(dict.fromkeys([*LADDER, *MODELS]))

_SMALL = {"name": "small"}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create(
    name: str,
    num_classes: int,
    *,
    trunk: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    **kwargs: Any,
) -> nn.Module:
    """Returns a network by name.

    Args:
      name: one of `NAMES`: a key of `MODELS`, or a rung of `LADDER`.
      num_classes: k, the classes a vote is over.
      trunk: `dict(name=..., **kwargs)` with a name of `TRUNKS`; the small trunk if not given.
      dtype: "float32" or "bfloat16", of the computation; parameters, logits and loss stay float32.
      **kwargs: fields of the network's module, such as `dropout` or `fuse`.

    Raises:
      InputError: a name or a key is unknown; the message lists the known ones.

    >>> import jax
    >>> network = create("slow_fusion", 8, trunk={"name": "small", "widths": (8, 16)})
    >>> clips = jnp.zeros((2, 16, 32, 32, 3))
    >>> variables = network.init(jax.random.key(0), clips, train=False)
    >>> network.apply(variables, clips, train=False).shape
    (2, 1, 8)
    """
    spec.check_names([dtype], DTYPES, what="dtype")
    spec.check_names([name], NAMES, what="network")
    rung = LADDER.get(name, {"name": name})
    module = MODELS[rung["name"]]
    # JSON gives lists, and a module is only hashable with tuples.
    hashable = {key: tuple(value) if isinstance(value, list) else value for key, value in (trunk or _SMALL).items()}
    built_trunk = spec.create(
        hashable,
        TRUNKS,
        what="trunk",
        temporal=module.temporal_trunk,
        dtype=DTYPES[dtype],
    )
    given = {key: value for key, value in rung.items() if key != "name"}
    return spec.call(module, kwargs, what=f"network {name!r}", num_classes=num_classes, trunk=built_trunk, **given)
