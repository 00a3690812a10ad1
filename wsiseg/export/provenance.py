"""What a report says of its making: the slide, the model's card in short, the program and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsiseg.export.markup import UNKNOWN, section, table, text

if TYPE_CHECKING:
    from collections.abc import Mapping


def slide_section(summary: Mapping[str, Any]) -> str:
    """Say what the slide states of itself."""
    slide = summary["slide"]
    power = slide.get("objective_power")
    return section(
        "The slide",
        table(
            [
                ("Name", str(slide["name"])),
                ("Size", f"{slide['width']:,} x {slide['height']:,} pixels"),
                ("Pixel size", f"{slide['mpp']:.4g} µm ({slide['mpp_source']})"),
                ("Objective", f"{power:g}x" if power else UNKNOWN),
                ("File format", str(slide.get("vendor") or UNKNOWN)),
                ("Read with", str(slide["reader"])),
            ]
        ),
    )


def model_section(summary: Mapping[str, Any]) -> str:
    """Give the model's card in short; `wsiseg models` shows the whole one."""
    model, frame = summary["model"], summary["frame"]
    rows = [
        ("Name", f"{model['name']} {model['version']}"),
        ("Looks at pixels of", f"{model['mpp']:g} µm"),
        ("Slide scaled to", f"{frame['mpp']:.4g} µm, {frame['width']:,} x {frame['height']:,} pixels"),
        ("Trained on", str(model.get("trained_on") or UNKNOWN)),
        ("Licence", str(model["licence"])),
        ("Fingerprint (SHA-256)", str(model["sha256"])),
    ]
    return section("The model", table(rows), _figures(model), _failures(model))


def _figures(model: Mapping[str, Any]) -> str:
    figures = model.get("figures")
    if not figures:
        return "<p>Its bundle holds no figures: nobody has measured how accurate it is.</p>"
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Fields of", "Nuclei", "Found", "Right"))
    body = "".join(
        f'<tr><th scope="row">{text(one["data"])}, {text(one["split"])}</th><td>{one["nuclei"]:,}</td>'
        f"<td>{100 * one['recall']:.0f} %</td><td>{100 * one['precision']:.0f} %</td></tr>"
        for one in figures
    )
    return (
        "<h3>How accurate it is where the nuclei are known</h3>"
        "<p>Found: share of the true nuclei. Right: share of what it took for nuclei. “test”: fields that were "
        "kept until all was decided. “val” and others: fields that settings were chosen by, or others.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def _failures(model: Mapping[str, Any]) -> str:
    failures = model.get("known_failures")
    if not failures:
        return ""
    items = "".join(f"<li>{text(one)}</li>" for one in failures)
    return f"<h3>Where it is known to fail</h3><ul>{items}</ul>"


def making_section(summary: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Say which program made the run, on what, and with which settings.

    Parameters
    ----------
    record
        The content of `run.json`.
    """
    numerics = record.get("numerics", {})
    computed = ", ".join(str(numerics[key]) for key in ("device", "dtype", "cpu_capability") if numerics.get(key))
    rows = [
        ("wsiseg", str(summary["wsiseg_version"])),
        ("Computed on", computed or UNKNOWN),
        ("torch", str(numerics.get("torch_version", UNKNOWN))),
        *((str(name), str(version)) for name, version in record.get("versions", {}).items()),
    ]
    settings = ((str(name), str(value)) for name, value in summary["settings"].items())
    return section(
        "The program",
        "<p>The time of each step is in performance.json beside this report: it differs from one execution to the "
        "next, and this report does not.</p>",
        f"<details><summary>Versions</summary>{table(rows)}</details>",
        f"<details><summary>Settings</summary>{table(settings)}</details>",
    )
