"""Pieces of the page as HTML, in which no name can be markup."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from rskt_seg.app.results import Result
from rskt_seg.map_views import area_records

_LOSSLESS_PIXELS = 600**2
_QUALITY = 88

CSS = """
.rs-view img { width: 100%; max-height: 72vh; object-fit: contain; image-rendering: auto; display: block;
  background: var(--background-fill-secondary); border-radius: 8px; }
.rs-view img.rs-small { image-rendering: pixelated; }
.rs-view figcaption { opacity: .75; font-size: .85rem; margin-top: 4px; }
.rs-empty { border: 1px dashed var(--border-color-primary); border-radius: 8px; padding: 18vh 16px;
  text-align: center; }
.rs-note { border-left: 4px solid #2f6fde; padding: 6px 12px; margin: 4px 0; font-size: .9rem;
  background: var(--background-fill-secondary); border-radius: 4px; overflow-wrap: anywhere; }
.rs-note.rs-error { border-color: #c62828; }
.rs-note.rs-done { border-color: #2e7d32; }
.rs-table { border-collapse: collapse; width: 100%; font-size: .9rem; border: none !important; }
.rs-table tr { border: none !important; }
.rs-table th, .rs-table td { padding: 3px 8px !important; border: none !important; text-align: right;
  white-space: nowrap; border-bottom: 1px solid var(--border-color-primary) !important; }
.rs-table th:nth-child(1), .rs-table td:nth-child(1) { text-align: left; white-space: normal;
  overflow-wrap: break-word; max-width: 40vw; }
@media (max-width: 480px) { .rs-table th:nth-child(3), .rs-table td:nth-child(3) { display: none; } }
.rs-swatch { display: inline-block; width: 14px; height: 14px; border: 1px solid #666; border-radius: 3px;
  margin-right: 8px; vertical-align: -2px; }
.rs-ramp { height: 10px; border-radius: 5px;
  background: linear-gradient(90deg, #440154, #3b528b, #21918c, #5ec962, #fde725); }
.rs-ramp + div { display: flex; justify-content: space-between; font-size: .8rem; }
.rs-files { list-style: none; padding: 0; margin: 0; }
.rs-files li { padding: 3px 0; }
.rs-files a { text-decoration: underline; }
.rs-bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden;
  margin-top: 6px; }
.rs-bar div { height: 100%; background: #2f6fde; }
#rs-classes label span { overflow-wrap: anywhere; }
"""


def picture(pixels: np.ndarray, caption: str, ramp: bool = False) -> str:
    """Return a picture, in the page itself: no file of it is anywhere.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        caption: A line below it.
        ramp: Whether the colours of a confidence are explained below.
    """
    height, width = pixels.shape[:2]
    small = height * width <= _LOSSLESS_PIXELS
    file = io.BytesIO()
    if small:
        Image.fromarray(pixels).save(file, "PNG")
    else:
        Image.fromarray(pixels).save(file, "WEBP", quality=_QUALITY)
    data, kind = base64.b64encode(file.getvalue()).decode("ascii"), "png" if small else "webp"
    scale = '<div class="rs-ramp"></div><div><span>0</span><span>confidence</span><span>1</span></div>'
    return (
        f'<figure class="rs-view"><img alt="{escape(caption)}" class="{"rs-small" if small else ""}" '
        f'src="data:image/{kind};base64,{data}"><figcaption>{escape(caption)}</figcaption>'
        f"{scale if ramp else ''}</figure>"
    )


def nothing() -> str:
    """Return what stands in place of a picture before there is one."""
    return '<div class="rs-empty">Send an image, or pick an example</div>'


def note(lines: Sequence[str], kind: str = "") -> str:
    """Return lines of text.

    Args:
        lines: The lines; none gives "".
        kind: "error", "done" or "".
    """
    role = 'role="alert"' if kind == "error" else 'role="status"'
    style = f"rs-note rs-{kind}" if kind else "rs-note"
    return "".join(f'<div class="{style}" {role}>{escape(line)}</div>' for line in lines)


def bar(share: float) -> str:
    """Return how far a segmentation is, 0..1."""
    return (
        f'<div class="rs-note" role="status">segmenting: {share:.0%}'
        f'<div class="rs-bar"><div style="width:{share:.1%}"></div></div></div>'
    )


def areas(result: Result) -> str:
    """Return the areas of the classes, the largest first."""
    rows, on_ground = [], any(area.square_metres is not None for area in result.areas.classes)
    for row in sorted(area_records(result.areas, result.legend), key=lambda row: -row["pixels"]):
        metres = row["area_m2"]
        area = "" if metres is None else f"{metres / 1e4:,.2f} ha" if metres >= 1e4 else f"{metres:,.1f} m²"
        ground = f"<td>{area}</td>" if on_ground else ""
        swatch = f'<span class="rs-swatch" style="background:{row["color"]}"></span>'
        cells = f"<td>{row['share']:.1%}</td><td>{row['pixels']:,}</td>{ground}"
        rows.append(f"<tr><td>{swatch}{escape(row['name'])}</td>{cells}</tr>")
    head = f"<tr><th>class</th><th>share</th><th>pixels</th>{'<th>area</th>' if on_ground else ''}</tr>"
    return f'<table class="rs-table"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def legend_colors(result: Result) -> str:
    """Return a style that puts the colour of each present class before its box in the legend."""
    colors = result.legend.colors[list(result.present)].tolist()
    rules = [
        f'#rs-classes label:nth-of-type({place})::before {{ content: ""; width: 14px; height: 14px; '
        "border: 1px solid #666; border-radius: 3px; margin-right: 8px; flex: none; "
        f"background: rgb({r},{g},{b}); }}"
        for place, (r, g, b) in enumerate(colors, 1)
    ]
    return f"<style>{''.join(rules)}</style>"


def downloads(files: Mapping[str, str]) -> str:
    """Return links to results.

    Args:
        files: What it is -> address.
    """
    items = (
        f'<li><a href="{escape(address)}" download>{escape(title)}</a></li>'
        for title, address in files.items()
    )
    return f'<ul class="rs-files">{"".join(items)}</ul>'
