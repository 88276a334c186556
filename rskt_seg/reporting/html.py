"""Parts of a page: every text is escaped, every picture is within the page."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from rskt_seg.quoting import visible

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222;
  max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc; }
h3 { font-size: 1em; margin-bottom: .3em; }
table { border-collapse: collapse; margin: .6em 0; }
th, td { padding: .15em .7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; vertical-align: top; }
img.half { max-width: 49%; }
pre { background: #f6f6f6; padding: .7em; overflow-x: auto; font-size: 12px; }
"""


def text(content: str) -> str:
    """Return a text for a page: escaped, with what nobody sees shown as `\\u202e` and the like."""
    return html.escape(visible(content))


def paragraph(content: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{text(content)}</p>"


def heading(level: int, content: str) -> str:
    """Return a heading of plain text; `level` is 1 to 6."""
    return f"<h{level}>{text(content)}</h{level}>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str | float | int]]) -> str:
    """Return a table.

    Args:
        headers: Title of each column.
        rows: Cells; floats have two decimals, and NaN is a dash.
    """
    lines = [f"<tr>{''.join(f'<th>{text(title)}</th>' for title in headers)}</tr>"]
    lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _cell(value: str | float | int) -> str:
    if isinstance(value, str):
        return f"<td>{text(value)}</td>"
    shown = f"{value:,}" if isinstance(value, int) else "-" if np.isnan(value) else f"{value:.2f}"
    return f'<td class="number">{shown}</td>'


def picture(content: np.ndarray | bytes, description: str, half: bool = False) -> str:
    """Return a picture that is within the page.

    Args:
        content: (H, W, 3) uint8 RGB, or a PNG file.
        description: What it shows, for readers who do not see it.
        half: Whether two of them stand beside each other.
    """
    if isinstance(content, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(content).quantize(256).save(file, format="PNG", optimize=True)
        content = file.getvalue()
    data = base64.b64encode(content).decode()
    kind = ' class="half"' if half else ""
    return f'<img{kind} alt="{text(description)}" src="data:image/png;base64,{data}">'


def folded(title: str, content: str) -> str:
    """Return a part that is closed until its reader opens it; `content` is HTML."""
    return f"<details><summary>{text(title)}</summary>\n{content}\n</details>"


def verbatim(content: str) -> str:
    """Return lines of plain text as they are."""
    return f"<pre>{text(content)}</pre>"


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page, without anything from outside of it.

    Args:
        title: Its title.
        parts: HTML, one part below the other.
    """
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
