"""Which random crops of which scenes make up the splits of a layout with a `Draw`."""

import hashlib
from collections.abc import Sequence

from rskt_seg.data.preparation.layouts import Layout, Part, Target

Key = tuple[str, str]
"""Part and stem of an image."""
Pieces = tuple[tuple[str, Target], ...]
"""Names of pieces that are written, each with what it becomes."""


def rank(seed: int, name: str) -> str:
    """The place of a name in an order that is the same everywhere and whatever other names there are."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def draw_pieces(layout: Layout, keys: Sequence[Key]) -> tuple[dict[Key, Pieces], list[str]]:
    """The drawn crops of each image of a layout with a `draw`, and a note for each of its splits.

    The crops of all scenes of a part are put into the order of `rank`; its first split takes the first of
    them, the next split the next. Where some of the official scenes are missing, each split takes its number
    times the share of the official crops that is there, rounded down.
    """
    counts = {part.name: part for part in layout.parts}
    drawn: dict[Key, list[tuple[str, Target]]] = {key: [] for key in keys}
    notes: list[str] = []
    for part, splits in layout.draw.shares:
        crops = {name: key for key in keys if key[0] == part for name in layout.rules.tiling.stems(key[1])}
        ranked = iter(sorted(crops, key=lambda name: rank(layout.draw.seed, name)))
        for split, wanted in splits if crops else ():
            number, note = _number(layout, counts[part], len(crops), wanted)
            notes.append(f"split {split}: {number} of {len(crops)} random crops of part {part}{note}")
            targets = [t._replace(split=t.split.format(part=split)) for t in layout.targets]
            for name in (next(ranked) for _ in range(number)):
                drawn[crops[name]] += [(name, target) for target in targets]
    return {key: tuple(pieces) for key, pieces in drawn.items()}, notes


def _number(layout: Layout, part: Part, found: int, wanted: int) -> tuple[int, str]:
    official = part.count * layout.rules.tiling.count
    if found >= official:
        return wanted, ""
    return wanted * found // official, f", in proportion to the official {wanted} of {official}"
