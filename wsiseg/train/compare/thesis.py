"""What the thesis reports: table 5.1, for its three networks, all begun with ImageNet weights."""

from __future__ import annotations

from dataclasses import dataclass

from wsiseg.train.compare.runs import Figures


@dataclass(frozen=True, slots=True)
class Reported:
    """One row of table 5.1."""

    name: str
    """The thesis' name of the encoder."""
    train: Figures
    val: Figures


TABLE_5_1: dict[str, Reported] = {
    "inceptionv3": Reported(
        "Inception-V3",
        train=Figures(loss=0.1743, iou=0.8494, fscore=0.9178),
        val=Figures(loss=0.3767, iou=0.7020, fscore=0.8220),
    ),
    "efficientnet-b2": Reported(
        "EfficientNet-B2",
        train=Figures(loss=0.1950, iou=0.8317, fscore=0.9072),
        val=Figures(loss=0.3684, iou=0.7060, fscore=0.8253),
    ),
    "resnet34": Reported(
        "ResNet-34",
        train=Figures(loss=0.1694, iou=0.8539, fscore=0.9205),
        val=Figures(loss=0.3798, iou=0.7019, fscore=0.8223),
    ),
}
"""Encoder, by its name in a bundle -> its row."""
KERAS_MEAN_IOU = 0.7101
"""Keras' mean IoU of a single batch of validation fields."""
