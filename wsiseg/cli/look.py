"""`wsiseg info` and `wsiseg plan`: look before you run."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import json_option, reader_option, run_options, settings_from, slide_argument
from wsiseg.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from wsiseg.slides import SlideInfo


@click.command()
@slide_argument
@reader_option
@json_option
def info(slide: Path, reader: str, *, as_json: bool) -> None:
    """Show what a reader sees in a slide.

    Size, levels, downsamples, vendor, um/px and where that came from, and whether a run would believe it.
    """
    from wsiseg.slides import open_slide

    handle = open_slide(slide, reader=reader)
    found = handle.info
    handle.close()
    if as_json:
        print_json(_as_dict(found))
        return
    rows = _rows(found)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {printable(value)}")


def _mpp_doubt(found: SlideInfo) -> str:
    """Why a run would refuse the pixel size; empty if it would not."""
    from wsiseg.errors import SlideError

    try:
        found.checked_mpp()
    except SlideError as error:
        return f"{error.code}: {error.what}; {error.fix}"
    return ""


def _as_dict(found: SlideInfo) -> dict[str, Any]:
    mpp = found.mpp
    return {
        "name": found.path.name,
        "reader": found.reader,
        "reader_version": found.reader_version,
        "vendor": found.vendor,
        "levels": [
            {"width": level.width, "height": level.height, "downsample": level.downsample}
            for level in found.levels
        ],
        "mpp": {"x": mpp.x, "y": mpp.y, "source": mpp.source} if mpp else None,
        "mpp_refused": _mpp_doubt(found) or None,
        "objective_power": found.objective_power,
        "bounds": [found.area.x, found.area.y, found.area.width, found.area.height] if found.bounds else None,
        "background": list(found.background),
    }


def _rows(found: SlideInfo) -> list[tuple[str, str]]:
    size = found.levels[0]
    mpp = found.mpp
    rows = [
        ("slide", found.path.name),
        ("reader", f"{found.reader} ({found.reader_version})"),
        ("vendor", found.vendor),
        ("size", f"{size.width} x {size.height} px"),
        ("um/px", f"{mpp.x:.6g} x {mpp.y:.6g}, from {mpp.source}" if mpp else "not stated"),
    ]
    doubt = _mpp_doubt(found)
    if doubt:
        rows.append(("", f"a run would refuse it: {doubt}"))
    elif mpp:
        rows.append(("field", f"{size.width * mpp.x / 1000:.2f} x {size.height * mpp.y / 1000:.2f} mm"))
    if found.objective_power:
        rows.append(("objective", f"{found.objective_power:g}x"))
    if found.bounds:
        box = found.bounds
        rows.append(("bounds", f"{box.width} x {box.height} px at ({box.x}, {box.y})"))
    for index, level in enumerate(found.levels):
        rows.append((f"level {index}", f"{level.width} x {level.height} px, downsample {level.downsample:.7g}"))
    return rows


@click.command()
@run_options
@json_option
def plan(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Forecast a run without running it.

    Tiles, blocks, memory, disk and time, from the slide's low levels and a second of the network. Writes nothing.
    """
    from wsiseg.run import plan_run, slide_of
    from wsiseg.run.forecast import forecast

    settings = settings_from(options)
    with closing(slide_of(settings)) as opened:
        planned = plan_run(settings, opened)
    content = forecast(planned)
    if as_json:
        print_json(content)
        return
    tiles, blocks = content["tiles"], content["blocks"]
    click.echo(
        f"frame    {content['frame']['width']} x {content['frame']['height']} px at {content['mpp']:g} um/px"
    )
    skipped = f"{tiles['blank']:,} blank, {tiles['outside']:,} outside"
    click.echo(f"tiles    {tiles['tissue']:,} of {tiles['grid']:,} ({skipped})")
    click.echo(f"tissue   {content['tissue_mm2']:.2f} mm2")
    click.echo(f"blocks   {blocks['active']:,} of {blocks['grid']:,}")
    click.echo(f"memory   about {content['memory_bytes'] / 1e9:.1f} GB")
    click.echo(f"disk     about {content['disk_bytes'] / 1e6:,.0f} MB while it runs")
    rate = f"{content['tiles_per_second']:.0f} tiles/s on {content['device']}"
    click.echo(f"time     about {content['seconds']:,.0f} s at {rate}")
