"""How a map shows itself in Python: one line, a page of HTML, axes of matplotlib, a table of pandas."""

import base64
import io
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rskt_seg.errors import ConfigError
from rskt_seg.geo.area import AreaSummary
from rskt_seg.geo.georeference import Georeference
from rskt_seg.legend import Legend
from rskt_seg.visualization.figures import full_extent, image_size, legend_patch
from rskt_seg.visualization.quick_look import draw_reduced, present_classes
from rskt_seg.wording import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLOT_PIXELS = 1500
_PREVIEW_PIXELS = 360
_PREVIEW_COLORS = 128
_MOST_NAMED = 3
_MOST_LISTED = 20
_CELL = "padding:1px 8px"


def describe_place(georeference: Georeference | None) -> str:
    """Return where a map lies, in a few letters: its EPSG code, if it has one."""
    if georeference is None:
        return "no georeference"
    crs = georeference.crs if georeference.crs is not None else georeference.gcps_crs
    if crs is None:
        return "georeferenced without a coordinate system"
    return ":".join(crs.to_authority() or ("georeferenced",))


def describe_classes(labels: np.ndarray, legend: Legend) -> str:
    """Return the largest classes of a map with their shares, in a few letters.

    Args:
        labels: (H, W) uint8 or uint16 ids.
        legend: The classes.

    Returns:
        Such as "road 61.2%, tree 30.0%, and 2 more", below 120 letters.
    """
    found = present_classes(labels, legend)
    shown = [f"{_brief(each.entry.name)} {each.share:.1%}" for each in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        shown.append(f"and {len(found) - _MOST_NAMED} more")
    return ", ".join(shown) or "no pixel has a class"


def _brief(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def plot_map(
    labels: np.ndarray,
    legend: Legend,
    ax: "Axes | None" = None,
    *,
    image: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    alpha: float = 0.45,
    with_legend: bool = True,
    background: int | None = None,
) -> "Axes":
    """Draw a map on axes of matplotlib, which count in pixels of the map from its upper left corner.

    Args:
        labels: (H, W) uint8 or uint16 ids, perhaps of a map reduced by nearest neighbour.
        legend: The classes.
        ax: The axes; None: those of a new figure of pyplot.
        image: (H, W, 3) uint8 RGB to draw below; None: the map alone.
        size: (height, width) of the whole map, px; None: that of `labels`.
        alpha: Share of the class colours over the image, 0..1.
        with_legend: Whether the classes that occur are listed beside it, with their shares.
        background: Id of the class that leaves the image untinted, or None.

    Returns:
        The axes.

    Raises:
        ConfigError: `alpha` is outside 0..1.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is the share of class colours, 0..1; found {alpha}")
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    small = _within(_PLOT_PIXELS, labels)
    picture = draw_reduced(labels, legend, small, image=image, alpha=alpha, background=background)
    extent = full_extent(size or image_size(labels))
    ax.imshow(picture, extent=extent, interpolation="antialiased" if image is not None else "nearest")
    ax.set_axis_off()
    found = present_classes(labels, legend)
    if with_legend and found:
        handles = [
            legend_patch(np.array(entry.color), f"{shortened(entry.name)}  {share:.1%}")
            for entry, share in found[:_MOST_LISTED]
        ]
        title = f"the largest of {len(found)} classes" if len(found) > _MOST_LISTED else None
        ax.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return ax


def map_html(
    title: str,
    labels: np.ndarray,
    legend: Legend,
    areas: AreaSummary,
    *,
    image: np.ndarray | None = None,
    background: int | None = None,
) -> str:
    """Return a preview of a map as HTML, in which no name can be markup.

    Args:
        title: One line above it.
        labels: (H, W) uint8 or uint16 ids, perhaps of a map reduced by nearest neighbour.
        legend: The classes.
        areas: Areas of the classes, in the order of the legend.
        image: (H, W, 3) uint8 RGB to draw below; None: the map alone.
        background: Id of the class that leaves the image untinted, or None.

    Returns:
        A picture of at most 360 px a side beside the 20 largest classes with their areas: at most 250,000
        letters.
    """
    small = _within(_PREVIEW_PIXELS, labels)
    picture = draw_reduced(labels, legend, small, image=image, background=background)
    file = io.BytesIO()
    # Of noise, the worst that there is, 128 colours take 7 bits a pixel.
    Image.fromarray(picture).quantize(_PREVIEW_COLORS).save(file, format="PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    listed = [row for row in area_records(areas, legend) if row["pixels"]]
    listed.sort(key=lambda row: -row["pixels"])
    rows = "".join(map(_html_row, listed[:_MOST_LISTED]))
    if len(listed) > _MOST_LISTED:
        rows += f'<tr><td></td><td style="{_CELL}">and {len(listed) - _MOST_LISTED} more</td></tr>'
    return (
        f'<div><div style="font-family:monospace">{escape(title)}</div>'
        f'<div style="display:flex;gap:12px;align-items:flex-start">'
        f'<img alt="class map" width="{small[0]}" height="{small[1]}" src="data:image/png;base64,{data}">'
        f"<table>{rows}</table></div></div>"
    )


def _html_row(row: dict[str, Any]) -> str:
    metres = row["area_m2"]
    area = "" if metres is None else f"{metres / 1e4:,.2f} ha" if metres >= 1e4 else f"{metres:,.1f} m²"
    swatch = f'<div style="width:14px;height:14px;border:1px solid #666;background:{row["color"]}"></div>'
    cells = (f"{row['share']:.1%}", area)
    numbers = "".join(f'<td style="{_CELL};text-align:right">{escape(cell)}</td>' for cell in cells)
    name = escape(shortened(row["name"]))
    return f'<tr><td>{swatch}</td><td style="{_CELL};text-align:left">{name}</td>{numbers}</tr>'


def _within(most: int, labels: np.ndarray) -> tuple[int, int]:
    """Return (width, height) of a picture of a map with at most so many pixels a side."""
    height, width = labels.shape
    factor = min(1.0, most / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def area_records(areas: AreaSummary, legend: Legend) -> list[dict[str, Any]]:
    """Return the classes of a map as rows of a table.

    Args:
        areas: Areas of the classes, in the order of the legend.
        legend: The classes.

    Returns:
        For each class its `id`, `name`, `pixels`, `share` of the pixels that have a class (0..1), `area_m2`
        (None if unknown) and `color` ("#rrggbb").
    """
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "pixels": area.pixels,
            "share": area.share,
            "area_m2": area.square_metres,
            "color": "#{:02x}{:02x}{:02x}".format(*entry.color),
        }
        for entry, area in zip(legend.entries, areas.classes, strict=True)
    ]


def area_frame(areas: AreaSummary, legend: Legend) -> Any:
    """Return `area_records` as a `pandas.DataFrame`, unknown areas as NaN.

    Args:
        areas: Areas of the classes, in the order of the legend.
        legend: The classes.

    Returns:
        The table, a row for each class.

    Raises:
        ConfigError: The package pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigError(f"a data frame needs pandas: pip install pandas ({error})") from error
    return pandas.DataFrame(area_records(areas, legend)).astype({"share": float, "area_m2": float})
