"""The mask store, judged by other people's readers: ome-zarr-models, tensorstore and napari."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tensorstore
import zarr
from label_truth import CLASSES, class_of, digests, discs, read, stitched

from wsiseg.export.omezarr import StoreSpec, create_store, mask_arrays
from wsiseg.geometry import Frame
from wsiseg.tiling import TileGrid

with warnings.catch_warnings():
    # Other people's deprecations, raised while they are imported.
    warnings.simplefilter("ignore")
    import ome_zarr_models
    from napari_ome_zarr import napari_get_reader

FRAME = Frame(1300, 700, 2.0005, (400.0, 800.0))
MPP = 0.5
VERSIONS = ["0.5", "0.4"]


def spec(ngff="0.5", **changes):
    return StoreSpec(**{"frame": FRAME, "mpp": MPP, "shard_px": 256, "classes": CLASSES, "ngff": ngff} | changes)


def overview_of(frame, width, height):
    """A picture of a frame's area, and the plane in which it lies."""
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return rgb, Frame(width, height, frame.width * frame.downsample / width, frame.origin)


def made(path, one):
    return create_store(path, one, *overview_of(one.frame, 130, 70))


@pytest.mark.parametrize("ngff", VERSIONS)
@pytest.mark.parametrize("side", [1, 700])
def test_ome_zarr_models_finds_an_image_with_two_labels(tmp_path, ngff, side):
    made(tmp_path / "masks.ome.zarr", spec(ngff, frame=Frame(side, side)))
    root = zarr.open_group(tmp_path / "masks.ome.zarr", mode="r")
    image = ome_zarr_models.open_ome_zarr(root)
    assert image.ome_zarr_version == ngff
    assert image.labels.ome_attributes.labels == ["classes", "nuclei"]
    classes, nuclei = (ome_zarr_models.open_ome_zarr(root[f"labels/{name}"]) for name in ("classes", "nuclei"))
    assert type(classes).__name__ == type(nuclei).__name__ == "ImageLabel"
    label = classes.ome_attributes.image_label
    assert [color.rgba for color in label.colors] == [(0, 0, 0, 0), (200, 30, 30, 255), (30, 30, 200, 255)]
    assert label.source.image == "../../"


@pytest.mark.parametrize("ngff", VERSIONS)
def test_tensorstore_reads_the_same_pixels(tmp_path, ngff):
    grid = TileGrid(Frame(600, 530), tile_px=16)
    labels = discs(grid.frame)
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, labels, ngff)
    driver = {"0.5": "zarr3", "0.4": "zarr"}[ngff]
    for path, truth in [(p, labels) for p in arrays.nuclei] + [(p, class_of(labels)) for p in arrays.classes]:
        store = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
        pixels = tensorstore.open(store).result().read().result()
        np.testing.assert_array_equal(pixels, truth[:: 2 ** int(path.name), :: 2 ** int(path.name)])
        assert pixels.dtype == truth.dtype


@pytest.mark.parametrize("ngff", VERSIONS)
def test_napari_lays_the_overview_under_the_labels(tmp_path, ngff, capsys):
    one = spec(ngff)
    path = str(tmp_path / "masks.ome.zarr")
    made(tmp_path / "masks.ome.zarr", one)
    before = digests(tmp_path)
    (image, overview, _), (classes, labels, kind), (nuclei, _, _) = napari_get_reader(path)(path)
    capsys.readouterr()
    assert kind == "labels"
    assert len(image) == len(classes) == len(nuclei) == 3
    assert labels["scale"] == [MPP, MPP]
    assert labels["units"] == overview["units"] == ("micrometer", "micrometer")
    # 1300 label pixels of 0.5 um are as wide as 130 overview pixels of 5 um.
    assert overview["scale"] == pytest.approx([5.0, 5.0])
    assert labels["properties"]["class"] == ["background", "nucleus", "other"]
    assert digests(tmp_path) == before


def attributes(folder):
    return zarr.open_group(folder, mode="r").attrs.asdict()


@pytest.mark.parametrize("ngff", VERSIONS)
def test_scales_double_and_labels_never_shift(tmp_path, ngff):
    made(tmp_path / "store", spec(ngff))
    for name in ("classes", "nuclei"):
        found = attributes(tmp_path / "store" / "labels" / name)
        (multiscale,) = found.get("ome", found)["multiscales"]
        steps = [dataset["coordinateTransformations"] for dataset in multiscale["datasets"]]
        assert steps == [[{"type": "scale", "scale": [MPP * 2**level] * 2}] for level in range(3)]
        assert [axis["name"] for axis in multiscale["axes"]] == ["y", "x"]
        assert multiscale["type"] == "nearest"


