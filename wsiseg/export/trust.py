"""Whether a run can be trusted, in plain words: what a reader of its numbers should know, and how grave it is.

Knows `summary.json` alone. It cannot say that nuclei are right, only what would make them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Grade = Literal["good", "look", "bad"]

MOST_LOST = 0.05
"""With a larger share of the tissue unreadable, counts say little."""
DOUBTFUL = 0.7
"""A nucleus below this mean probability is one that the network was not sure of."""
MOST_DOUBTFUL = 0.25
"""With a larger share of such nuclei, stain or focus may be unlike what the network has learned."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that bears on trust."""

    grade: Grade
    about: str
    text: str


VERDICTS: dict[Grade, str] = {
    "good": "Nothing that was checked speaks against these numbers. Whether the outlines fit, only eyes can tell: "
    "look at the examples below.",
    "look": "With care: read the points marked Look, and look at the examples below.",
    "bad": "Not as they stand: read the points marked Problem first.",
}
"""What the gravest finding means for the whole."""


def findings(summary: Mapping[str, Any]) -> list[Finding]:
    """Give what bears on trust, in the order in which a reader asks."""
    found = [_read(summary), _searched(summary), _pixel_size(summary), _sureness(summary), _accuracy(summary)]
    warned = (Finding("look", "Warning", _sentence(warning)) for warning in summary["warnings"])
    return [one for one in found if one is not None] + list(warned)


def verdict(found: Sequence[Finding]) -> Grade:
    """Give the gravest grade."""
    grades: tuple[Grade, ...] = ("bad", "look", "good")
    return next(grade for grade in grades if any(one.grade == grade for one in found) or grade == "good")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."


def _read(summary: Mapping[str, Any]) -> Finding:
    """Say whether all of the tissue could be read."""
    lost, tissue = summary["tiles"]["unreadable"], summary["tiles"]["tissue"]
    if not lost:
        return Finding("good", "Reading", "Everything that was to be searched could be read.")
    share = lost / max(tissue, 1)
    grade: Grade = "bad" if share > MOST_LOST else "look"
    return Finding(
        grade,
        "Reading",
        f"{lost:,} squares of tissue, of {tissue:,} ({100 * share:.1f} %), could not be read. Their nuclei "
        "are missing, while their area counts as tissue, so the density is too low by about that share.",
    )


def _searched(summary: Mapping[str, Any]) -> Finding:
    """Say how much was searched, and what the density is a density of."""
    tiles, area, settings = summary["tiles"], summary["tissue_mm2"], summary["settings"]
    if tiles["tissue"] == 0:
        return Finding("bad", "Searched", "Nothing was searched.")
    read = 100 * (1 - tiles["unreadable"] / tiles["tissue"])
    where = " inside the chosen region" if settings.get("roi") else ""
    if settings.get("tissue") == "none":
        what = f"All {area:,.2f} mm²{where} were searched, glass included: the density is per mm² of slide."
        return Finding("look", "Searched", what)
    of_slide = 100 * tiles["tissue"] / tiles["grid"]
    return Finding(
        "good",
        "Searched",
        f"{read:.4g} % of the tissue that was found{where}, {area:,.2f} mm². It touches {of_slide:.0f} % of the "
        "slide's squares; nuclei in the glass of these count too. Tissue as pale as glass is missed: the overview "
        f"has its outline in {'black' if 'classes' in summary else 'red'}.",
    )


def _pixel_size(summary: Mapping[str, Any]) -> Finding:
    """Say how far the pixel size is believed: areas go with its square."""
    slide = summary["slide"]
    size, power = f"{slide['mpp']:.4g} µm", slide.get("objective_power")
    if slide["mpp_source"] == "--mpp":
        text = f"A pixel was said to be {size} wide (--mpp), whatever the slide states."
        return Finding("look", "Pixel size", f"{text} A tenth too much makes areas a fifth too large.")
    stated = f"The slide states pixels of {size} ({slide['mpp_source']})"
    if power:
        return Finding("good", "Pixel size", f"{stated}, and its {power:g}x objective agrees.")
    return Finding(
        "look",
        "Pixel size",
        f"{stated}, and no objective to compare that with. A tenth too much makes areas a fifth too large.",
    )


def _sureness(summary: Mapping[str, Any]) -> Finding | None:
    """Say how sure the network was of what it found."""
    probability = summary["probability"]
    histogram = probability["histogram"]
    if not any(histogram["counts"]):
        return None
    below = sum(
        count
        for edge, count in zip(histogram["edges"][1:], histogram["counts"], strict=True)
        if edge <= DOUBTFUL + 1e-9
    )
    share = below / sum(histogram["counts"])
    return Finding(
        "look" if share > MOST_DOUBTFUL else "good",
        "The network's sureness",
        f"Mean probability of a nucleus: {probability['mean']:.2f} of 1; {100 * share:.0f} % of the nuclei are "
        f"below {DOUBTFUL:g}. This is the network's own opinion: it does not know what it has missed.",
    )


def _accuracy(summary: Mapping[str, Any]) -> Finding:
    """Say how well the model did where the truth is known."""
    figures = summary["model"].get("figures", ())
    tested = [one for one in figures if one["split"] == "test"]
    if not tested:
        return Finding("look", "The model's accuracy", "Its bundle has no figures of a test: nobody knows.")
    recall, precision = (_range(one[name] for one in tested) for name in ("recall", "precision"))
    where = ", ".join(f"{one['data']} ({one['nuclei']:,} nuclei)" for one in tested)
    return Finding(
        "good",
        "The model's accuracy",
        f"On test fields with known nuclei it found {recall} of 100, and of 100 that it found {precision} were "
        f"nuclei: {where}. Slides of other stains and scanners may do worse.",
    )


def _range(shares: Iterator[float]) -> str:
    """Give shares as a range of whole per cent."""
    percent = sorted(round(100 * share) for share in shares)
    return f"{percent[0]}" if percent[0] == percent[-1] else f"{percent[0]} to {percent[-1]}"
