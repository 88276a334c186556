"""The published lists of the parts of DeepGlobe and Inria (files of FCtL's code, DeepGlobe's from GLNet)."""

from importlib import resources
from pathlib import PurePath

LISTS = {
    "deepglobe": {"train": 454, "val": 207, "test": 142},
    "inria": {"train": 126, "val": 27, "test": 27},
}
"""Dataset -> its parts, and how many images their lists name."""


def read_list(name: str) -> tuple[str, ...]:
    """The names of the images of a part, as `deepglobe_train`, without `_sat` and extension, in their order.

    Those of Inria are mixed over its five cities, though the paper says that the split is by city.
    """
    text = resources.files("rskt_seg.data").joinpath("splits", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(PurePath(line).stem.removesuffix("_sat") for line in text.split())
