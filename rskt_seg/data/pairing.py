"""Images and labels of equal stems."""

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
        for fold, advice in ((str.casefold, _CASE), (partial(normalize, "NFC"), _FORMS)):
            images, labels = ({fold(path.stem) for path in paths} for paths in self.unpaired)
            if images & labels:
                return advice
        return ""


_CASE = "some stems differ in case alone: rename them"
_FORMS = (  # a letter with a mark is one character on most systems, and two in archives made on a Mac
    "some stems look alike but their letters are composed in one and decomposed in the other (Unicode NFC, "
    "NFD): rename them, such as by convmv -f utf8 -t utf8 --nfc -r --notest FOLDER"
)
