"""The encoders of our U-Nets: which there are, what they expect, and where their ImageNet weights come from."""

from wsiseg.models.encoders.registry import encoder_names, preprocessing, register_encoders, smp_name
from wsiseg.models.encoders.weights import load_encoder_weights, load_imagenet

__all__ = [
    "encoder_names",
    "load_encoder_weights",
    "load_imagenet",
    "preprocessing",
    "register_encoders",
    "smp_name",
]