def test_the_overview_covers_the_area_of_the_labels_at_every_level(tmp_path):
    made(tmp_path / "store", spec())
    datasets = attributes(tmp_path / "store")["ome"]["multiscales"][0]["datasets"]
    for dataset in datasets:
        scale, translation = (step[step["type"]] for step in dataset["coordinateTransformations"])
        # Pixel centres: the outer edge of the first pixel is half a pixel before its centre, in both images.
        assert translation[1] - scale[1] / 2 == pytest.approx(-MPP / 2)
        assert translation[2] - scale[2] / 2 == pytest.approx(-MPP / 2)


def test_the_overview_is_averaged_and_keeps_its_colours(tmp_path):
    one = spec()
    rgb, frame = overview_of(FRAME, 130, 70)
    create_store(tmp_path / "store", one, rgb, frame)
    levels = [read(tmp_path / "store" / str(level)) for level in range(3)]
    np.testing.assert_array_equal(levels[0], np.moveaxis(rgb, 2, 0))
    assert [level.shape for level in levels] == [(3, 70, 130), (3, 35, 65), (3, 18, 33)]
    assert levels[1][1, 3, 4] == (int(rgb[6:8, 8:10, 1].sum()) + 2) // 4
    assert levels[2].mean() == pytest.approx(rgb.mean(), abs=2)


def test_an_overview_that_does_not_fill_its_frame_is_refused(tmp_path):
    rgb, _ = overview_of(FRAME, 130, 70)
    with pytest.raises(ValueError, match="does not fill"):
        create_store(tmp_path / "store", spec(), rgb, Frame(131, 70))


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        ((1, 1), [(1, 1)]),
        ((512, 300), [(300, 512)]),
        ((513, 300), [(300, 513), (150, 257)]),
        ((5000, 4097), [(4097, 5000), (2049, 2500), (1025, 1250), (513, 625), (257, 313)]),
    ],
)
def test_levels_are_halved_and_rounded_up_until_they_fit_a_chunk(size, shapes):
    assert spec(frame=Frame(*size)).level_shapes == shapes


def test_the_store_says_where_on_the_slide_it_lies(tmp_path):
    made(tmp_path / "store", spec(provenance={"wsiseg_version": "1.2.3"}))
    for folder in ("", "labels/classes", "labels/nuclei"):
        assert attributes(tmp_path / "store" / folder)["wsiseg"] == {
            "wsiseg_version": "1.2.3",
            "frame": {
                "width": 1300,
                "height": 700,
                "downsample": 2.0005,
                "origin_level0": [400.0, 800.0],
                "mpp": 0.5,
            },
        }


def test_vizarr_finds_the_labels_outside_ome_as_well(tmp_path):
    made(tmp_path / "store", spec())
    found = attributes(tmp_path / "store" / "labels")
    assert found["labels"] == found["ome"]["labels"] == ["classes", "nuclei"]


def test_version_05_has_shards_of_one_block_and_a_checksum_in_each_chunk(tmp_path):
    arrays = made(tmp_path / "store", spec(shard_px=4096))
    metadata = json.loads((arrays.nuclei[0] / "zarr.json").read_text())
    (sharding,) = metadata["codecs"]
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [4096, 4096]
    assert sharding["configuration"]["chunk_shape"] == [512, 512]
    assert sharding["configuration"]["codecs"][1]["configuration"] == {"level": 3, "checksum": True}
    assert metadata["dimension_names"] == ["y", "x"]
    assert metadata["fill_value"] == 0


def test_version_04_has_what_bio_formats_can_read(tmp_path):
    arrays = made(tmp_path / "store", spec("0.4", shard_px=4096))
    metadata = json.loads((arrays.nuclei[0] / ".zarray").read_text())
    assert metadata["zarr_format"] == 2
    assert metadata["chunks"] == [1024, 1024]
    assert metadata["dimension_separator"] == "/"
    assert metadata["compressor"]["id"] == "blosc"


def test_mask_arrays_finds_the_levels_again_in_order(tmp_path):
    arrays = made(tmp_path / "store", spec(frame=Frame(300_000, 10)))
    assert mask_arrays(tmp_path / "store") == arrays
    assert [path.name for path in arrays.classes] == [str(level) for level in range(11)]


@pytest.mark.parametrize("ngff", VERSIONS)
def test_the_bytes_do_not_vary(tmp_path, ngff):
    for name in ("a", "b"):
        made(tmp_path / name, spec(ngff))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
