"""A survey as text: `summary.md`, and the lines that the command prints."""

from __future__ import annotations

from typing import Any

from wsiseg.train.nucls.survey import KINDS
from wsiseg.train.tables import Table, aligned_lines, markdown_table

_RULES = {
    "strict": (
        "Each nucleus is drawn from the published table, as its outline or as a filled box. `ignore/` says where "
        "the truth does not hold: 1 = outside the field, where nobody labelled; 2 = a nucleus of which only the "
        "box is known. `classes/` holds what each nucleus is, by the names of `classes.csv`; 0 is background or "
        "ambiguous. Each patient is in one split."
    ),
    "thesis": (
        "The center 256 px of each field, with boxes as filled rectangles and nothing ignored; any label above 0 "
        "is nucleus. Files, not patients, are split 90/10 with seed 42."
    ),
}
_PLURALS = {"outline": "outlines", "box": "boxes", "point": "points"}


def summary_lines(content: dict[str, Any]) -> list[str]:
    """Give the short table that a person sees on the terminal."""
    lines = [
        f"{content['mode']}: {_headline(content)}",
        "",
        *_aligned(_class_table(content, "classes")),
        "",
        *_aligned(_split_table(content)),
    ]
    if content["patients_in_two_splits"]:
        lines.append(f"{content['patients_in_two_splits']:,} patients are in two splits: scores will be too good")
    return [*lines, "", *_pixel_lines(content)]


def left_out_lines(content: dict[str, Any], most: int = 20) -> list[str]:
    """Name the files left out, each with its reason."""
    left_out = content["left_out"]
    lines = [f"left out: {item['file']}: {item['reason']}" for item in left_out[:most]]
    more = len(left_out) - most
    return [*lines, f"left out: {more:,} more files, see summary.md"] if more > 0 else lines


def summary_page(content: dict[str, Any]) -> str:
    """Write `summary.md`."""
    parts = [
        f"# NuCLS, prepared for training: {content['mode']}",
        _RULES[content["mode"]],
        f"{_headline(content)}. {_sizes(content)}",
        "![Counts by class, labels, sizes](summary.png)",
        "## Classes",
        _markdown(_class_table(content, "classes")),
        _markdown(_class_table(content, "super_classes")),
        "## Splits",
        _markdown(_split_table(content)),
        f"Patients in two splits: {content['patients_in_two_splits']:,}.",
        "## Diameters in um",
        _markdown(_diameter_table(content)),
        "An outline's diameter is that of a circle of its area, a box's that of the ellipse inside it.",
        "## Pixels",
        " ".join(_pixel_lines(content)),
        *_thesis_tables(content),
        "## Left out",
        _left_out(content),
        "## Source",
        "NuCLS: Amgad et al., GigaScience 11 (2022), giac037; data CC0 1.0.",
    ]
    return "\n\n".join(parts) + "\n"


def _headline(content: dict[str, Any]) -> str:
    kinds = ", ".join(
        f"{count:,} {_PLURALS[kind]} ({count / content['nuclei']:.0%})"
        for kind, count in content["kinds"].items()
        if count
    )
    counted = f"{content['fields']:,} fields of {content['patients']:,} patients, {content['nuclei']:,} nuclei"
    return f"{counted}: {kinds}" if kinds else counted


def _sizes(content: dict[str, Any]) -> str:
    width, height = (
        f"{sides['min']:.0f} to {sides['max']:.0f} px"
        for sides in (content["field_px"]["width"], content["field_px"]["height"])
    )
    masks, drawn = content["fields_with_mask"], content["nuclei_drawn"]
    return (
        f"{masks:,} fields have a mask. Published images are {width} wide and {height} high, at "
        f"{content['um_per_px']} um per px. The instance maps hold {drawn:,} nuclei; any other lies outside the "
        "crop or under others."
    )


def _class_table(content: dict[str, Any], group: str) -> list[list[str]]:
    kinds = [kind for kind in KINDS if content["kinds"][kind]]
    rows = [
        [name, *(f"{counts[kind]:,}" for kind in kinds), f"{sum(counts.values()):,}"]
        for name, counts in {**content[group], "all": content["kinds"]}.items()
    ]
    return [["class" if group == "classes" else "super class", *kinds, "all"], *rows]


def _split_table(content: dict[str, Any]) -> list[list[str]]:
    names = ["fields", "patients", "nuclei", "outlines"]
    rows = [[split, *(f"{figures[name]:,}" for name in names)] for split, figures in content["splits"].items()]
    return [["split", *names], *rows]


def _diameter_table(content: dict[str, Any]) -> list[list[str]]:
    rows = [
        [kind, *(f"{figures[name]:.1f}" for name in ("p5", "median", "p95"))]
        for kind, figures in content["diameter_um"].items()
    ]
    return [["label", "5 %", "median", "95 %"], *rows]


def _pixel_lines(content: dict[str, Any]) -> list[str]:
    if content["mode"] == "strict":
        total = sum(content["pixels"].values())
        counted, outside, boxes = (
            f"{content['pixels'][name] / total:.0%}" for name in ("counted", "outside_field", "box_only")
        )
        return [f"Of all pixels {counted} count, {boxes} are ignored as boxes and {outside} as outside the field."]
    fields, total = content["thesis_rule"]["fields"], content["thesis_rule"]["total"]
    right, by_rule = total.get("nucleus"), total.get("nucleus_by_thesis_rule")
    if not fields:
        return ["No mask holds code 0 (outside the field): the thesis' mask rule changes nothing here."]
    return [
        f"The thesis' mask rule (253 becomes 0, everything else 1) takes code 0, outside the field, for nucleus: "
        f"{by_rule:,} px in {len(fields):,} fields, where {right:,} are nucleus.",
        f"Of the {total['outside_field']:,} px too many, {total['outside_field_in_crop']:,} lie in the center "
        "crops. Here they are background.",
    ]


def _thesis_tables(content: dict[str, Any]) -> list[str]:
    fields = content.get("thesis_rule", {}).get("fields", ())
    if not fields:
        return []
    names = ["nucleus", "nucleus_by_thesis_rule", "outside_field", "outside_field_in_crop"]
    header = ["field", "nucleus, px", "by the thesis' rule", "too many: code 0", "of these in the crop"]
    return [_markdown([header, *([field["field"], *(f"{field[name]:,}" for name in names)] for field in fields)])]


def _left_out(content: dict[str, Any]) -> str:
    if not content["left_out"]:
        return "Nothing: each file was decoded to its end."
    return _markdown([["file", "reason"], *([item["file"], item["reason"]] for item in content["left_out"])])


def _markdown(table: list[list[str]]) -> str:
    return markdown_table(_as_table(table))


def _aligned(table: list[list[str]]) -> list[str]:
    return aligned_lines(_as_table(table))


def _as_table(lines: list[list[str]]) -> Table:
    header, *rows = (tuple(line) for line in lines)
    return Table(header, tuple(rows))
