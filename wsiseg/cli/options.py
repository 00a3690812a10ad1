"""Options that several commands share, defined once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.run.settings import RunSettings

Command = TypeVar("Command", bound="Callable[..., Any]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

reader_option = click.option(
    "--reader", metavar="openslide|tiffslide", default="openslide", show_default=True,
    help="What opens the slide; never switched silently.",
)  # fmt: skip

slide_argument = click.argument("slide", type=click.Path(path_type=Path))

max_unreadable_option = click.option(
    "--max-unreadable", type=float, metavar="SHARE", default=0.0, show_default=True,
    help="Share of the tissue's tiles that may be unreadable; the mask shows them as unknown.",
)  # fmt: skip

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))

_SHARED_OPTIONS = [
    click.option("--model", metavar="BUNDLE", help="A bundle's name or folder; see `wsiseg models`."),
    click.option("--mpp", type=float, metavar="UM", help="um per pixel of the slide, over what it states."),
    reader_option,
    click.option(
        "--tissue", metavar="auto|none|FILE", default="auto", show_default=True,
        help="Where to look: found by itself, everywhere, or a mask image or GeoJSON.",
    ),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps|openvino"),
]  # fmt: skip

_RUN_OPTIONS = [
    *_SHARED_OPTIONS,
    click.option("--roi", type=click.Path(path_type=Path), help="GeoJSON of regions to look at, from QuPath."),
    click.option("--workers", type=int, metavar="N", help="Threads that read and decode; by default all cores."),
]


def shared_options(command: Command) -> Command:
    """Add the options that decide how any slide is run."""
    for option in reversed(_SHARED_OPTIONS):
        command = option(command)
    return command


def run_options(command: Command) -> Command:
    """Add the slide and the options that decide how it is run."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return slide_argument(command)


def settings_from(options: dict[str, Any]) -> RunSettings:
    """Turn options into settings; what was not given keeps its default."""
    from wsiseg.run.settings import RunSettings

    return RunSettings(**{name: value for name, value in options.items() if value is not None})
