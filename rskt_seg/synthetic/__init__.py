"""Synthetic aerial scenes with a class for every pixel, for demonstration, tests and benchmarks.

`render_scene` draws one scene, `write_miniature` a miniature dataset in the prepared layout of the catalog,
`render_unseen` a scene that is in none.
"""

from rskt_seg.synthetic.compose import Scene, render_scene, render_theme
from rskt_seg.synthetic.concepts import CONCEPTS, INDEX, NAMES, UNSEEN, Concept
from rskt_seg.synthetic.miniature import (
    MINIATURES,
    WSSS_MINIATURES,
    Miniature,
    render_unseen,
    write_miniature,
)
from rskt_seg.synthetic.styles import STYLES, Style
from rskt_seg.synthetic.themes import THEMES, Theme

__all__ = [
    "CONCEPTS",
    "Concept",
    "INDEX",
    "MINIATURES",
    "Miniature",
    "NAMES",
    "STYLES",
    "Scene",
    "Style",
    "THEMES",
    "Theme",
    "UNSEEN",
    "WSSS_MINIATURES",
    "render_scene",
    "render_theme",
    "render_unseen",
    "write_miniature",
]
