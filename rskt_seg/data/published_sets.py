"""Whether a set can be the one that papers scored, by what is known of its files."""

from collections.abc import Mapping
from pathlib import Path

from rskt_seg.data.catalog import SPLITS, Split
from rskt_seg.data.split_lists import LISTS

_LISTED = {  # the last word of a split's name is its list; those before it tell the format of the labels
    row.name: (LISTS[row.dataset][row.split.split("_")[-1]],) for row in SPLITS if row.dataset in LISTS
}
PUBLISHED_IMAGES: Mapping[str, tuple[int, ...]] = {
    "DLRSD_all_sem_seg": (2100,),
    "LoveDA_all_sem_seg": (1669, 4191),
    "LoveDA_all_8c_sem_seg": (1669, 4191),
    "uavid_all_sem_seg": (270, 420),
    "VDD_all_sem_seg": (400,),
    **_LISTED,
}
"""Registered name -> possible numbers of images of the published set. Papers do not say whether they scored
all labelled images of LoveDA or its validation part, and UAVid with or without its test part. Of sets that
are cut from larger images, and of UDD5, no number is published; splits with listed stems have no others."""


def drawn_manifest(dataset: str) -> str:
    """Return the name of the file, in the root of the datasets, that comes with a drawn set.

    Args:
        dataset: Name of the dataset in the catalog.

    Returns:
        Such as "DLRSD_miniature.json".
    """
    return f"{dataset}_miniature.json"


def why_unpublished(split: Split, root: str | Path, images: int) -> str:
    """Return why a set is not the one that papers scored.

    Args:
        split: The split, under whose name the set was scored.
        root: The root of all datasets.
        images: Number of its images.

    Returns:
        The reason; "" if nothing that is known speaks against it.
    """
    manifest = Path(root) / drawn_manifest(split.dataset)
    if manifest.is_file():
        return f"its scenes are drawn ({manifest})"
    known = PUBLISHED_IMAGES.get(split.name, ())
    if known and images not in known:
        return f"it has {images} images, the published set {' or '.join(map(str, known))}"
    return ""
