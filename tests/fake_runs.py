"""Run directories that look finished: the records that a cohort's table and page read, and no nuclei."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import orjson

from wsiseg.run.folder import OVERVIEW, PERFORMANCE, REPORT, SCHEMA, SUMMARY

if TYPE_CHECKING:
    from pathlib import Path


def a_summary(**changes):
    """The parts of a summary.json that a cohort reads."""
    summary = {
        "slide": {"name": "a slide.svs", "mpp": 0.499, "mpp_source": "aperio.MPP"},
        "model": {"name": "lite", "version": "1"},
        "tiles": {"grid": 10, "tissue": 7, "unreadable": 0},
        "tissue_mm2": 0.875,
        "nuclei": 2800,
        "nuclei_per_mm2": 3200.0,
        "area_um2": {"mean": 33.125},
    }
    return summary | changes


def an_overview(width=1000, height=700, legend=90, seed=0):
    """The PNG of a picture of random blots above a legend of black."""
    coarse = np.random.default_rng(seed).integers(120, 256, (14, 20, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".png", np.vstack([picture, np.zeros((legend, width, 3), np.uint8)]))[1].tobytes()


def write_run(folder: Path, summary=None, overview=b"", seconds=12.5):
    """Write a run directory that `inspect_run` calls complete."""
    folder.mkdir(parents=True)
    files = {
        OVERVIEW: overview or an_overview(),
        SUMMARY: orjson.dumps(summary or a_summary()),
        REPORT: b"<p>report</p>",
        PERFORMANCE: orjson.dumps({"seconds": {"total": seconds}}),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    record = orjson.dumps({"schema": SCHEMA, "wsiseg": "0", "slide": {}})
    (folder / "run.json").write_bytes(record)
    facts = [{"name": name, "size": len(data), "sha256": ""} for name, data in files.items()]
    content = {
        "schema": SCHEMA,
        "run": hashlib.sha256(record).hexdigest(),
        "deliverables": facts[:3],
        "records": facts[3:],
    }
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    (folder / "COMPLETE.json").write_bytes(orjson.dumps({**content, "digest": digest}))
    return folder
