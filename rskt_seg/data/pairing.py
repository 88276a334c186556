"""Images and labels of equal stems."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unicodedata import normalize


@dataclass(frozen=True)
class Pair:
    """An image file and the label file of the same stem.

    Attributes:
        image: The image file.
        label: Its label file.
    """

    image: Path
    label: Path


@dataclass(frozen=True)
class Files:
    """The image and label files of a split.

    Attributes:
        images: Stem -> image file, in the order of stems.
        labels: Stem -> label file, in the order of stems.
        skipped: For each folder with files of other extensions, `<folder>: <count> <extension>, ...`.
    """

    images: dict[str, Path]
    labels: dict[str, Path]
    skipped: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[Pair]:
        """Every image that has a label, in the order of stems."""
        return [Pair(image, self.labels[stem]) for stem, image in self.images.items() if stem in self.labels]

    @property
    def unpaired(self) -> tuple[list[Path], list[Path]]:
        """The images without a label, and the labels without an image."""
        return (
            [path for stem, path in self.images.items() if stem not in self.labels],
            [path for stem, path in self.labels.items() if stem not in self.images],
        )

    @property
    def spelling(self) -> str:
        """What to do if unpaired files would pair up with another case or Unicode form; "" if none would."""
        images, labels = ([path.stem for path in paths] for paths in self.unpaired)
        return spelling_advice(images, labels)


_CASE = "some names differ in case alone: rename them"
_FORMS = (  # a letter with a mark is one character on most systems, and two in archives made on a Mac
    "some names look alike but their letters are composed in one and decomposed in the other (Unicode NFC, "
    "NFD): rename them, such as by convmv -f utf8 -t utf8 --nfc -r --notest FOLDER"
)
_ALIKE = "some names look alike but differ in case, blanks or the Unicode form of their letters: rename them"


def spelling_advice(names: Iterable[str], others: Iterable[str]) -> str:
    """Return what to do if names that are not equal differ in their spelling alone.

    Args:
        names: Names that were looked for.
        others: Names that are there.

    Returns:
        Advice if one of each differ in case, Unicode form or blanks at their ends alone, else "".
    """
    there = set(others)
    sought = set(names) - there
    folds = ((str.casefold, _CASE), (partial(normalize, "NFC"), _FORMS), (_fold_all, _ALIKE))
    for fold, advice in folds:
        if {fold(name) for name in sought} & {fold(other) for other in there}:
            return advice
    return ""


def _fold_all(name: str) -> str:
    return normalize("NFKC", normalize("NFKC", name).casefold()).strip()
