"""Encoders by name: all of smp's, and an Inception-V3 of our own, which smp lacks."""

from __future__ import annotations

import segmentation_models_pytorch as smp

from wsiseg.models.encoders.inception import InceptionV3Encoder

Triple = tuple[float, float, float]

INCEPTION = "inceptionv3"
_IMAGENET: tuple[Triple, Triple] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALVES: tuple[Triple, Triple] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_PREPROCESSING: dict[str, tuple[Triple, Triple]] = {
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "inception": _HALVES,
    "timm-tf_efficientnet_lite": _HALVES,
    "xception": _HALVES,
}
"""Where they are not ImageNet's: by how the name begins. smp has them on the hub only, so not offline."""


_TOO_LARGE = ("resnext101_32x32d", "resnext101_32x48d", "timm-efficientnet-l2")
"""Encoders of more than a quarter of a billion parameters: naming one must not be enough to fill the memory."""


def encoder_names() -> list[str]:
    """Name every encoder that a bundle may have.

    smp also takes `tu-` names of all of timm. Those change with timm, and a bundle must not.
    """
    return sorted({*smp.encoders.get_encoder_names(), INCEPTION} - {smp_name(INCEPTION), *_TOO_LARGE})


def preprocessing(encoder: str) -> tuple[Triple, Triple]:
    """Give the mean and standard deviation, RGB from 0 to 1, that an encoder's ImageNet weights expect."""
    special = (values for beginning, values in _PREPROCESSING.items() if encoder.startswith(beginning))
    return next(special, _IMAGENET)


def register_encoders() -> None:
    """Enter our own encoders into smp's table, in its form; a second call changes nothing."""
    weights = {"repo_id": "timm/inception_v3.tv_in1k", "revision": "main"}
    smp.encoders.encoders[smp_name(INCEPTION)] = {
        "encoder": InceptionV3Encoder,
        "params": {},
        "pretrained_settings": {"imagenet": weights},
    }


def smp_name(encoder: str) -> str:
    """Give the name by which smp knows an encoder; ours have one that no encoder of smp's own will have."""
    return f"wsiseg-{encoder}" if encoder == INCEPTION else encoder
