"""Published split lists of DeepGlobe (from GLNet) and Inria, as in FCtL's code."""

from importlib import resources
from pathlib import PurePath

LISTS = {
    "deepglobe": {"train": 454, "val": 207, "test": 142},
    "inria": {"train": 126, "val": 27, "test": 27},
}
"""Dataset -> split -> number of images in its list."""


def read_list(name: str) -> tuple[str, ...]:
    """Return the image names of a list, in its order, without `_sat` and without extension.

    The splits of Inria mix its five cities, although the paper says that the split is by city.

    Args:
        name: Dataset and split, such as `deepglobe_train`.
    """
    text = resources.files("rskt_seg.data").joinpath("splits", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(PurePath(line).stem.removesuffix("_sat") for line in text.split())
