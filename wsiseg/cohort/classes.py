"""What the page of a cohort says of classes; nothing where the model has one."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from wsiseg.cohort.table import class_names
from wsiseg.export.classes import NO_SCORE, SHARE_DEFINITION
from wsiseg.export.markup import number, section, text
from wsiseg.run.classes import stromal_lymphocytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsiseg.cohort.table import CohortRow


def classes_section(rows: Sequence[CohortRow]) -> str:
    """Say how many nuclei of all slides are of which class, and how the slides differ."""
    names = class_names(rows)
    if not names:
        return ""
    of_class = {name: [one for row in rows for one in row.classes if one.name == name] for name in names}
    total = max(sum(one.nuclei for found in of_class.values() for one in found), 1)
    heads = ("Class", "Nuclei", "Share", "Median per mm²")
    body = ""
    for name, found in of_class.items():
        nuclei = sum(one.nuclei for one in found)
        densities = [one.nuclei_per_mm2 for one in found if one.nuclei_per_mm2 is not None]
        body += (
            f'<tr><th scope="row">{text(name)}</th><td>{nuclei:,}</td><td>{100 * nuclei / total:.1f} %</td>'
            f"<td>{number(median(densities) if densities else None)}</td></tr>"
        )
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return section("Classes of the nuclei", table, _share(rows))


def _share(rows: Sequence[CohortRow]) -> str:
    if not has_share(rows):
        return ""
    shares = [row.stromal_lymphocyte_share for row in rows]
    known = [share for share in shares if share is not None]
    value = f"median {100 * median(known):.1f} % of {len(known):,} slides" if known else "not known"
    return (
        f"<h3>Stromal lymphocyte share: {value}</h3><p>Of a slide: {text(SHARE_DEFINITION)}. {text(NO_SCORE)}</p>"
    )


def has_share(rows: Sequence[CohortRow]) -> bool:
    """Tell whether the model knows both classes that the stromal lymphocyte share is made of."""
    return bool(stromal_lymphocytes(dict.fromkeys(class_names(rows), 0)))
