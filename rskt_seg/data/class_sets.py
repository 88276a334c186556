"""Class sets: the class names of every dataset in the order of their ids, and colours.

Class names are exactly the published OVRSISBench vocabularies (the order is the label id, the case is kept).
Colours are those of the official label files if there are any, shared by converters and visualization.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rskt_seg.errors import DatasetError

Value = TypeVar("Value")
RGB = tuple[int, int, int]

IGNORE_LABEL = 255
"""The label id that is neither trained nor scored, in every dataset of the table."""
_SHOWN = 10


def repeated(values: Iterable[Value]) -> list[Value]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def listed(values: Iterable[object]) -> str:
    """Format the first ten values, and how many more there are."""
    texts = [str(value) for value in values]
    rest = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + rest


@dataclass(frozen=True)
class ClassSet:
    """The classes of a dataset, at most 255, because ids are 8 bit and 255 is ignored.

    Attributes:
        name: What errors call the set.
        names: Class names; label id k is `names[k]`.
        colors: RGB of 0..255, one per class.

    Raises:
        DatasetError: The names are an empty tuple or a plain string, a name or a colour repeats, or there is
            not one colour per class.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[RGB, ...]

    def __post_init__(self) -> None:
        words = isinstance(self.names, tuple) and all(isinstance(n, str) and n.strip() for n in self.names)
        if not words:
            raise DatasetError(f"{self.name}: class names must be a tuple of words, found {self.names!r}")
        if not 1 <= len(self.names) <= IGNORE_LABEL:
            raise DatasetError(f"{self.name}: expected 1..{IGNORE_LABEL} classes, found {len(self.names)}")
        if len(self.names) != len(self.colors):
            raise DatasetError(
                f"{self.name}: expected one colour for each class, found {len(self.names)} names "
                f"and {len(self.colors)} colours"
            )
        bad = [
            color
            for color in self.colors
            if not isinstance(color, tuple)
            or len(color) != 3
            or not all(isinstance(v, int) and 0 <= v <= 255 for v in color)
        ]
        if bad:
            raise DatasetError(f"{self.name}: colours must be (R, G, B) of 0..255, found {listed(bad)}")
        for kind, values in (("class name", self.names), ("colour", self.colors)):
            if twice := repeated(values):
                raise DatasetError(f"{self.name}: repeated {kind}: {listed(twice)}")

    def __len__(self) -> int:
        return len(self.names)


def _class_set(name: str, classes: Mapping[str, RGB]) -> ClassSet:
    return ClassSet(name, tuple(classes), tuple(classes.values()))


DLRSD = _class_set(
    "DLRSD",
    {
        "airplane": (166, 202, 240),
        "bare soil": (128, 128, 0),
        "buildings": (0, 0, 128),
        "cars": (255, 0, 0),
        "chaparral": (0, 128, 0),
        "court": (128, 0, 0),
        "dock": (255, 233, 233),
        "field": (160, 160, 164),
        "grass": (0, 128, 128),
        "mobile home": (90, 87, 255),
        "pavement": (255, 255, 0),
        "sand": (255, 192, 0),
        "sea": (0, 0, 255),
        "ship": (255, 0, 192),
        "tanks": (128, 0, 128),
        "trees": (0, 255, 0),
        "water": (0, 255, 255),
    },
)
ISAID = _class_set(
    "iSAID",
    {
        "ship": (0, 0, 63),
        "storage tank": (0, 63, 63),
        "baseball diamond": (0, 63, 0),
        "tennis court": (0, 63, 127),
        "basketball court": (0, 63, 191),
        "ground track field": (0, 63, 255),
        "bridge": (0, 127, 63),
        "large vehicle": (0, 127, 127),
        "small vehicle": (0, 0, 127),
        "helicopter": (0, 0, 191),
        "swimming pool": (0, 0, 255),
        "roundabout": (0, 191, 127),
        "soccer ball field": (0, 127, 191),
        "plane": (0, 127, 255),
        "harbor": (0, 100, 155),
    },
)
ISAID_16 = ClassSet("iSAID_16", ("background", *ISAID.names), ((0, 0, 0), *ISAID.colors))
"""Black, which is no class in `ISAID`, is class 0, as the weakly supervised method trains it."""
LOVEDA = _class_set(
    "LoveDA",
    {
        "Background": (255, 255, 255),
        "Building": (255, 0, 0),
        "Road": (255, 255, 0),
        "Water": (0, 0, 255),
        "Barren": (159, 129, 183),
        "Forest": (0, 255, 0),
        "Agriculture": (255, 195, 128),
    },
)
LOVEDA_8C = _class_set(
    "LoveDA_8c",
    {
        "no-data": (255, 255, 255),
        "Background": (255, 248, 220),
        "Building": (100, 149, 237),
        "Road": (102, 205, 170),
        "Water": (205, 133, 63),
        "Barren": (160, 32, 240),
        "Forest": (255, 64, 64),
        "Agriculture": (139, 69, 19),
    },
)
ISPRS = _class_set(
    "ISPRS",
    {
        "Impervious surfaces": (255, 255, 255),
        "Building": (0, 0, 255),
        "Low vegetation": (0, 255, 255),
        "Tree": (0, 255, 0),
        "Car": (255, 255, 0),
        "Clutter/background": (255, 0, 0),
    },
)
UAVID = _class_set(
    "UAVid",
    {
        "Background clutter": (0, 0, 0),
        "Building": (128, 0, 0),
        "Road": (128, 64, 128),
        "Tree": (0, 128, 0),
        "Low vegetation": (128, 128, 0),
        "Moving car": (64, 0, 128),
        "Static car": (192, 0, 192),
        "Human": (64, 64, 0),
    },
)
UDD5 = _class_set(
    "UDD5",
    {
        "Vegetation": (107, 142, 35),
        "Building": (102, 102, 156),
        "Road": (128, 64, 128),
        "Vehicle": (0, 0, 142),
        "Other": (0, 0, 0),
    },
)
VDD = _class_set(
    "VDD",
    {
        "Other": (0, 0, 0),
        "Wall": (128, 0, 0),
        "Road": (128, 64, 128),
        "Vegetation": (0, 128, 0),
        "Vehicle": (64, 0, 128),
        "Roof": (192, 192, 128),
        "Water": (0, 0, 128),
    },
)
DEEPGLOBE = _class_set(
    "DeepGlobe",
    {
        "urban": (0, 255, 255),
        "agriculture": (255, 255, 0),
        "rangeland": (255, 0, 255),
        "forest": (0, 255, 0),
        "water": (0, 0, 255),
        "barren": (255, 255, 255),
    },
)
DEEPGLOBE_WITH_UNKNOWN = ClassSet(
    "DeepGlobe_FCtL", ("unknown", *DEEPGLOBE.names), ((0, 0, 0), *DEEPGLOBE.colors)
)
"""Unknown (clouds and the like, black) is class 0, as FCtL trains it."""
INRIA = _class_set("Inria", {"not building": (0, 0, 0), "building": (255, 255, 255)})
