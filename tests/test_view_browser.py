"""The viewer as a person uses it, in headless Chromium; skips without Playwright or a Chromium on the PATH."""

from __future__ import annotations

import gzip
import io
import re
import shutil

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image
from toy import describe_bundle, run_toy, toy_spec
from view_toy import SIZE, paint_and_run, serving

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install wsiseg[browser]"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")]

OUTLINE = (200, 30, 60)
"""Colour of the toy's class."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return paint_and_run(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def server(run):
    with serving(run[2]) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, server):
    page = browser.new_page()
    page.set_default_timeout(90_000)
    complaints = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.access.url)
    page.wait_for_selector("#modes input", state="attached")
    page.wait_for_selector("#navigator svg", state="attached")
    yield page, complaints
    page.close()


@pytest.fixture
def page(opened):
    """The page, with its layers as they are at first; it may complain of nothing."""
    page, complaints = opened
    yield page
    show(page, "slide", "nuclei", "marks")
    page.check("#mode-Class", force=True)
    page.keyboard.press("Escape")  # nothing stays selected
    assert complaints == []


def show(page, *layers):
    """Switch these layers on and the others off."""
    for name in ("slide", "nuclei", "mask", "marks"):
        page.set_checked(f"#layer-{name}", name in layers)


@pytest.fixture(scope="module")
def nucleus(run):
    """One in the middle of the slide, with nothing near the edge of the screen around it."""
    rows = pq.read_table(run[2] / "nuclei.parquet").to_pylist()
    return min(rows, key=lambda row: abs(row["centroid_x"] - SIZE[0] / 2) + abs(row["centroid_y"] - SIZE[1] / 2))


def go_to(page, x, y, zoom):
    page.evaluate(f"location.hash = '#{x:.2f},{y:.2f},{zoom}'")
    settled(page)


def settled(page):
    """Wait until nothing is fetched and all is drawn."""
    page.wait_for_timeout(300)
    page.wait_for_selector("body[data-loaded=true]")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)


def viewer_pixels(page):
    return np.asarray(Image.open(io.BytesIO(page.locator("#viewer").screenshot())).convert("RGB")).astype(int)


def place_of(page):
    return [float(part) for part in re.fullmatch(r".*#(.+),(.+),(.+)", page.url).groups()]


def extent_near_middle(found, radius):
    """(left, top, right, bottom) of the pixels found within a radius of the middle, from the middle."""
    height, width = found.shape
    y, x = np.nonzero(found)
    x, y = x - width / 2, y - height / 2
    near = np.hypot(x + 0.5, y + 0.5) < radius
    return np.array([x[near].min(), y[near].min(), x[near].max() + 1, y[near].max() + 1])


def test_the_address_leads_to_the_slide_and_hides_the_token(page, server):
    assert server.access.token not in page.url
    assert page.url.startswith(f"http://127.0.0.1:{server.server_address[1]}/slide/0/")
    assert page.inner_text("#name") == "a slide.svs"
    assert "nuclei" in page.inner_text("#facts")
    assert page.locator("#note").is_hidden()
    assert page.evaluate("document.cookie") == ""  # scripts cannot read it


def test_dragging_moves_and_the_wheel_zooms(page):
    go_to(page, 700, 500, 1)
    page.mouse.move(500, 400)
    page.mouse.down()
    page.mouse.move(400, 300, steps=5)
    page.mouse.up()
    page.wait_for_timeout(1500)
    x, y, zoom = place_of(page)
    assert x > 760
    assert y > 560
    assert zoom == pytest.approx(1, rel=0.01)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(1500)
    assert place_of(page)[2] > 1.1
    page.keyboard.press("0")  # all of the slide
    page.wait_for_timeout(1500)
    assert place_of(page)[2] < 0.8


def test_a_nucleus_that_is_clicked_tells_its_area(page, nucleus):
    go_to(page, nucleus["centroid_x"], nucleus["centroid_y"], 2)
    box = page.locator("#viewer").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#measurements")
    assert page.inner_text("#nucleus h3") == f"Nucleus {nucleus['id']}"
    shown = page.inner_text("#measurements [data-column=area_um2]")
    assert float(shown.split()[0]) == pytest.approx(nucleus["area_um2"], rel=1e-3)
    assert shown.split()[1] == "µm²"
    page.keyboard.press("Escape")
    assert page.locator("#measurements").count() == 0


def test_a_nucleus_is_found_by_its_number(page, opened, nucleus):
    page.fill("#number", str(nucleus["id"]))
    page.press("#number", "Enter")
    page.wait_for_selector("#measurements")
    settled(page)
    x, y, _ = place_of(page)
    left, top, right, bottom = nucleus["bbox"].values()
    assert (x, y) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=1)
    page.fill("#number", "999999")
    page.press("#number", "Enter")
    page.wait_for_selector("text=There is no nucleus 999999.")
    assert len(opened[1]) == 1
    assert "404" in opened[1].pop()  # the browser's own word on it


def test_layers_can_be_switched(page, nucleus):
    go_to(page, nucleus["centroid_x"], nucleus["centroid_y"], 2)
    middle = (slice(370, 390), slice(480, 500))
    before = viewer_pixels(page)
    show(page, "slide")
    page.keyboard.press("3")  # the mask
    settled(page)
    masked = viewer_pixels(page)
    assert page.is_checked("#layer-mask")
    assert np.abs(masked - before)[middle].mean() > 20
    page.fill("#opacity-mask", "100")
    settled(page)
    assert np.abs(viewer_pixels(page)[middle] - OUTLINE).mean() < 3
    show(page)
    settled(page)
    assert len(np.unique(viewer_pixels(page)[middle].reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("zoom", [1, 4])
def test_outlines_lie_on_their_nuclei_to_within_a_pixel(page, nucleus, zoom):
    x, y = nucleus["centroid_x"], nucleus["centroid_y"]
    go_to(page, x, y, zoom)
    show(page, "slide")
    settled(page)
    picture = viewer_pixels(page)
    show(page, "nuclei")
    settled(page)
    drawn = viewer_pixels(page)
    polygon = shapely.from_wkb(nucleus["geometry"])
    truth = np.array(polygon.bounds) - (x, y, x, y)
    radius = zoom * (max(np.abs(truth)) + 3)
    dark = extent_near_middle(picture[..., 1] < 115, radius) / zoom
    # Half of a line of 2 px lies outside of the polygon.
    red = (extent_near_middle(np.abs(drawn - OUTLINE).sum(axis=2) < 250, radius) + (1, 1, -1, -1)) / zoom
    assert np.abs(red - truth).max() < 1
    assert np.abs(red - dark).max() < 1


def test_zoomed_out_nuclei_are_a_density(page):
    go_to(page, SIZE[0] / 2, SIZE[1] / 2, 0.2)
    assert "nuclei per mm²" in page.inner_text("#legend")
    assert "density" in page.inner_text("#hint-nuclei")
    shown = viewer_pixels(page)
    show(page, "slide")
    settled(page)
    assert np.abs(viewer_pixels(page) - shown).max() > 50
    show(page, "nuclei")
    go_to(page, SIZE[0] / 2, SIZE[1] / 2, 1)
    assert "Nucleus" in page.inner_text("#legend")


def test_colours_follow_area_and_probability(page):
    go_to(page, 700, 500, 1)
    looks = []
    for mode in ("Class", "Area", "Probability"):
        page.check(f"#mode-{mode}", force=True)
        settled(page)
        looks.append(viewer_pixels(page))
    assert np.abs(looks[0] - looks[1]).max() > 50
    assert "µm²" in (page.check("#mode-Area", force=True) or page.inner_text("#legend"))


def test_a_link_leads_to_its_place(page):
    link = page.url.partition("#")[0] + "#400.0,300.0,2"
    other = page.context.new_page()
    other.goto(link)
    other.wait_for_selector("canvas.outlines", state="attached")
    other.wait_for_timeout(1500)
    box = other.locator("#viewer").bounding_box()
    other.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    found = re.fullmatch(r"x (\d+), y (\d+)", other.inner_text("#where"))
    assert [int(part) for part in found.groups()] == pytest.approx([400, 300], abs=1)
    assert other.inner_text("#scale-text") == "20 µm"
    assert other.evaluate("document.getElementById('scale-bar').getBoundingClientRect().width") == pytest.approx(
        160
    )
    other.close()


def test_the_page_says_what_the_summary_says(page, run):
    summary = orjson.loads((run[2] / "summary.json").read_bytes())
    assert f"{summary['nuclei']:,} nuclei" in page.inner_text("#facts")


@pytest.fixture(scope="module")
def real_features(real_slides, tmp_path_factory):
    """The sample slide, its run by the colour network, and what nuclei.geojson.gz says of its nuclei."""
    home = tmp_path_factory.mktemp("real")
    slide = real_slides / "CMU-1-Small-Region.svs"
    run_toy(slide, home / "run", describe_bundle(home / "bundle", toy_spec(0.5)), tissue="auto")
    features = orjson.loads(gzip.decompress((home / "run" / "nuclei.geojson.gz").read_bytes()))["features"]
    return slide, home / "run", features


def test_on_a_real_slide_outlines_are_drawn_where_the_geojson_has_them(browser, real_features):
    slide, run, features = real_features
    polygons = np.array([shapely.geometry.shape(feature["geometry"]) for feature in features])
    middle = shapely.Point(1154, 950)
    number = next(
        i for i in np.argsort(shapely.distance(polygons, middle)).tolist() if 150 < polygons[i].area < 400
    )
    (x, y), zoom = polygons[number].representative_point().coords[0], 8
    with serving(run, slide) as server:
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.goto(server.access.url)
        page.wait_for_selector("#modes input", state="attached")
        go_to(page, x, y, zoom)
        show(page, "nuclei")
        settled(page)
        shown = viewer_pixels(page)
        box = page.locator("#viewer").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_selector("#measurements")
        area = float(page.inner_text("#measurements [data-column=area_um2]").split()[0])
        page.close()
    height, width = shown.shape[:2]
    rows, columns = np.nonzero(np.abs(shown - OUTLINE).sum(axis=2) < 60)
    drawn = np.stack([columns + 0.5 - width / 2, rows + 0.5 - height / 2], axis=1) / zoom + (x, y)
    rings = shapely.union_all(shapely.boundary(polygons[shapely.distance(polygons, shapely.Point(x, y)) < 150]))
    assert len(drawn) > 500
    assert shapely.distance(shapely.points(drawn), rings).max() < 0.5
    near = shapely.multipoints(drawn)
    assert shapely.distance(shapely.points(polygons[number].exterior.coords), near).max() < 0.5
    assert area == pytest.approx(features[number]["properties"]["measurements"]["Area µm^2"], rel=1e-3)


# -- several classes ----------------------------------------------------------------------------------------

RED, GREEN, BLUE = ((200, 0, 0), (0, 160, 60), (60, 110, 220))
"""Of the classes of `typed_toy`."""


@pytest.fixture
def typed_page(browser, typed_run):
    complaints = []
    with serving(typed_run.path) as server:
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.access.url)
        page.wait_for_selector("#modes input", state="attached")
        yield page
        page.close()
    assert complaints == []


def columns_of(page, colour):
    """Where on the screen, from left to right, pixels of about a colour lie."""
    return np.argwhere(np.abs(viewer_pixels(page) - colour).sum(axis=2) < 90)[:, 1]


def test_classes_have_their_colours_counts_and_switches_at_every_zoom(typed_page, typed_run):
    page = typed_page
    counts = np.bincount(pq.read_table(typed_run.path / "nuclei.parquet")["class_value"].to_numpy())
    shown = page.inner_text("#class-switches").split("\n")
    assert shown == [
        "tumour or epithelial",
        str(counts[3]),
        "lymphocyte",
        str(counts[1]),
        "stromal",
        str(counts[2]),
    ]
    for zoom in (0.2, 0.5):
        go_to(page, 651, 555, zoom)
        left, middle, right = (columns_of(page, colour) for colour in (GREEN, RED, BLUE))
        assert min(len(left), len(middle), len(right)) > 100
        assert left.mean() < middle.mean() < right.mean()
        page.uncheck("#class-1")
        settled(page)
        assert len(columns_of(page, GREEN)) < 0.05 * len(left)
        assert len(columns_of(page, RED)) > 0.9 * len(middle)
        page.check("#class-1")
        settled(page)


def test_a_clicked_nucleus_tells_the_probability_of_each_class(typed_page, typed_run):
    page = typed_page
    row = pq.read_table(typed_run.path / "nuclei.parquet").to_pylist()[0]
    go_to(page, row["centroid_x"], row["centroid_y"], 2)
    page.locator("#viewer").click()
    page.wait_for_selector("#measurements")
    names = ("tumour or epithelial", "lymphocyte", "stromal")
    shown = page.locator("#measurements [data-class-value]").all_inner_texts()
    columns = (f"probability_{name.replace(' ', '_')}" for name in names)
    assert shown == [f"{round(100 * row[column])} %" for column in columns]
    labels = page.locator("#measurements dt").all_inner_texts()
    assert labels[:4] == ["Class", *names]
    assert page.locator("#measurements [data-column=class]").inner_text().strip() == row["class"]
    page.uncheck(f"#class-{row['class_value']}")
    assert page.locator("#measurements").count() == 0  # what is hidden is not selected
