"""Digests of jobs, which decide whether a prepared set is done again."""

import hashlib
from pathlib import Path

from rskt_seg.data.preparation import RECIPES
from rskt_seg.data.preparation.download import Member
from rskt_seg.data.preparation.plan import Job

IMAGE = Member("a.tif", 3, 5, Path("a.tif"))
LABEL = Member("b.png", 7, 11, Path("z.zip"), "b.png")


def test_digests_stay_those_of_sets_that_are_prepared_already():
    """Renaming a field of `Rules`, `Target` or a tiling changes them: every user would prepare anew."""
    layouts = [layout for recipe in RECIPES.values() for layout in recipe.layouts]
    jobs = [Job("s", row.parts[0].name, IMAGE, LABEL, row.targets, row) for row in layouts]
    digests = "".join(job.digest for job in jobs)
    assert hashlib.sha256(digests.encode()).hexdigest()[:16] == "8c6c774196c9d428"
    crops = RECIPES["iSAID_wsss"].layouts[0]
    drawn = Job("s", "train", IMAGE, LABEL, crops.targets, crops, (("s_0", crops.targets[0]),))
    assert drawn.digest[:16] == "779a1e5417161599"
