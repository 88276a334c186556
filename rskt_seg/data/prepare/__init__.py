"""From the official downloads of a dataset to the layout of the data table.

`prepare` does it, `plan_only` tells what it would do; what is done for which dataset is the table of
`rskt_seg.data.prepare.recipes`.
"""

from rskt_seg.data.prepare.recipes import RECIPES
from rskt_seg.data.prepare.record import Options, Summary
from rskt_seg.data.prepare.run import plan_only, prepare

__all__ = ["RECIPES", "Options", "Summary", "plan_only", "prepare"]
