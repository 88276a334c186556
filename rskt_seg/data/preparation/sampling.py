"""Which random crops of which scenes make up the splits of a layout with `CropSampling`."""

import hashlib
from collections.abc import Sequence

from rskt_seg.data.preparation.layouts import Layout, Target
from rskt_seg.data.preparation.windows import RandomCrops

ImageKey = tuple[str, str]
"""Part and stem of an image."""
Selection = tuple[tuple[str, Target], ...]
"""The patches of an image that are written: name of the patch and its target."""


def rank(seed: int, name: str) -> str:
    """Return the sort key of a name in a random order that does not depend on the other names.

    Args:
        seed: Another seed gives another order.
        name: The name to be sorted.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def sample_crops(layout: Layout, keys: Sequence[ImageKey]) -> tuple[dict[ImageKey, Selection], list[str]]:
    """Select the crops that are written of each image.

    The crops of all scenes of a part are sorted by `rank`; the first split of the part takes the first of
    them, the next split the next. If official scenes are missing, each split takes its number of crops times
    the share of the official crops that is present, rounded down.

    Args:
        layout: A layout with `sampling`, a `RandomCrops` tiling, and a count of each sampled part.
        keys: The images that were found.

    Returns:
        The selection of each image, and a note for each split.

    Raises:
        ValueError: If the layout has no `sampling` or no `RandomCrops` tiling.
    """
    sampling, tiling = layout.sampling, layout.rules.tiling
    if sampling is None or not isinstance(tiling, RandomCrops):
        raise ValueError(f"layout {layout.name}: sampling needs CropSampling and RandomCrops")
    scenes = {part.name: part.count for part in layout.parts if part.count is not None}
    selected: dict[ImageKey, list[tuple[str, Target]]] = {key: [] for key in keys}
    notes: list[str] = []
    for part, splits in sampling.counts:
        crops = {name: key for key in keys if key[0] == part for name in tiling.stems(key[1])}
        if not crops:
            continue
        official = scenes[part] * tiling.count
        complete = len(crops) >= official
        ranked = iter(sorted(crops, key=lambda name: rank(sampling.seed, name)))
        for split, wanted in splits:
            number = wanted if complete else wanted * len(crops) // official
            proportion = "" if complete else f", in proportion to the official {wanted} of {official}"
            notes.append(f"split {split}: {number} of {len(crops)} random crops of part {part}{proportion}")
            targets = [t._replace(split=t.split.format(part=split)) for t in layout.targets]
            for name in (next(ranked) for _ in range(number)):
                selected[crops[name]] += [(name, target) for target in targets]
    return {key: tuple(patches) for key, patches in selected.items()}, notes
