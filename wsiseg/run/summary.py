"""The content of `summary.json`: what was found and how, and nothing that differs between executions."""

from __future__ import annotations

from dataclasses import asdict
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg import __version__
from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.models.facts import figures, known_failures, trained_on

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.tally import Tally


def summarise(plan: RunPlan, facts: Collection[dict[str, int]], tally: Tally) -> dict[str, Any]:
    """Give the summary of a run whose blocks are all decoded; `facts` are theirs."""
    spec, info = plan.bundle.spec, plan.info
    mpp = info.checked_mpp()
    area = plan.looked_at_mm2
    return {
        "wsiseg_version": __version__,
        "slide": {
            "name": plan.slide_name,
            "fingerprint": plan.slide_fingerprint,
            "width": info.levels[0].width,
            "height": info.levels[0].height,
            "mpp": mpp.value,
            "mpp_source": mpp.source,
            "reader": info.reader,
            "vendor": info.vendor,
            "objective_power": info.objective_power,
        },
        "model": {
            "name": spec.name,
            "version": spec.version,
            "sha256": plan.bundle.sha256,
            "mpp": spec.mpp,
            "licence": spec.licence,
            **_card(plan.bundle),
        },
        "frame": {
            "width": plan.frame.width,
            "height": plan.frame.height,
            "downsample": plan.frame.downsample,
            "origin": list(plan.frame.origin),
            "mpp": spec.mpp,
        },
        "tiles": {
            **plan.tile_counts(),
            "inferred": int(plan.wanted.sum()) - len(plan.lost),
            "unreadable": len(plan.lost),
        },
        "unreadable_tiles": list(_lost_tiles(plan)),
        "tissue_mm2": round(area, 6),
        "nuclei": tally.count,
        "nuclei_per_mm2": round(tally.count / area, 2) if area else None,
        **tally.classes.summary(area),
        **tally.distributions(),
        "polygons": {
            "repaired": sum(fact["repaired"] for fact in facts),
            "dropped": sum(fact["outside"] for fact in facts),
            "oversized": sum(fact["oversized"] for fact in facts),
        },
        "warnings": list(_warnings(plan, tally)),
        "settings": plan.settings.decisive(),
    }


def _card(bundle: ModelBundle) -> dict[str, Any]:
    """Give the model card in short."""
    return {
        "trained_on": trained_on(bundle.spec) or None,
        "figures": [asdict(figure) for figure in figures(bundle.spec)],
        "known_failures": known_failures(bundle),
    }


def _lost_tiles(plan: RunPlan) -> Iterator[dict[str, int]]:
    """Say where the tiles lie that could not be read, in the grid and in level-0 pixels."""
    for row, column in plan.lost:
        core = plan.grid.core(row, column)
        corners = plan.frame.to_level0(np.array([[core.x, core.y], [core.right, core.bottom]]))
        x, y, right, bottom = np.rint(corners).astype(int).ravel().tolist()
        yield {"row": row, "column": column, "x": x, "y": y, "width": right - x, "height": bottom - y}


def _warnings(plan: RunPlan, tally: Tally) -> list[str]:
    """What a reader of the numbers should know."""
    found = []
    if not plan.wanted.any():
        found.append("no tissue was found, so no tile was looked at; --tissue none looks everywhere")
    elif tally.count == 0:
        found.append("tissue was found, but no nucleus in it")
    slide_mpp, model_mpp = plan.info.checked_mpp().value, plan.bundle.spec.mpp
    if slide_mpp > 1.6 * model_mpp:
        found.append(
            f"the slide has {slide_mpp:g} um/px and the model works at {model_mpp:g}: "
            "it sees an enlarged image, so outlines are less certain than the figures of its card"
            + "".join(f"; --model {name} is made for such slides" for name in _made_for(slide_mpp, model_mpp))
        )
    return found


def _made_for(slide_mpp: float, model_mpp: float) -> list[str]:
    """Name the shipped model whose resolution is nearest to the slide's, if it is nearer than the one at hand."""
    far = {name: abs(log(load_bundle(name).spec.mpp / slide_mpp)) for name in bundle_names()}
    nearest = min(far, key=far.__getitem__)
    return [nearest] if far[nearest] < abs(log(model_mpp / slide_mpp)) - 0.1 else []
