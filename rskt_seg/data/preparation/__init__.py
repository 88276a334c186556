"""From the official downloads of a dataset to the layout of the catalog.

`prepare` converts a download, `plan_only` tells what it would do. What is done for which dataset is the table
`RECIPES`.
"""

from rskt_seg.data.preparation.download import Download, Member
from rskt_seg.data.preparation.layouts import (
    CropSampling,
    Holdout,
    Layout,
    Part,
    Recipe,
    Rules,
    Target,
)
from rskt_seg.data.preparation.limits import Limits
from rskt_seg.data.preparation.patches import Enlargement, Patches
from rskt_seg.data.preparation.plan import Job, Plan, make_plan
from rskt_seg.data.preparation.recipes import RECIPES, find_recipe
from rskt_seg.data.preparation.run import plan_only, prepare
from rskt_seg.data.preparation.summary import Options, Summary
from rskt_seg.data.preparation.windows import Patch, RandomCrops, Tiling

__all__ = [
    "RECIPES",
    "CropSampling",
    "Download",
    "Enlargement",
    "Holdout",
    "Job",
    "Layout",
    "Limits",
    "Member",
    "Options",
    "Part",
    "Patch",
    "Patches",
    "Plan",
    "RandomCrops",
    "Recipe",
    "Rules",
    "Summary",
    "Target",
    "Tiling",
    "find_recipe",
    "make_plan",
    "plan_only",
    "prepare",
]
