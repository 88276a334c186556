"""From images and labels that people have to a dataset of this project's form, as a YAML file describes it.

`prepare_own` makes the dataset, `plan_own` tells what it would do; `OwnWindows` reads it without making it.
"""

from rskt_seg.data.own_preparation.description import Description, is_description, read_description
from rskt_seg.data.own_preparation.report import OwnSummary
from rskt_seg.data.own_preparation.run import OwnPlan, plan_own, prepare_own
from rskt_seg.data.own_preparation.windows import OwnWindow, OwnWindows

__all__ = [
    "Description",
    "OwnPlan",
    "OwnSummary",
    "OwnWindow",
    "OwnWindows",
    "is_description",
    "plan_own",
    "prepare_own",
    "read_description",
]
