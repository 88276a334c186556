"""From the official downloads of a dataset to the layout of the data table.

`prepare` does it, `plan_only` tells what it would do; what is done for which dataset is the table of
`rskt_seg.data.preparation.recipes`.
"""

from rskt_seg.data.preparation.recipes import RECIPES
from rskt_seg.data.preparation.record import Options, Summary
from rskt_seg.data.preparation.run import plan_only, prepare

__all__ = ["RECIPES", "Options", "Summary", "plan_only", "prepare"]
