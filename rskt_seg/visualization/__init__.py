"""Every picture that this project draws: results, comparisons with a truth, and what a model did inside.

All functions take their arguments in one order and leave out what a picture does not need: `image` (H, W, 3)
uint8 RGB; what is drawn of it, `labels` and `truth` (H, W) integer class ids, or `maps`; `class_names`;
`colors` (K, 3) uint8 RGB, one for each class (see `rskt_seg.palette`), or a `legend` in place of both; then
options by keyword. `scenes` are several images with truth and labels. An id outside 0..K-1, or not in the
legend, is nodata or ignore_label: it has no class.

Pictures are (H, W, 3) uint8 RGB arrays; what may need several pages returns a list of them. matplotlib draws
off screen and is imported on use.
"""

from rskt_seg.visualization.cams import draw_cams
from rskt_seg.visualization.confusion import draw_confusion
from rskt_seg.visualization.contact_sheets import draw_contact_sheet
from rskt_seg.visualization.context_maps import draw_context_maps
from rskt_seg.visualization.cost_maps import draw_cost_maps
from rskt_seg.visualization.curves import draw_curves
from rskt_seg.visualization.errors import draw_errors
from rskt_seg.visualization.fonts import undrawable_notice
from rskt_seg.visualization.heatmaps import draw_heatmaps
from rskt_seg.visualization.labels import colorize, draw_labels, draw_legend, draw_overlay
from rskt_seg.visualization.quick_look import draw_quick_look
from rskt_seg.visualization.scenes import draw_scenes

__all__ = [
    "colorize",
    "draw_cams",
    "draw_confusion",
    "draw_contact_sheet",
    "draw_context_maps",
    "draw_cost_maps",
    "draw_curves",
    "draw_errors",
    "draw_heatmaps",
    "draw_labels",
    "draw_legend",
    "draw_overlay",
    "draw_quick_look",
    "draw_scenes",
    "undrawable_notice",
]
