"""What a report says of the classes: how many nuclei of each, and the stromal lymphocyte share.

Knows `summary.json` alone; of a run with one class there is nothing to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsiseg.export.markup import number, section, text

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARE_DEFINITION = "lymphocytes / (lymphocytes + stromal nuclei), counted in all that was searched"
NO_SCORE = (
    "This is a share of nuclei and no clinical TIL score: that is the share of the stroma's area that lymphocytes "
    "cover, as a pathologist reads it inside the tumour's borders. The two cannot be compared."
)
"""Stands wherever the stromal lymphocyte share does."""


def classes_section(summary: Mapping[str, Any]) -> str:
    """Say how many nuclei are of which class."""
    if "classes" not in summary:
        return ""
    names = ("Class", "Nuclei", "Share", "Per mm² of tissue", "Mean probability")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{_key(one)}</th><td>{one["nuclei"]:,}</td><td>{100 * one["share"]:.1f} %</td>'
        f"<td>{number(one['nuclei_per_mm2'])}</td><td>{number(one['mean_probability'], 2)}</td></tr>"
        for one in summary["classes"]
    )
    return section(
        "Classes of the nuclei",
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>",
        "<p>A nucleus is of the class that is most probable over its pixels. The mean probability is that of the "
        "class itself, over its nuclei: the network's own opinion, not its accuracy.</p>",
        _stromal_share(summary),
    )


def _stromal_share(summary: Mapping[str, Any]) -> str:
    if "stromal_lymphocyte_share" not in summary:
        return ""
    share = summary["stromal_lymphocyte_share"]
    value = "not known, for there is neither" if share is None else f"{100 * share:.1f} %"
    return (
        f"<h3>Stromal lymphocyte share: {value}</h3>"
        f"<p>{text(SHARE_DEFINITION[0].upper() + SHARE_DEFINITION[1:])}. {text(NO_SCORE)}</p>"
    )


def class_keys(summary: Mapping[str, Any]) -> str:
    """Name the classes beside their colours, in a line."""
    if "classes" not in summary:
        return ""
    return f"<p>{' &ensp; '.join(_key(one) for one in summary['classes'])}</p>"


def _key(one: Mapping[str, Any]) -> str:
    colour = ", ".join(str(int(channel)) for channel in one["color"])
    return f'<span class="key" style="background: rgb({colour})"></span>{text(one["name"])}'
