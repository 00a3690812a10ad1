"""Regions that people drew: a region of interest from QuPath, and tissue masks as images or GeoJSON."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import shapely
from PIL import Image, UnidentifiedImageError

from wsiseg.errors import SettingsError
from wsiseg.fsio import read_bounded
from wsiseg.geometry import Frame
from wsiseg.tissue.mask import Tissue

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.slides import SlideInfo

LARGEST_FILE = 2**28
"""Bytes: an annotation file above 256 MB is something else."""
LARGEST_COORDINATE = 1e9
"""Pixels: a thousand times the largest slide."""
MASK_FORMATS = ("PNG", "TIFF", "JPEG", "BMP", "GIF")
"""What an image may be: pillow hands some others to a program outside."""
_BROKEN_IMAGE = (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error, zlib.error)
"""What pillow raises over an image that is damaged."""
MASK_PX = 4096
"""Longer side of the mask into which polygons of tissue are drawn; at 100,000 px of slide, 6 um at 0.25 um/px."""
LARGEST_ASPECT_ERROR = 0.05
"""A mask whose proportions differ more from the slide's was made for another slide or a part of this one."""


class _Unusable(ValueError):
    """Why a file cannot be used; the caller knows the code."""


def load_roi(path: Path | str, info: SlideInfo) -> Any:  # noqa: ANN401  shapely is not typed
    """Load a region of interest.

    Parameters
    ----------
    path
        GeoJSON as QuPath exports it: a Feature, a FeatureCollection, an array of features or a bare geometry,
        of polygons in QuPath's coordinates (level 0 less the bounds' origin).

    Returns
    -------
    One valid shapely geometry, a polygon or several, in level-0 pixels.

    Raises
    ------
    SettingsError
        E-ROI: no such file, no GeoJSON, no polygon in it, or none that meets the slide.
    """
    try:
        return _polygons_in(Path(path), info)
    except (_Unusable, OSError) as error:
        raise SettingsError("E-ROI", f"the region cannot be used: {_reason(error)}", where=path) from error


def load_tissue(path: Path | str, info: SlideInfo) -> Tissue:
    """Load a tissue mask: GeoJSON as for `load_roi`, or an image that covers the slide's area.

    In an image every pixel that is not black is tissue; it is stretched over the area, whatever its size.

    Raises
    ------
    SettingsError
        E-TISSUE.
    """
    file = Path(path)
    try:
        if file.suffix.lower() in {".geojson", ".json"}:
            return _drawn(_polygons_in(file, info), info)
        return _stretched(_image_mask(file), info)
    except (_Unusable, OSError) as error:
        raise SettingsError("E-TISSUE", f"the tissue mask cannot be used: {_reason(error)}", where=path) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _polygons_in(path: Path, info: SlideInfo) -> Any:  # noqa: ANN401
    """Read GeoJSON and give the union of its polygons in level 0, cut to the slide's area."""
    data = read_bounded(path, LARGEST_FILE)
    try:
        document = json.loads(data)
        polygons = [part for geometry in _geometries(document) for part in _polygons(geometry)]
    except _Unusable:
        raise
    except RecursionError as error:
        raise _Unusable("it is nested too deeply") from error
    except ValueError as error:
        raise _Unusable(f"it is not JSON ({error})") from error
    if not polygons:
        raise _Unusable("it holds no polygon")
    try:
        return _within(polygons, info)
    except shapely.errors.GEOSException as error:
        raise _Unusable(f"its coordinates cannot be reckoned with ({error})") from error


def _within(polygons: list[Any], info: SlideInfo) -> Any:  # noqa: ANN401
    """Unite polygons, move them to level 0 and cut them to the slide's area."""
    area = info.area
    merged = shapely.union_all([shapely.make_valid(polygon, method="structure") for polygon in polygons])
    moved = shapely.transform(merged, lambda points: points + (area.x, area.y))
    whole = shapely.box(area.x, area.y, area.right, area.bottom)
    inside = shapely.intersection(moved, whole)
    if shapely.area(inside) == 0:
        raise _Unusable(f"no polygon meets the slide, which is {area.width} x {area.height} px")
    return inside


