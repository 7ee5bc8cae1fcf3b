"""A family of networks that a stranger adds: one file, with one row of `NETWORKS` in the test."""

import flax.linen as nn

from vjax.models.card import Card, Figure, Preprocessing, Weights, described
from vjax.models.fusion import Head


class Colours(nn.Module):
    """The mean colour of a clip, a layer of eight, and the classifier."""

    num_classes: int

    @nn.compact
    def __call__(self, clips, *, train):
        features = nn.relu(nn.Dense(8, name="mix")(clips.mean((1, 2, 3))))
        return Head(self.num_classes, 0.0, name="head")(features[:, None], train=train)


def torch_names(variables):
    """Returns the name that the published network gives to each variable."""
    del variables
    layers = {"mix": "mix", "head/logits": "fc"}
    leaves = {"kernel": "weight", "bias": "bias"}
    return {f"params/{ours}/{leaf}": f"{layers[ours]}.{leaves[leaf]}" for ours in layers for leaf in leaves}


@described(
    Card(
        "Colours",
        source="a stranger's paper",
        clip=(4, 16, 16),
        num_classes=5,
        parameters=77,
        multiply_adds=64,
        figures=(Figure("Paints", "video@1", 12.5, "1 clip x 1 crop of 4 frames", "a stranger's paper"),),
        deviations="There are none.",
        torch_names=torch_names,
        weights=(
            Weights(
                "stranger:colours",
                "colours-00c0ffee.pth",
                num_classes=5,
                dataset="Paints",
                source="https://example.org/colours-00c0ffee.pth",
                preprocessing=Preprocessing(num_frames=4, fps=5.0, mean=(0.5, 0.5, 0.5)),
            ),
        ),
    )
)
def colours(num_classes: int):
    """Returns a network that looks at colours alone."""
    return Colours(num_classes)
