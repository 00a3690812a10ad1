"""The report and the overview: what people see is complete, safe to open, and lies where it should."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import shapely
from PIL import Image
from strict_html import StrictPage

from wsiseg.export.field import FIELD_OUTLINE, Field, draw_field
from wsiseg.export.ground import Ground
from wsiseg.export.overview import draw_classes, draw_density, encode_overview
from wsiseg.export.report import ReportImages, render_report
from wsiseg.export.trust import VERDICTS, findings, verdict
from wsiseg.geometry import Frame
from wsiseg.models.bundle import ClassSpec

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\udcff.svs"


PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


RECORD = {
    "numerics": {"torch_version": "2.14.1", "device": "cpu", "dtype": "bfloat16"},
    "versions": {"reader": "OpenSlide 4.0.1", "zarr": "3.1.6"},
}


def a_distribution(median, edges, counts):
    return {
        "median": median,
        "mean": median,
        "p05": 0.1,
        "p95": 0.9,
        "histogram": {"edges": edges, "counts": counts},
    }


NOTHING = a_distribution(None, [], []) | {"mean": None, "p05": None, "p95": None}
"""The distribution of no nuclei."""


def a_field(kind="Drawn at random", caption="12 nuclei"):
    return Field(kind, caption, np.full((40, 30, 3), 200, np.uint8))


def a_summary(**changes):
    summary = {
        "wsiseg_version": "1.2.3",
        "slide": {
            "name": "a slide.svs",
            "width": 2220,
            "height": 2967,
            "mpp": 0.499,
            "mpp_source": "aperio.MPP",
            "reader": "openslide",
            "vendor": "aperio",
            "objective_power": 20.0,
        },
        "model": {
            "name": "lite",
            "version": "1",
            "sha256": "9f" * 32,
            "mpp": 0.5,
            "licence": "CC-BY-4.0",
            "trained_on": "tnbc, nuinsseg",
            "figures": [
                {"data": "tnbc", "split": "val", "nuclei": 465, "precision": 0.99, "recall": 0.98},
                {"data": "tnbc", "split": "test", "nuclei": 1165, "precision": 0.87, "recall": 0.84},
                {"data": "nuinsseg", "split": "test", "nuclei": 3012, "precision": 0.82, "recall": 0.70},
            ],
            "known_failures": ["Pale nuclei are missed."],
        },
        "frame": {"width": 2216, "height": 2961, "downsample": 1.002, "mpp": 0.5},
        "tiles": {"grid": 1108, "tissue": 661, "blank": 335, "outside": 112, "inferred": 661, "unreadable": 0},
        "tissue_mm2": 0.87,
        "nuclei": 12345,
        "nuclei_per_mm2": 3201.4,
        "area_um2": {
            "median": 31.25,
            "mean": 33.1,
            "p05": 14.0,
            "p95": 62.0,
            "histogram": {"edges": [0.0, 20.0, 40.0, 60.0], "counts": [4000, 6000, 2345]},
        },
        "circularity": a_distribution(0.8, [0.0, 0.5, 1.0], [345, 12000]),
        "eccentricity": a_distribution(0.7, [0.0, 0.5, 1.0], [345, 12000]),
        "probability": a_distribution(0.9, [0.0, 0.7, 1.0], [345, 12000]),
        "polygons": {"repaired": 3, "dropped": 0, "oversized": 1},
        "warnings": [],
        "settings": {"tissue": "auto"},
    }
    return summary | changes


def page(summary=None, fields=()):
    return StrictPage(render_report(summary or a_summary(), RECORD, ReportImages(PIXELS, fields)))


def test_the_headline_and_the_account_of_the_slide_are_there():
    text = page().text
    for expected in (
        "12,345",
        "0.87",
        "3,201",
        "31.2",
        "661 (59.7 %)",
        "335 (30.2 %)",
        "112 (10.1 %)",
        "1,108 squares",
    ):
        assert expected in text
    assert "128 x 128 µm" in text
    assert "CC-BY-4.0" in text


def test_nothing_is_loaded_from_anywhere_and_nothing_runs():
    html = render_report(a_summary(), RECORD, ReportImages(PIXELS, [a_field()]))
    found = StrictPage(html)
    assert all(not {"href", "srcset", "onload", "onerror", "action"} & set(attrs) for _, attrs in found.tags)
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in found.tags if tag == "img")
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in found.tags}
    assert "://" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def class_summary(name, nuclei):
    return {
        "value": 1,
        "name": name,
        "color": [200, 0, 0],
        "nuclei": nuclei,
        "share": nuclei / 12345,
        "nuclei_per_mm2": nuclei / 0.87,
        "mean_probability": 0.875,
    }


TYPED = {
    "classes": [class_summary("tumour", 8000), class_summary("lymphocyte", 4345), class_summary("stromal", 0)],
    "stromal_lymphocyte_share": 0.4321,
}


def test_classes_are_counted_and_the_share_is_no_score():
    found = page(a_summary(**TYPED), [a_field()])
    assert "tumour 8,000 64.8 % 9,195 0.88" in found.text
    assert "Stromal lymphocyte share: 43.2 %" in found.text
    assert "lymphocytes / (lymphocytes + stromal nuclei)" in found.text.lower()
    assert "no clinical TIL score" in found.text
    assert "in the colour of its class" in found.text
    keys = [attrs["style"] for tag, attrs in found.tags if tag == "span" and "style" in attrs]
    assert keys == ["background: rgb(200, 0, 0)"] * 6  # in the table and above the examples
    for other in (page(), page(a_summary(classes=TYPED["classes"]))):
        assert "TIL" not in other.text
    none = page(a_summary(**TYPED | {"stromal_lymphocyte_share": None}))
    assert "Stromal lymphocyte share: not known" in none.text


def test_hostile_names_stay_text():
    summary = a_summary(warnings=[HOSTILE], settings={HOSTILE: HOSTILE})
    for group in ("slide", "model"):
        summary[group] = {k: HOSTILE if isinstance(v, str) else v for k, v in summary[group].items()}
    summary["model"]["known_failures"] = [HOSTILE]
    summary["model"]["figures"] = [{**summary["model"]["figures"][1], "data": HOSTILE}]
    summary["classes"] = [class_summary(HOSTILE, 5)]
    record = {"numerics": {}, "versions": {HOSTILE: HOSTILE}}
    html = render_report(summary, record, ReportImages(PIXELS, [a_field(HOSTILE, HOSTILE)]))
    html.encode("utf-8")
    found = StrictPage(html)
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.texts.count("<script>alert(1)</script>\"'&\x1b[31m?.svs") >= 12


def test_pictures_have_alternatives_and_captions():
    found = page(fields=[a_field("The densest"), a_field(caption="7,000 nuclei per mm²")])
    pictures = [attrs for tag, attrs in found.tags if tag == "img"]
    assert [bool(picture["alt"]) for picture in pictures] == [True] * 3
    assert "The densest" in found.text
    assert "7,000 nuclei per mm²" in found.text
    assert all(attrs.get("aria-label") for tag, attrs in found.tags if tag == "svg")


def test_a_slide_without_nuclei_has_a_report():
    shapes = dict.fromkeys(("area_um2", "circularity", "eccentricity", "probability"), NOTHING)
    text = page(a_summary(nuclei=0, nuclei_per_mm2=None, tissue_mm2=0.0, **shapes)).text
    assert "Size of the nuclei" not in text
    assert "Shape and probability" not in text
    assert "not known" in text


@pytest.mark.parametrize("counts", [[1, 0, 0], [0, 2, 1], [10**6, 3, 4]])
def test_the_histogram_draws_any_counts(counts):
    area = a_summary()["area_um2"] | {"histogram": {"edges": [0.0, 20.0, 40.0, 60.0], "counts": counts}}
    shapes = dict.fromkeys(("circularity", "eccentricity", "probability"), NOTHING)
    found = page(a_summary(area_um2=area, **shapes))
    heights = [float(attrs["height"]) for tag, attrs in found.tags if attrs.get("class") == "bar"]
    np.testing.assert_allclose(np.array(heights) / max(heights), np.array(counts) / max(counts), atol=0.001)


def test_the_page_says_what_made_it_and_not_how_long_it_took():
    text = page().text
    for expected in ("cpu, bfloat16", "2.14.1", "OpenSlide 4.0.1", "1.2.3", "performance.json"):
        assert expected in text


def test_the_models_card_is_there_in_short():
    text = page().text
    for expected in ("tnbc, nuinsseg", "nuinsseg, test 3,012 70 % 82 %", "Pale nuclei are missed."):
        assert expected in text
    bare = {key: a_summary()["model"][key] for key in ("name", "version", "sha256", "mpp", "licence")}
    assert "nobody has measured" in page(a_summary(model=bare)).text


def graded(**changes):
    """What the box on trust says: its verdict, and (grade, about) of each point."""
    summary = a_summary(**changes)
    found = findings(summary)
    said = page(summary).text
    assert VERDICTS[verdict(found)] in said
    assert all(one.text in said for one in found)
    return verdict(found), {one.about: one.grade for one in found}


def test_a_run_without_a_flaw_is_not_called_right_but_unsuspicious():
    grade, points = graded()
    assert grade == "good"
    assert points == dict.fromkeys(
        ("Reading", "Searched", "Pixel size", "The network's sureness", "The model's accuracy"), "good"
    )
    assert "found 70 to 84 of 100, and of 100 that it found 82 to 87 were nuclei" in page().text
    assert "3 % of the nuclei are below 0.7" in page().text


SLIDE = a_summary()["slide"]
TILES = a_summary()["tiles"]


@pytest.mark.parametrize(
    ("changes", "about", "grade"),
    [
        ({"tiles": TILES | {"unreadable": 7}}, "Reading", "look"),
        ({"tiles": TILES | {"unreadable": 70}}, "Reading", "bad"),
        ({"tiles": TILES | {"tissue": 0}}, "Searched", "bad"),
        ({"settings": {"tissue": "none"}}, "Searched", "look"),
        ({"slide": SLIDE | {"mpp_source": "--mpp"}}, "Pixel size", "look"),
        ({"slide": SLIDE | {"objective_power": None}}, "Pixel size", "look"),
        ({"probability": a_distribution(0.6, [0.0, 0.7, 1.0], [1, 2])}, "The network's sureness", "look"),
        ({"model": a_summary()["model"] | {"figures": []}}, "The model's accuracy", "look"),
        ({"warnings": ["no tissue was found"]}, "Warning", "look"),
    ],
)
def test_what_makes_numbers_doubtful_is_said(changes, about, grade):
    found, points = graded(**changes)
    assert (found, points[about]) == (grade, grade)


def test_warnings_and_unreadable_squares_come_first():
    tiles = a_summary()["tiles"] | {"unreadable": 7}
    text = page(a_summary(tiles=tiles, warnings=["The pixel size was given by hand."])).text
    assert text.index("7 squares of tissue, of 661") < text.index("given by hand") < text.index("Overview")


def test_the_summary_may_come_from_a_file():
    again = json.loads(json.dumps(a_summary()))
    images = ReportImages(PIXELS)
    assert render_report(again, RECORD, images) == render_report(a_summary(), RECORD, images)


def test_the_overview_is_a_png_of_every_pixel():
    with Image.open(BytesIO(encode_overview(PIXELS))) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_a_field_shows_outlines_where_the_nuclei_are():
    rgb = np.full((40, 50, 3), 200, np.uint8)
    field = draw_field(rgb, [([shapely.box(10, 20, 30, 35)], FIELD_OUTLINE)], mpp=0.25)
    assert field.shape == (80, 100, 3)
    green = (np.abs(field.astype(int) - FIELD_OUTLINE).sum(2) < 60).nonzero()
    # The box's edges, at twice the size; the line is two pixels wide and centred on them.
    assert (green[1].min(), green[1].max()) == pytest.approx((20 - 1, 60), abs=1)
    assert (green[0].min(), green[0].max()) == pytest.approx((40 - 1, 70), abs=1)
    assert (field[45:65, 25:55] == 200).all()


def test_the_scale_bar_of_a_field_is_as_long_as_it_says():
    # 200 px of 0.5 um, drawn twice as large: at most a quarter is 20 um = 80 px.
    field = draw_field(np.full((200, 200, 3), 200, np.uint8), [], mpp=0.5)
    rows = (field.sum(2) < 100).sum(1)
    assert rows.max() == 80
    assert (rows == 80).sum() == 6


def test_a_field_without_nuclei_is_the_slide():
    rgb = np.full((4, 5, 3), (10, 20, 30), np.uint8)
    assert (draw_field(rgb, [], mpp=0.25) == (10, 20, 30)).all()


PICTURE = np.full((1000, 1200, 3), 230, np.uint8)
PLANE = Frame(1200, 1000, 4.0, (100.0, 60.0))
GROUND = Ground(PICTURE, PLANE, 0.25)


def cluster(x, y, count=500):
    """Level-0 centroids around a point of PLANE."""
    return PLANE.to_level0(np.random.default_rng(0).normal((x, y), 20, (count, 2)))


def ring(x, y, right, bottom):
    return PLANE.to_level0(np.array([(x, y), (right, y), (right, bottom), (x, bottom)]))


def test_the_density_lies_where_the_nuclei_are():
    picture = draw_density(GROUND, [cluster(300, 700)])
    assert picture.shape[1] == 1200
    darkest = np.unravel_index(picture[:1000].sum(2).argmin(), (1000, 1200))
    assert np.hypot(darkest[0] - 700, darkest[1] - 300) < 40
    # Far from nuclei the slide is only paler.
    assert np.ptp(picture[:300, 600:], axis=(0, 1)).max() == 0


def test_the_outline_lies_on_the_edge_of_the_tissue():
    picture = draw_density(replace(GROUND, outlines=[ring(200, 100, 900, 800)]), [])[:1000]
    red = (picture[..., 0] > picture[..., 2].astype(int) + 40).nonzero()
    assert (red[1].min(), red[1].max()) == pytest.approx((200, 900), abs=2)
    assert (red[0].min(), red[0].max()) == pytest.approx((100, 800), abs=2)


def test_the_scale_bar_is_as_long_as_it_says():
    # 1200 px of 1 um: a sixth is 0.2 mm = 200 px.
    legend = draw_density(GROUND, [])[1000:, :400]
    dark = (legend.sum(2) < 150)[round(33 * 1.2)]
    assert dark.sum() == pytest.approx(200, abs=2)


def test_batches_do_not_change_a_pixel():
    points = cluster(600, 500)
    whole = draw_density(GROUND, [points])
    np.testing.assert_array_equal(draw_density(GROUND, iter(np.array_split(points, 7))), whole)


CLASSES = (ClassSpec(2, "tumour", (200, 0, 0)), ClassSpec(1, "lymphocyte", (0, 160, 60)))


def placed(x, y, value):
    """A cluster of one class."""
    points = cluster(x, y)
    return points, np.full(len(points), value, np.uint8)


def test_dots_lie_where_the_nuclei_are_in_the_colours_of_their_classes():
    picture = draw_classes(GROUND, [placed(300, 700, 1), placed(900, 200, 2)], CLASSES).astype(int)
    for one, (x, y) in zip(CLASSES, [(900, 200), (300, 700)], strict=True):
        near = np.abs(picture[:1000] - one.color).sum(2) < 90
        middle = np.argwhere(near).mean(0)
        assert near.sum() > 300
        assert np.hypot(middle[0] - y, middle[1] - x) < 15
    assert np.ptp(picture[:100, :600], axis=(0, 1)).max() == 0


def test_single_dots_have_the_pure_colour_and_batches_do_not_change_a_byte():
    points, values = (np.concatenate(both) for both in zip(placed(300, 700, 1), placed(900, 200, 2), strict=True))
    whole = draw_classes(GROUND, [(points, values)], CLASSES)
    parts = zip(np.array_split(points, 7), np.array_split(values, 7), strict=True)
    np.testing.assert_array_equal(draw_classes(GROUND, parts, CLASSES), whole)
    one = draw_classes(GROUND, [(PLANE.to_level0(np.array([[500.5, 400.5]])), values[:1])], CLASSES)
    pale = 0.15 * 255 + 0.85 * 230
    np.testing.assert_allclose(one[400, 500], 0.9 * np.array((0, 160, 60)) + 0.1 * pale, atol=1)


@pytest.mark.parametrize("count", [2, 3, 6, 8, 9, 16])
def test_the_legend_has_a_colour_for_each_class_that_has_room(count):
    colours = [(40 * (place % 6), 255 - 15 * place, 30 + 10 * place) for place in range(count)]
    classes = [ClassSpec(place + 1, "a long name " * 5, colour) for place, colour in enumerate(colours)]
    legend = draw_classes(GROUND, [], classes)[1000:]
    shown = [bool((legend == colour).all(2).sum() > 50) for colour in colours]
    assert shown == [place < (8 if count <= 8 else 7) for place in range(count)]
    assert (legend[:, 900:] == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (2, 2500)])
def test_any_slide_gets_an_overview(size):
    image = np.full((size[1], size[0], 3), 200, np.uint8)
    picture = draw_density(Ground(image, Frame(*size, 16.0), 0.25), [np.array([[0.0, 0.0], [-5, 1e9]])])
    assert picture.shape[1] >= 1000
