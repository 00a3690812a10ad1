"""The page says first what failed and why, lists every slide, loads nothing and runs its own script alone."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from io import BytesIO

import numpy as np
import pytest
from fake_runs import a_summary, an_overview, write_run
from PIL import Image
from strict_html import StrictPage

from wsiseg.cohort.page import PAGE, SHOWN, THUMBNAIL_BYTES, THUMBNAIL_PX, render_page, write_page
from wsiseg.cohort.remedies import REMEDIES, remedy_for
from wsiseg.cohort.table import ClassFigures, CohortRow
from wsiseg.errors import CODES
from wsiseg.export.overview import shrink_overview

HOSTILE = "<script>alert(1)</script>\"'&\udcff.svs"


class _Page(StrictPage):
    """Keeps the table of slides too."""

    def __init__(self, html):
        self.rows = []
        super().__init__(html)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag == "tr":
            self.rows.append((dict(attrs), []))

    def handle_data(self, data):
        super().handle_data(data)
        if "tr" in self.open:
            self.rows[-1][1].append(data)


def complete(name, **changes):
    values = {
        "slide": f"slides/{name}.svs",
        "state": "complete",
        "tissue_mm2": 2.0,
        "nuclei": 6000,
        "nuclei_per_mm2": 3000.0,
        "mean_area_um2": 33.0,
        "seconds": 12.0,
        "mpp": 0.25,
        "mpp_source": "aperio.MPP",
        "model": "lite 1",
        "folder": name,
    }
    return CohortRow(name, **values | changes)


def failed(name, code="E-MPP-MISSING", message="no pixel size in the slide"):
    return CohortRow(name, f"slides/{name}.svs", "failed", code, message)


def page(rows, thumbnails=None):
    return _Page(render_page("a study", rows, thumbnails or {}))


def test_failures_come_first_with_code_meaning_remedy_and_message():
    truncated = failed(
        "c", "E-SLIDE-TRUNCATED", f"tile 8 of level 0; {os.path.abspath('slides/c.svs')}; copy the slide again"
    )
    text = page([complete("a"), failed("b"), truncated, failed("d")]).text
    order = [
        "3 of 4 slides failed",
        "2 slides: the slide states no pixel size E-MPP-MISSING",
        f"What to do: {REMEDIES['E-MPP-MISSING']}",
        "b slides/b.svs no pixel size",
        "d slides/d.svs no pixel size",
        "1 slide: the file ends before its last tile E-SLIDE-TRUNCATED",
        "c slides/c.svs tile 8 of level 0; copy the slide again",
        "Median density",
        "Every slide",
    ]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)


def classes_of(tumour, lymphocyte, stromal):
    named = {"tumour": tumour, "lymphocyte": lymphocyte, "stromal": stromal}
    return {"classes": tuple(ClassFigures(name, count, count / 2) for name, count in named.items())}


def test_classes_are_counted_for_the_cohort_and_each_slide():
    rows = [complete("a", **classes_of(5000, 600, 400)), failed("b"), complete("c", **classes_of(1000, 900, 100))]
    found = page(rows)
    assert "tumour 6,000 75.0 % 1,500" in found.text
    assert "Stromal lymphocyte share: median 75.0 % of 2 slides" in found.text
    assert "no clinical TIL score" in found.text
    assert "tumour per mm² lymphocyte per mm² stromal per mm² Stromal lymphocyte share" in found.text
    cells = {attrs["data-value"] for tag, attrs in found.tags if tag == "td" and "data-value" in attrs}
    assert {"2500.0", "300.0", "200.0", "0.6", "0.9"} <= cells
    assert "5,000 nuclei" in found.text


def test_one_class_is_not_mentioned_and_hostile_names_stay_text():
    assert "Classes" not in page([complete("a")]).text
    names = page([complete("a", classes=(ClassFigures(HOSTILE, 4, 2.0), ClassFigures("other", 4, 2.0)))])
    assert names.texts.count(HOSTILE.replace("\udcff", "?")) == 1
    assert f"{HOSTILE.replace(chr(0xDCFF), '?')} per mm²" in names.text
    assert "Stromal lymphocyte share" not in names.text


def test_no_failure_no_alarm():
    text = page([complete("a"), complete("b")]).text
    assert "slides failed" not in text
    assert "Failed 0" in text


def test_many_failures_of_one_cause_fold_and_stay_in_the_page():
    rows = [failed(f"slide-{i}") for i in range(3 * SHOWN)]
    found = page(rows)
    assert f"{2 * SHOWN} more" in found.text
    assert all(f"slide-{i} " in found.text for i in range(3 * SHOWN))
    assert ("details", {}) in found.tags  # opens without any script


def test_an_unknown_reason_is_said_to_be_unknown():
    text = page([CohortRow("a", "a.svs", "failed")]).text
    assert "it is not known why" in text
    assert remedy_for("") in text


def test_the_figures_add_up():
    rows = [
        complete("a", nuclei=1_000_000, tissue_mm2=1.5, nuclei_per_mm2=100.0),
        complete("b", nuclei=234, tissue_mm2=2.0, nuclei_per_mm2=300.0),
        complete("c", nuclei=0, tissue_mm2=0.0, nuclei_per_mm2=None, mean_area_um2=None),
        complete("g", state="complete-with-gaps", nuclei=6, tissue_mm2=0.5, nuclei_per_mm2=200.0),
        CohortRow("w", "w.svs", "waiting"),
        CohortRow("a", "copy.svs", "duplicate", message="the same slide as a", folder="a"),
        failed("f"),
    ]
    text = page(rows).text
    for expected in (
        "Slides 7", "Complete 4", "Failed 1", "Waiting 1", "Duplicate 1", "Nuclei 1,000,240", "Tissue 4.0 mm²",
        "Median density 200 per mm²", "1 slide not finished yet", "1 slide could not be read everywhere",
    ):  # fmt: skip
        assert expected in text


def test_the_table_is_there_without_the_script_what_matters_first():
    rows = [CohortRow("x", "x.svs", "duplicate"), complete("a"), CohortRow("w", "w.svs", "waiting"), failed("f")]
    found = page(rows)
    states = [attrs["data-state"] for attrs, _ in found.rows[1:]]
    assert states == ["failed", "waiting", "complete", "duplicate"]
    assert {"6,000", "2.00", "3,000", "33.0", "0.2500", "12"} <= set(found.rows[3][1])
    assert "E-MPP-MISSING" in found.rows[1][1]
    exact = [attrs["data-value"] for tag, attrs in found.tags if "data-value" in attrs]
    assert exact == ["6000", "2.0", "3000.0", "33.0", "0.25", "12.0"]
    assert ("div", {"id": "find", "hidden": None}) in found.tags  # only the script can show what only it can do


def test_only_finished_slides_link_to_their_report():
    rows = [complete("ä b"), failed("f"), CohortRow("w", "w.svs", "waiting", folder="w")]
    links = [attrs["href"] for tag, attrs in page(rows).tags if tag == "a"]
    assert links == ["%C3%A4%20b/report.html"]


def test_hostile_names_stay_text():
    rows = [
        CohortRow(HOSTILE, HOSTILE, "failed", HOSTILE, HOSTILE),
        complete(HOSTILE, slide=HOSTILE, mpp_source=HOSTILE, model=HOSTILE, message=HOSTILE),
        CohortRow(HOSTILE, HOSTILE, "duplicate", message=HOSTILE),
    ]
    html = render_page(HOSTILE, rows, {})
    html.encode("utf-8")
    found = _Page(html)
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert "<script>alert" not in html
    assert sum("<script>alert(1)</script>\"'&?.svs" in text for text in found.texts) >= 10
    assert all(not set(attrs) & {"onload", "onerror", "onclick", "style"} for _, attrs in found.tags)


def test_nothing_is_loaded_and_only_the_known_script_runs():
    html = render_page("a", [complete("a")], {"a": shrink_overview(an_overview(), 96, 6000)})
    found = _Page(html)
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in found.tags if tag == "img")
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in found.tags}
    assert not any("src" in attrs for tag, attrs in found.tags if tag == "script")
    assert "://" not in html
    assert "@import" not in html
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv"))
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


@pytest.mark.parametrize(
    "values", [[5.0], [0.0, 0.0], [3000.0, 3000.0001], [1.0, 1e6], [float(i**2) for i in range(300)]]
)
def test_every_slide_is_in_a_bar(values):
    rows = [complete(f"s{i}", nuclei_per_mm2=value) for i, value in enumerate(values)]
    html = render_page("a", rows, {})
    chart = re.search(r"<figcaption>Density</figcaption><svg(.*?)</svg>", html)[1]
    heights = [float(height) for height in re.findall(r'class="bar".*?height="([0-9.]+)"', chart)]
    assert 1 <= len(heights) <= 60
    assert max(heights) > 0


def test_the_bars_hold_all_values():
    from wsiseg.cohort.page import _binned

    values = np.random.default_rng(0).gamma(9, 330, 1000).tolist()
    edges, counts = _binned(values)
    assert sum(counts) == 1000
    assert edges[0] <= min(values) < max(values) < edges[-1]
    assert (np.diff(edges) == edges[1] - edges[0]).all()


# -- thumbnails -----------------------------------------------------------------------------------------------


def test_thumbnails_come_from_the_overview_without_its_legend(tmp_path):
    write_run(tmp_path / "study" / "a", a_summary(), an_overview(1600, 1000, 144))
    write_page(tmp_path / "study", [complete("a"), failed("f")])
    found = _Page((tmp_path / "study" / PAGE).read_text("utf-8"))
    assert "study" in found.texts
    (picture,) = (attrs for tag, attrs in found.tags if tag == "img")
    assert picture["loading"] == "lazy"
    data = base64.b64decode(picture["src"].partition(",")[2])
    assert len(data) <= THUMBNAIL_BYTES
    pixels = np.asarray(Image.open(BytesIO(data)))
    assert pixels.shape == (THUMBNAIL_PX * 1000 // 1600, THUMBNAIL_PX, 3)
    assert pixels.min() > 60  # the legend of the fake is black


def test_a_restless_picture_is_made_small_all_the_same():
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    png = BytesIO()
    Image.fromarray(noise).save(png, "PNG")
    large, small = (shrink_overview(png.getvalue(), 1000, most) for most in (10**9, 300_000))
    assert len(small) <= 300_000 < len(large)


@pytest.mark.parametrize("harm", ["missing", "no picture"])
def test_a_missing_picture_costs_nothing_else(harm, tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "overview.png").unlink()
    if harm == "no picture":
        (folder / "overview.png").write_bytes(b"no picture")
    write_page(tmp_path, [complete("a")])
    html = (tmp_path / PAGE).read_text("utf-8")
    assert "<img" not in html
    assert 'href="a/report.html"' in html


def test_equal_rows_give_equal_pages(tmp_path):
    for name in ("one/study", "two/study"):
        write_run(tmp_path / name / "a")
        write_page(tmp_path / name, [complete("a")])
    assert (tmp_path / "one/study" / PAGE).read_bytes() == (tmp_path / "two/study" / PAGE).read_bytes()


def test_a_thousand_slides_make_a_page_that_opens_at_once():
    thumbnail = b"\xff" * 2500
    rows = [complete(f"slide-{i}") if i % 20 else failed(f"slide-{i}") for i in range(1000)]
    html = render_page("a", rows, {row.folder: thumbnail for row in rows if row.folder})
    assert len(html) < 5_000_000
    assert html.count("<tr data-state") == 1000


# -- remedies -------------------------------------------------------------------------------------------------


def test_every_refusal_of_a_slide_has_a_remedy():
    refusals = {code for code in CODES if code.startswith(("E-SLIDE-", "E-MPP-", "E-PIXEL-", "E-NO-PYRAMID"))}
    assert refusals <= set(REMEDIES) <= set(CODES)
