"""wsiseg: whole-slide nucleus segmentation that is exact, restartable and as fast as the network."""

__version__ = "0.1.0"
