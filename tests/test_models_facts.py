"""What a bundle tells of itself: the shipped one tells all, a stranger's may tell nonsense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wsiseg.models.bundle import load_bundle
from wsiseg.models.facts import Figure, figures, known_failures, trained_for, trained_on


def test_the_shipped_bundle_tells_of_its_tests_and_failures():
    bundle = load_bundle("nuclei-025")
    tests = [figure for figure in figures(bundle.spec) if figure.split == "test"]
    assert {figure.data for figure in tests} == {"tnbc", "nuinsseg", "brca_m2c"}
    assert all(0.6 < figure.recall < 1 and 0.6 < figure.precision < 1 for figure in tests)
    assert "tnbc (40 % of the crops)" in trained_on(bundle.spec)
    failures = known_failures(bundle)
    assert len(failures) >= 4
    assert failures[0].startswith("Dark, purple, low-contrast slides: pale nuclei are missed.")
    assert not any(mark in failure for failure in failures for mark in "*`\n")


def test_a_bundle_with_types_tells_of_both_trainings():
    def training(folder, steps):
        sources = [{"folder": folder, "share": 1.0}]
        return {"steps": steps, "config": {"sources": sources, "schedule": {"batch": 8, "crop_px": 64}}}

    spec = replace(
        load_bundle("nuclei-050").spec, training=training("dots", 30) | {"outlines": training("rims", 9)}
    )
    assert trained_on(spec) == "rims; types: dots"
    assert trained_for(spec) == "9 steps of 8 crops of 64 px; types: 30 steps of 8 crops of 64 px"
    odd = replace(spec, training=training("dots", 30) | {"outlines": [7]})
    assert trained_on(odd) == "dots"


GOOD = {"data": "mine", "split": "test", "nuclei_true": 7, "pooled": {"precision": 0.5, "recall": 1}}


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        [],
        {},
        GOOD | {"pooled": None},
        GOOD | {"pooled": {"precision": "x", "recall": 1}},
        GOOD | {"pooled": {"precision": 1e300, "recall": 1}},
        GOOD | {"nuclei_true": 1.5},
        GOOD | {"nuclei_true": -1},
    ],
)
def test_odd_figures_are_left_out(odd):
    spec = replace(load_bundle("nuclei-025").spec, metrics={"odd": odd, "good": GOOD})
    assert figures(spec) == [Figure("mine", "test", 7, 0.5, 1.0)]


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (
            "# a\n\n## Failures\n\n- **One**: of\n  two lines.\n- Two\n\n## Next\n- no",
            ["One: of two lines.", "Two"],
        ),
        ("# a\n\n## Known failures\nnone", []),
        ("no headings\n- at all", []),
        ("## Failures\n" + "- x\n" * 50, ["x"] * 8),
        ("## Failures\n- " + "y" * 5000, ["y" * 300 + " ..."]),
    ],
)
def test_failures_are_the_points_of_their_section(tmp_path, card, expected):
    (tmp_path / "README.md").write_text(card)
    assert known_failures(replace(load_bundle("nuclei-025"), folder=tmp_path)) == expected


def test_a_bundle_without_a_card_has_no_known_failures(tmp_path):
    assert known_failures(replace(load_bundle("nuclei-025"), folder=tmp_path)) == []
