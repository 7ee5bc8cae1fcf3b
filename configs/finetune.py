r"""Your own videos: R(2+1)D-18 from torchvision's weights of Kinetics-400, with a new classifier.

    python train.py --config configs/finetune.py --config.source.root=DIR_OR_CSV \
      --config.init.weights=torchvision:r2plus1d_18=FILE

`DIR_OR_CSV` is as in configs/folder.py; `FILE` is torchvision's `r2plus1d_18-91a641e6.pth`. Clips have the frame rate
and the normalization of the weights. The classifier learns alone at first. Then all layers learn, the others with a
tenth of its learning rate. Batch norms keep the statistics of Kinetics-400. For a small dataset, freeze the first
stages with `layer_rates` (docs/weights.md, "Fine-tune").

Source: Tran et al. 2018, and torchvision's `R2Plus1D_18_Weights.KINETICS400_V1`. The learning rates are ours. Cost:
40.5 G multiply-adds per clip and forward pass; we did not measure the full run. Published: video@1 67.46 on
Kinetics-400 for these weights; for your videos there is no figure.
"""

from vjax.config import Choice, Config, InitFrom


def get_config() -> Config:
    return Config(
        source=Choice("videos", root=""),
        network=Choice("r2plus1d_18", dropout=0.3),
        init=InitFrom(weights="torchvision:r2plus1d_18=r2plus1d_18-91a641e6.pth"),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=100),
        layer_rates="backbone=0.1",
        freeze_norms=True,
        head_warmup=200,
        label_smoothing=0.1,
    )
