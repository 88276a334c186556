"""Building blocks that several models share."""

from rskt_seg.layers.attention import (
    attend,
    attend_with_weights,
    linear_attend,
    merge_heads,
    partition,
    shift_mask,
    split_heads,
    unpartition,
)
from rskt_seg.layers.containers import ModuleListOf
from rskt_seg.layers.images import enlarge, stack_images
from rskt_seg.layers.position import rescale_to_grid, resize_to_grid

__all__ = [
    "ModuleListOf",
    "attend",
    "attend_with_weights",
    "enlarge",
    "linear_attend",
    "merge_heads",
    "partition",
    "rescale_to_grid",
    "resize_to_grid",
    "shift_mask",
    "split_heads",
    "stack_images",
    "unpartition",
]
