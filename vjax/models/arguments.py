"""Arguments that several networks have, with the texts that `vjax config FILE --explain` shows."""

from typing import Annotated

import jax.numpy as jnp

from vjax.models.backbones import BACKBONES
from vjax.spec import Choice, OneOf

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

Backbone = Annotated[
    Choice, BACKBONES, "network that maps clips or frames to features: a name of `BACKBONES` and its options."
]
Dropout = Annotated[float, "rate, in [0, 1), of the dropout before the classifier; active in training only."]
DropoutOfLayers = Annotated[
    float, "rate, in [0, 1), of the dropout after each of the two fully connected layers; active in training only."
]
DType = Annotated[str, OneOf(DTYPES), "dtype of the computation; parameters, logits and loss stay float32."]
Remat = Annotated[bool, "whether the backward pass recomputes the inside of a stage instead of keeping it in memory."]
