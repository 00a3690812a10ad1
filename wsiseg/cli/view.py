"""`wsiseg view`: look at what was found."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from wsiseg.cli.options import folder_argument


@click.command()
@folder_argument
@click.option("--slide", type=click.Path(path_type=Path), help="The run's slide, if it does not lie beside DIR.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Where to listen; 0 is a free port.",
)
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing.")
def view(folder: Path, slide: Path | None, port: int, *, no_browser: bool) -> None:
    """Show a finished run or cohort in a browser.

    The page can be reached from this machine only, and with the printed address; from elsewhere through
    `ssh -L PORT:127.0.0.1:PORT`. Ctrl-C ends it.
    """
    import webbrowser

    from wsiseg.view import Routes, ViewServer, open_library

    with closing(open_library(folder, slide)) as library, ViewServer(Routes(library), port) as server:
        click.echo(server.access.url)
        if not no_browser:
            webbrowser.open(server.access.url_for_once())
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
