"""What a user has sent or chosen: a file in the folder of the session, looked at once."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rskt_seg.app.results import reduce, reduced_size
from rskt_seg.geo.raster import RasterImage
from rskt_seg.geo.untrusted import open_untrusted
from rskt_seg.map_views import describe_place
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.scenes.segment import open_scene

_LONGEST = 60


@dataclass(frozen=True, eq=False)
class Upload:
    """An image of a session.

    Attributes:
        file: The file.
        name: Its name, as the user knows it but for unusual letters.
        picture: (h, w, 3) uint8 RGB, the image as the page shows it.
        size: (height, width) of the image, px.
        facts: One line on what it is.
        pixels: Most pixels that it may have.
    """

    file: Path
    name: str
    picture: np.ndarray
    size: tuple[int, int]
    facts: str
    pixels: int

    @property
    def stem(self) -> str:
        """Beginning of the names of its results."""
        return self.file.stem

    def open(self) -> Path | RasterImage:
        """Return the image as functions of this package take it.

        Raises:
            ImageReadError: As `rskt_seg.geo.untrusted.open_untrusted`.
        """
        return open_untrusted(self.file, self.pixels)


def take_upload(sent: Path, name: str, folder: Path, pixels: int) -> Upload:
    """Take a file that was sent.

    Args:
        sent: The file where the server has put it; it may be that of several users, and stays.
        name: Its name on the machine of the user.
        folder: An empty folder, where it is kept.
        pixels: Most pixels that it may have.

    Returns:
        The image.

    Raises:
        ImageReadError: It is no image that may be read.
        OSError: It is no longer there.
    """
    stem, suffix = (re.sub(r"[^\w.-]+", "_", part) for part in os.path.splitext(Path(name).name))
    file = folder / f"{stem.strip('._')[:_LONGEST] or 'image'}{suffix[:8]}"
    try:
        os.link(sent, file)
    except OSError:
        shutil.copyfile(sent, file)
    source = open_untrusted(file, pixels)
    scene = open_scene(source, SceneOptions(), file.stem)
    size = scene.survey.reader.height, scene.survey.reader.width
    place = scene.survey.georeference
    facts = f"{file.name}: {size[1]} x {size[0]} px, {describe_place(place)}"
    picture = reduce(scene.survey.overview.pixels, reduced_size(*size))
    return Upload(file, file.name, picture, size, facts, pixels)
