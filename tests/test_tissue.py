"""No tissue with nuclei is lost, glass is skipped, and every tile is accounted for."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import ArraySlide, Nucleus, paint_tissue, scattered

from wsiseg.errors import SettingsError, SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides import open_slide
from wsiseg.tiling import TileGrid
from wsiseg.tissue import (
    TileState,
    Tissue,
    check_brightfield,
    detect,
    find_tissue,
    load_roi,
    load_tissue,
    plan_tiles,
    tiles_in_roi,
    tiles_with_tissue,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides"
SIZE = (2048, 1536)
ISLAND = Box(600, 500, 700, 400)
PAINTING = paint_tissue(SIZE, [n for n in scattered(SIZE) if 620 < n.x < 1280 and 520 < n.y < 880], [ISLAND])
RNG = np.random.default_rng(3)


def slide_of(rgb, **options):
    return ArraySlide(np.clip(np.round(rgb), 0, 255).astype(np.uint8), mpp=0.5, **options)


def grid_of(slide, mpp=0.5):
    return TileGrid(slide.info.frame_at(mpp))


def tiles_with_nuclei(grid, labels):
    rows, columns = grid.shape
    return np.array([[labels[grid.core(r, c).slices].any() for c in range(columns)] for r in range(rows)])


def faded(rgb, share):
    return 255 - (255.0 - rgb) * share


def jpeg(rgb, quality):
    coded = cv2.imencode(".jpg", np.clip(rgb, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


LOOKS = {
    "as scanned": lambda rgb: rgb,
    "faded to 30 %": lambda rgb: faded(rgb, 0.3),
    "warm": lambda rgb: rgb * [1, 0.96, 0.88],
    "cool": lambda rgb: rgb * [0.9, 0.97, 1],
    "dim": lambda rgb: rgb * 0.8,
    "noisy": lambda rgb: rgb + RNG.normal(0, 10, rgb.shape),
    "JPEG": lambda rgb: jpeg(rgb, 50),
    "uneven light": lambda rgb: rgb * np.linspace(0.88, 1, rgb.shape[1])[None, :, None],
    "on white fill": lambda rgb: np.pad(rgb[:, 512:], ((0, 0), (512, 0), (0, 0)), constant_values=255),
}


@pytest.mark.parametrize("look", LOOKS)
def test_every_tile_with_nuclei_is_kept_and_glass_is_not(look):
    slide = slide_of(LOOKS[look](PAINTING.rgb))
    grid = grid_of(slide)
    kept = plan_tiles(slide, grid) == TileState.TISSUE
    nuclei = tiles_with_nuclei(grid, PAINTING.labels)
    assert kept[nuclei].all()
    assert kept.mean() < 0.75, "the far glass is skipped"
    assert not kept[:, 0].any()
    mask, _ = find_tissue(slide)
    assert 0.8 < mask.sum() * 16**2 / (ISLAND.width * ISLAND.height) < 1.3


@pytest.mark.parametrize("blank", ["glass", "white", "noise", "JPEG", "light", "dust"])
def test_a_blank_slide_has_no_tissue(blank):
    rgb = np.full((1536, 2048, 3), 243.0)
    if blank == "white":
        rgb[:] = 255
    elif blank == "noise":
        rgb += RNG.normal(0, 8, rgb.shape)
    elif blank == "JPEG":
        rgb = jpeg(rgb + RNG.normal(0, 4, rgb.shape), 40)
    elif blank == "light":
        rgb *= np.linspace(0.85, 1, 2048)[None, :, None]
    elif blank == "dust":
        cv2.circle(rgb, (700, 700), 40, (215, 215, 215), -1)
    slide = slide_of(rgb)
    assert (plan_tiles(slide, grid_of(slide)) == TileState.BLANK).all()


@pytest.mark.parametrize("radius_um", [3.0, 4.0])
@pytest.mark.parametrize("shift", [0, 5, 8, 11])
def test_a_lone_nucleus_on_glass_is_found(radius_um, shift):
    nucleus = Nucleus(1000 + shift, 700 + shift, radius_um / 0.5, radius_um / 0.5)
    painting = paint_tissue((2048, 1536), [nucleus], tissue=[])
    slide = slide_of(painting.rgb)
    grid = grid_of(slide)
    kept = plan_tiles(slide, grid) == TileState.TISSUE
    assert kept[tiles_with_nuclei(grid, painting.labels)].all()
    assert kept.sum() <= 4


def test_a_slide_without_glass_is_all_tissue():
    painting = paint_tissue((1024, 1024), scattered((1024, 1024)))
    slide = slide_of(painting.rgb)
    assert (plan_tiles(slide, grid_of(slide)) == TileState.TISSUE).all()


def test_glass_is_not_mistaken_for_pale_tissue_that_covers_more():
    rgb = np.full((1536, 2048, 3), (240.0, 226.0, 236.0))  # pale stroma nearly everywhere
    rgb[:, :200] = 245
    slide = slide_of(rgb)
    kept = plan_tiles(slide, grid_of(slide)) == TileState.TISSUE
    assert kept[:, 1:].all()


def test_the_states_add_up_to_the_grid(tmp_path):
    slide = slide_of(PAINTING.rgb)
    grid = grid_of(slide)
    roi = shapely.box(0, 0, 1000, 1536)
    states = plan_tiles(slide, grid, roi=roi)
    counts = [int((states == state).sum()) for state in TileState]
    assert sum(counts) == grid.shape[0] * grid.shape[1]
    assert all(counts)
    assert (states[:, 4:] == TileState.OUTSIDE).all()
    assert not (states[:, :4] == TileState.OUTSIDE).any()


def test_tissue_none_means_every_tile():
    slide = slide_of(np.full((600, 600, 3), 243))
    assert (plan_tiles(slide, grid_of(slide), "none") == TileState.TISSUE).all()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    downsample=st.floats(0.3, 5),
    origin=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    pixel=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_the_tile_over_a_tissue_pixel_is_kept(size, downsample, origin, pixel):
    area = Box(*origin, *size)
    mask_frame = Frame.over(area, 7.3)
    x, y = int(pixel[0] * mask_frame.width), int(pixel[1] * mask_frame.height)
    mask = np.zeros(mask_frame.shape, bool)
    mask[y, x] = True
    grid = TileGrid(Frame.over(area, downsample), 64)
    kept = tiles_with_tissue(mask, mask_frame, grid, margin_tiles=0)
    centre = grid.frame.from_level0(mask_frame.to_level0(np.array([x + 0.5, y + 0.5])))
    column, row = (centre // 64).astype(int)
    if row < grid.shape[0] and column < grid.shape[1]:  # the last mask pixel may reach beyond the slide
        assert kept[row, column]
    reach = mask_frame.downsample / downsample / 64
    assert kept.sum() <= (reach + 2) ** 2


def square(x, y, side):
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


POLYGON = {"type": "Polygon", "coordinates": square(10, 20, 300)}
FEATURE = {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": POLYGON}
SHAPES = {
    "bare geometry": POLYGON,
    "feature": FEATURE,
    "collection": {"type": "FeatureCollection", "features": [FEATURE]},
    "array": [FEATURE],
    "multi": {"type": "MultiPolygon", "coordinates": [square(10, 20, 300)]},
    "several": [FEATURE, {"type": "GeometryCollection", "geometries": [POLYGON]}],
    "twisted": {"type": "Polygon", "coordinates": [[[10, 20], [310, 320], [310, 20], [10, 320], [10, 20]]]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_roi_is_moved_from_qupath_to_level_0(shape, tmp_path):
    slide = slide_of(PAINTING.rgb, bounds=Box(100, 50, 1500, 1400))
    path = tmp_path / "roi.geojson"
    path.write_text(json.dumps(SHAPES[shape]))
    roi = load_roi(path, slide.info)
    assert roi.is_valid
    assert roi.bounds == (110, 70, 410, 370)
    grid = grid_of(slide)
    assert np.argwhere(tiles_in_roi(roi, grid)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


BAD_ROIS = {
    "not JSON": "not json",
    "number": "3",
    "empty": '{"type": "FeatureCollection", "features": []}',
    "no features": '{"type": "FeatureCollection"}',
    "point": '{"type": "Point", "coordinates": [1, 2]}',
    "line": '{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}',
    "null": '{"type": "Feature", "geometry": null}',
    "no rings": '{"type": "Polygon", "coordinates": []}',
    "two points": '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}',
    "text": '{"type": "Polygon", "coordinates": "everything"}',
    "not finite": '{"type": "Polygon", "coordinates": [[[0, 0], [1e999, 0], [9, 9], [0, 0]]]}',
    "elsewhere": json.dumps({"type": "Polygon", "coordinates": square(90000, 90000, 50)}),
    "no area": '{"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [0, 0], [0, 0]]]}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("bad", BAD_ROIS)
def test_what_is_no_region_is_refused(bad, tmp_path):
    path = tmp_path / "roi.geojson"
    path.write_text(BAD_ROIS[bad])
    with pytest.raises(SettingsError, match="E-ROI"):
        load_roi(path, slide_of(PAINTING.rgb).info)
    with pytest.raises(SettingsError, match="E-TISSUE"):
        load_tissue(path, slide_of(PAINTING.rgb).info)


def test_a_missing_file_is_refused(tmp_path):
    info = slide_of(PAINTING.rgb).info
    with pytest.raises(SettingsError, match="E-ROI"):
        load_roi(tmp_path / "none.geojson", info)
    with pytest.raises(SettingsError, match="E-TISSUE"):
        load_tissue(tmp_path / "none.png", info)


@pytest.mark.parametrize("mode", ["grey", "0 and 1", "RGB", "RGBA"])
def test_a_mask_image_is_stretched_over_the_area(mode, tmp_path):
    mask = np.zeros((96, 128), np.uint8)
    mask[32:48, 16:32] = 1 if mode == "0 and 1" else 255
    image = {"RGB": np.dstack([mask] * 3), "RGBA": np.dstack([mask] * 3 + [np.full_like(mask, 255)])}
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), image.get(mode, mask))
    slide = slide_of(PAINTING.rgb)
    kept = plan_tiles(slide, grid_of(slide), path) == TileState.TISSUE
    near = np.zeros_like(kept)
    near[1:4, 0:3] = True  # half a tile around the 256 px square at (256, 512)
    assert np.array_equal(kept, near)


@pytest.mark.parametrize("bad", ["text", "black", "portrait"])
def test_an_unusable_mask_image_is_refused(bad, tmp_path):
    path = tmp_path / "mask.png"
    if bad == "text":
        path.write_text("no image")
    else:
        size = (96, 128) if bad == "black" else (128, 96)
        cv2.imwrite(str(path), np.full(size, 0 if bad == "black" else 255, np.uint8))
    with pytest.raises(SettingsError, match="E-TISSUE"):
        load_tissue(path, slide_of(PAINTING.rgb).info)


def test_a_tissue_mask_may_be_geojson_with_holes(tmp_path):
    ring = {"type": "Polygon", "coordinates": [*square(100, 100, 1000), *square(400, 400, 300)]}
    path = tmp_path / "tissue.geojson"
    path.write_text(json.dumps(ring))
    tissue = load_tissue(path, slide_of(PAINTING.rgb).info)
    assert tissue.area_mm2(0.5) == pytest.approx((1000**2 - 300**2) * 0.25e-6, rel=0.02)
    assert not tissue.mask[550, 550]
    assert tissue.mask[200, 200]


def test_the_outline_encloses_the_mask():
    frame = Frame(200, 100, 16.0, (50.0, 30.0))
    mask = np.zeros(frame.shape, bool)
    mask[20:80, 30:150] = True
    mask[40:60, 60:100] = False
    mask[5, 5] = True  # a speck
    tissue = Tissue(mask, frame)
    (polygon,) = tissue.outline(0.5)
    assert polygon.is_valid
    assert len(polygon.interiors) == 1
    assert polygon.area == pytest.approx((60 * 120 - 20 * 40) * 16**2, rel=0.03)
    assert np.abs(np.array(polygon.bounds) - [50 + 480, 30 + 320, 50 + 2400, 30 + 1280]).max() <= 8
    assert tissue.area_mm2(0.5) == pytest.approx((60 * 120 - 20 * 40 + 1) * 64e-6)


@pytest.mark.parametrize("small_level_px", [0, 2**22], ids=["glimpses", "whole"])
def test_a_dark_slide_is_refused(small_level_px, monkeypatch):
    monkeypatch.setattr(detect, "SMALL_LEVEL_PX", small_level_px)
    rgb = np.zeros((600, 600, 3), np.uint8)
    rgb[100:120, 100:120, 2] = 255
    with pytest.raises(SlideError, match="E-SLIDE-DARK"):
        check_brightfield(ArraySlide(rgb))
    check_brightfield(ArraySlide(np.full((600, 600, 3), (90, 60, 140), np.uint8)))


@pytest.mark.parametrize(
    ("name", "reader", "mpp", "low", "high"),
    [
        ("CMU-1-Small-Region.svs", "openslide", None, 0.35, 0.5),
        ("dicom-cmu-small/level-0-frames-0-30.dcm", "openslide", None, 0.35, 0.5),
        ("tcga-cr-7395-01a-01-ts1.svs", "openslide", 1.0, 0.55, 0.7),
        ("OS-1-detail.ome.tif", "tiffslide", None, 0.99, 1.0),
    ],
)
def test_real_slides_have_the_tissue_that_one_sees(name, reader, mpp, low, high):
    if not (DATA / name).exists():
        pytest.skip(f"no real slide {name} beside the repository")
    slide = open_slide(DATA / name, reader=reader, mpp=mpp)
    check_brightfield(slide)
    mask, _ = find_tissue(slide)
    slide.close()
    assert low <= mask.mean() <= high


def test_the_real_fluorescence_slide_is_refused():
    path = DATA / "fluorescence-dapi.ndpi"
    if not path.exists():
        pytest.skip("no real fluorescence slide beside the repository")
    slide = open_slide(path)
    with pytest.raises(SlideError, match="E-SLIDE-DARK"):
        check_brightfield(slide)
    slide.close()
