"""Tables of the areas of classes: as text, CSV and JSON."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from rskt_seg.geo.area import GEODESIC, PLANE, AreaSummary, ClassArea
from rskt_seg.legend import Legend
from rskt_seg.quoting import csv_cell
from rskt_seg.writing import replace_text, replacing

_METHODS = {
    GEODESIC: "geodesic: on the ellipsoid of the coordinate system",
    PLANE: "those of the plane of the map",
}


def write_area_tables(
    base: Path,
    source: str,
    size: tuple[int, int],
    summary: AreaSummary,
    legend: Legend,
    notices: Sequence[str] = (),
) -> None:
    """Write `<base>_area.csv` and `<base>_area.json`.

    Args:
        base: Folder and beginning of the names.
        source: Name of the image.
        size: (H, W) of the map, px.
        summary: The areas, in the order of the legend.
        legend: The classes.
        notices: Decisions that the user should know of.

    Raises:
        OSError: A file cannot be written.
    """
    colors = [list(entry.color) for entry in legend.entries]
    classes = [
        {"id": entry.id, **_row(area)} for entry, area in zip(legend.entries, summary.classes, strict=True)
    ]
    total, nodata = _row(summary.total), {"id": legend.nodata, **_row(summary.nodata)}
    with (
        replacing(base.with_name(f"{base.name}_area.csv")) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(classes[0]))
        writer.writeheader()
        for row in (*classes, total, nodata):
            writer.writerow({key: csv_cell(value) for key, value in row.items()})
    content = {
        "image": source,
        "height": size[0],
        "width": size[1],
        "valid_pixels": summary.total.pixels,
        "ignore_label": legend.nodata,
        "classes": [row | {"color": color} for row, color in zip(classes, colors, strict=True)],
        "total": total,
        "nodata": nodata,
        "area_method": summary.method,
        "notices": list(notices),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    replace_text(base.with_name(f"{base.name}_area.json"), text)


def _row(area: ClassArea) -> dict[str, object]:
    return {
        "name": area.name,
        "pixels": area.pixels,
        "share": area.share,
        "square_metres": area.square_metres,
        "hectares": area.hectares,
    }


def area_table(summary: AreaSummary) -> str:
    """Return the areas as lines of text.

    Args:
        summary: The areas.

    Returns:
        The classes, the largest first, the total of their pixels and, if there is any, the nodata; for known
        areas how they were measured.
    """
    rows = [*sorted(summary.classes, key=lambda area: -area.pixels), summary.total]
    if summary.nodata.pixels:
        rows.append(summary.nodata)
    width = max(len(area.name) for area in rows)
    lines = []
    for area in rows:
        share = " " * 7 if area.share is None else f"{area.share:7.2%}"
        line = f"  {area.name:<{width}}  {area.pixels:>10} px  {share}"
        if area.square_metres is not None and area.hectares is not None:
            line += f"  {area.square_metres:14,.1f} m2  {area.hectares:12,.4f} ha"
        lines.append(line.rstrip())
    if summary.method is not None:
        lines.append(f"  areas are {_METHODS[summary.method]}")
    return "\n".join(lines)
