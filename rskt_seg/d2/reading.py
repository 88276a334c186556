"""What is read of a dataset dict: its image and label file, or a window of the scenes of a set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from rskt_seg.d2.crops import Sample
from rskt_seg.d2.datasets import mask_of
from rskt_seg.d2.typing import Entry
from rskt_seg.data.fingerprint import image_digest
from rskt_seg.data.labels import read_label
from rskt_seg.data.own_preparation import OwnWindows
from rskt_seg.data.samples import read_8bit_image, valid_target
from rskt_seg.geo import RasterImage


class Truth(NamedTuple):
    """The label of a window that is scored.

    Attributes:
        ids: (H, W) uint8, 255 where there is no class.
        image: 32 bytes, the digest of the pixels of the image.
    """

    ids: np.ndarray
    image: bytes


class EntryReader:
    """The reader of the images and labels of dataset dicts. Worker processes receive it with their mapper.

    Args:
        windows: Registered name -> the windows that it stands for; sets of files are not among them.
    """

    def __init__(self, windows: Mapping[str, OwnWindows]) -> None:
        self._windows = windows

    @classmethod
    def of(cls, names: Sequence[str]) -> "EntryReader":
        """Return the reader of registered datasets; names that are not registered are passed over."""
        known = [name for name in names if name in DatasetCatalog.list()]
        found = {name: MetadataCatalog.get(name).get("windows") for name in known}
        return cls({name: windows for name, windows in found.items() if windows is not None})

    def image(self, entry: Entry) -> RasterImage:
        """Read the image.

        Args:
            entry: A dict of `load_datasets`.

        Returns:
            The image.

        Raises:
            ImageReadError: It cannot be read.
            DatasetError: A source of windows has changed.
        """
        return self._window(entry)[0] if "window" in entry else read_8bit_image(entry["file_name"])

    def test_image(self, entry: Entry) -> tuple[RasterImage, Truth | None]:
        """Read what is scored.

        Args:
            entry: A dict of `load_datasets`.

        Returns:
            The image, and the label of a window; that of a file is read when it is compared: None.

        Raises:
            ImageReadError: The image cannot be read.
            DatasetError: The label cannot, or a source of windows has changed.
        """
        if "window" not in entry:
            return read_8bit_image(entry["file_name"]), None
        image, ids = self._window(entry)
        return image, Truth(ids, image_digest(image.pixels.tobytes() + image.valid.tobytes()))

    def sample(self, entry: Entry, ignore: int) -> Sample:
        """Read the image of a dataset dict and its label, and check the label.

        Pixels where the image has no data, or the label declares none, become `ignore`.

        Args:
            entry: The dict; pixels of its `ignore` (default: the same id) become `ignore`.
            ignore: Id that unlabelled pixels get.

        Returns:
            Image (H, W, 3) uint8 RGB and label (H, W) uint8.

        Raises:
            ImageReadError: The image cannot be read.
            LabelError: The label cannot be read, or has other ids or another size than expected.
            DatasetError: There is no label file, or a source of windows has changed.
        """
        path, ignored = mask_of(entry), entry.get("ignore", ignore)
        if "window" in entry:
            image, label = self._window(entry)
        else:
            image = read_8bit_image(entry["file_name"])
            label = valid_target(read_label(path), path, image.valid, entry["vocabulary"], ignored)
        if ignored != ignore:
            label[label == ignored] = ignore
        # Nearest-neighbour resizing is centred on pixels, as that of the image is, for 8-bit maps only.
        return image.filled(), label.astype(np.uint8, copy=False)

    def _window(self, entry: Entry) -> tuple[RasterImage, np.ndarray]:
        name, stem = entry["window"]
        return self._windows[name].read(stem)
