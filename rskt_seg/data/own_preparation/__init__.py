"""From images and labels that people have to a dataset of this project's form, as a YAML file describes it.

`prepare_own` makes the dataset, `plan_own` tells what it would do.
"""

from rskt_seg.data.own_preparation.description import Description, read_description
from rskt_seg.data.own_preparation.report import OwnSummary
from rskt_seg.data.own_preparation.run import OwnPlan, plan_own, prepare_own

__all__ = ["Description", "OwnPlan", "OwnSummary", "plan_own", "prepare_own", "read_description"]
