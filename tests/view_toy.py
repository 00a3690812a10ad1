"""A finished run of a painted slide, served as `wsiseg view` serves it."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager

from synthetic import corrupt_tile, paint_tissue, scattered, write_slide
from toy import describe_bundle, run_toy, toy_spec

from wsiseg.geometry import Box
from wsiseg.view import Routes, ViewServer, open_library

SIZE = (1500, 1100)
"""Level 0, px."""
TISSUE = Box(100, 100, 1300, 900)
"""The rest is glass."""


def paint_and_run(folder, *, damaged=False):
    """Run a slide of scattered nuclei; give the painting, the slide's path and the run directory."""
    nuclei = [n for n in scattered(SIZE) if 120 < n.x < TISSUE.right - 20 and 120 < n.y < TISSUE.bottom - 20]
    painting = paint_tissue(SIZE, nuclei, [TISSUE], noise=0)
    slide = write_slide(folder / "a slide.svs", painting.rgb, mpp=0.25)
    if damaged:
        corrupt_tile(slide, 8)
    bundle = describe_bundle(folder / "toy", toy_spec())
    run_toy(slide, folder / "run", bundle, tissue="auto", max_unreadable=1.0 if damaged else 0.0)
    return painting, slide, folder / "run"


@contextmanager
def serving(folder, slide=None):
    """Serve a folder in a thread; give the server."""
    library = open_library(folder, slide)
    with ViewServer(Routes(library)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            library.close()


def get(server, path, method="GET", **headers):
    """Ask with the token, unless headers say otherwise; give the response and its body."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    fields = {"Authorization": f"Bearer {server.access.token}"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    connection.request(method, path, headers={k: v for k, v in fields.items() if v is not None})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body
