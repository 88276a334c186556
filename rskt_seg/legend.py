"""Legends of label maps: which value of a raster stands for which class, and in which colour it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rskt_seg.class_colors import class_colors
from rskt_seg.errors import LabelError
from rskt_seg.labels import MOST_CLASSES, ignore_label, label_dtype


class LegendEntry(NamedTuple):
    """A class of a map.

    Attributes:
        id: Value of its pixels.
        name: Its name.
        color: RGB, 0..255 each.
    """

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Legend:
    """The classes of a map in the order of their ids.

    Attributes:
        entries: The classes; at least one.

    Raises:
        LabelError: There is no class, or ids are not distinct, ascending and in 0..65534.
    """

    entries: tuple[LegendEntry, ...]

    def __post_init__(self) -> None:
        ids = [entry.id for entry in self.entries]
        if not ids:
            raise LabelError("a legend needs at least one class")
        if ids != sorted(set(ids)) or ids[0] < 0 or ids[-1] >= MOST_CLASSES:
            raise LabelError(f"ids of a legend must be distinct, ascending and in 0..65534; found {ids[:10]}")

    @classmethod
    def of(cls, names: Sequence[str], colors: np.ndarray | None = None) -> "Legend":
        """Number classes from 0.

        Args:
            names: T names.
            colors: (T, 3) uint8 RGB; None: those of `rskt_seg.class_colors`.

        Returns:
            The legend.

        Raises:
            LabelError: There is no name, or another number of colours.
        """
        chosen = class_colors(names) if colors is None else [(r, g, b) for r, g, b in colors.tolist()]
        if len(names) != len(chosen):
            raise LabelError(f"expected one colour for each class; found {len(names)} and {len(chosen)}")
        return cls(tuple(map(LegendEntry, range(len(names)), names, chosen)))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of ids among the classes.

        Args:
            ids: Integers of any shape.

        Returns:
            The positions from 0, of the same shape, in the dtype of maps of so many classes; the number of
            classes for what is no id.
        """
        known = np.array([entry.id for entry in self.entries])
        table = np.full(known[-1] + 2, len(known), label_dtype(len(known)))
        table[known] = np.arange(len(known))
        return table[np.minimum(ids, known[-1] + 1)]

    @property
    def colors(self) -> np.ndarray:
        """Colours of the classes, (K, 3) uint8 RGB."""
        return np.array([entry.color for entry in self.entries], np.uint8)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Type of the map: uint8 if all ids are below 255, else uint16."""
        return label_dtype(self.entries[-1].id + 1)

    @property
    def nodata(self) -> int:
        """Value of pixels without data: 255 or 65535."""
        return ignore_label(self.entries[-1].id + 1)
