"""From maps to nuclei: which block owns each, its polygon and its measurements."""

from wsiseg.instances.planes import Planes
from wsiseg.instances.window import DecodedBlock, Decoding, decode_block

__all__ = ["DecodedBlock", "Decoding", "Planes", "decode_block"]