def _geometries(document: object) -> list[Any]:
    """Unwrap collections, features and arrays of them into bare geometries."""
    if isinstance(document, list):
        return [geometry for each in document for geometry in _geometries(each)]
    if not isinstance(document, dict):
        raise _Unusable("it is not GeoJSON")
    match document.get("type"):
        case "FeatureCollection":
            return _geometries(document.get("features"))
        case "GeometryCollection":
            return _geometries(document.get("geometries"))
        case "Feature":
            return _geometries(document.get("geometry"))
        case _:
            return [document]


def _polygons(geometry: Any) -> list[Any]:  # noqa: ANN401  parsed JSON
    """Turn a GeoJSON Polygon or MultiPolygon into shapely polygons."""
    kind = geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise _Unusable(f"it holds a {str(kind)[:40]}; only polygons enclose a region")
    rings_of = geometry.get("coordinates")
    try:
        many = [rings_of] if kind == "Polygon" else list(rings_of)
        polygons = [shapely.Polygon(_ring(rings[0]), [_ring(hole) for hole in rings[1:]]) for rings in many]
    except (TypeError, ValueError, LookupError, OverflowError, shapely.errors.GEOSException) as error:
        raise _Unusable(f"the coordinates of a {kind} are not rings of points ({str(error)[:200]})") from error
    return polygons


def _ring(points: object) -> npt.NDArray[np.float64]:
    ring = np.asarray(points, np.float64)[:, :2]
    if not (np.abs(ring) <= LARGEST_COORDINATE).all():
        raise ValueError("a coordinate is not finite, or beyond any slide")
    return ring


def _drawn(region: Any, info: SlideInfo) -> Tissue:  # noqa: ANN401  shapely is not typed
    """Draw polygons into a mask; their edges are drawn too, so that no touched pixel is lost."""
    area = info.area
    frame = Frame.over(area, max(area.width / MASK_PX, area.height / MASK_PX, 1.0))
    canvas = np.zeros(frame.shape, np.uint8)
    for polygon in shapely.get_parts(region):
        if polygon.geom_type != "Polygon":
            continue
        rings = [_pixels(polygon.exterior, frame), *(_pixels(hole, frame) for hole in polygon.interiors)]
        cv2.fillPoly(canvas, rings, 1)  # even-odd, so that holes stay open
        cv2.polylines(canvas, rings, isClosed=True, color=1)
    return Tissue(canvas.astype(bool), frame)


def _pixels(ring: Any, frame: Frame) -> npt.NDArray[np.int32]:  # noqa: ANN401  shapely is not typed
    return np.floor(frame.from_level0(shapely.get_coordinates(ring))).astype(np.int32)


def _image_mask(path: Path) -> npt.NDArray[np.bool_]:
    data = read_bounded(path, LARGEST_FILE)
    try:
        with warnings.catch_warnings():
            # An image large enough for this warning is no mask but the slide, or an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=MASK_FORMATS) as image:
                pixels = np.asarray(image.convert("RGB") if image.mode in {"P", "RGBA", "LA"} else image)
    except UnidentifiedImageError as error:
        raise _Unusable(f"it is no image of {', '.join(MASK_FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, *_BROKEN_IMAGE) as error:
        raise _Unusable(f"it is not an image ({error})") from error
    mask: npt.NDArray[np.bool_] = np.asarray(pixels.any(2) if pixels.ndim == 3 else pixels, np.bool_)
    if not mask.any():
        raise _Unusable("every pixel of it is black")
    return mask


def _stretched(mask: npt.NDArray[np.bool_], info: SlideInfo) -> Tissue:
    """Lay an image over the slide's area."""
    area = info.area
    height, width = mask.shape
    # Half a pixel each way is rounding, not another shape.
    rounding = 0.5 / width + 0.5 / height
    if abs((width / height) / (area.width / area.height) - 1) > LARGEST_ASPECT_ERROR + rounding:
        raise _Unusable(
            f"it is {width} x {height} px, not of the slide's {area.width} x {area.height} proportions"
        )
    frame = Frame.over(area, max(area.width / width, area.height / height))
    resized = cv2.resize(mask.astype(np.uint8), (frame.width, frame.height), interpolation=cv2.INTER_NEAREST)
    return Tissue(resized.astype(bool), frame)
