"""How scenes are segmented: windows, the part that is asked for, reading, and what is written."""

import math
import re
from dataclasses import dataclass
from typing import TypedDict

from rskt_seg.errors import ConfigError
from rskt_seg.geo.area import pixel_size
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.polygons import MinimumArea
from rskt_seg.geo.vectors import FORMATS, has_vector_library
from rskt_seg.inference.cells import TAPERS
from rskt_seg.scenes.outputs import Extras
from rskt_seg.scenes.region import BLOCK
from rskt_seg.windows import Window

_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(px|m)?\s*")


class SceneArguments(TypedDict, total=False):
    """Fields of `SceneOptions` as keyword arguments."""

    window: int | str | None
    overlap: float | None
    taper: str
    chunk: int | None
    part: Window | None
    bounds: tuple[float, float, float, float] | None
    bands: tuple[int, ...] | None
    stretch: str | tuple[float, float]
    nodata: float | None
    alpha: bool
    scores: bool
    batch: int | None
    restart: bool
    polygons: tuple[str, ...] | None
    min_area: str | float | None
    simplify: float | None


@dataclass(frozen=True)
class SceneOptions:
    """How scenes are segmented.

    Attributes:
        window: Side of a window, in pixels (384, "384px") or on the ground ("120m"); None: what suits the
            model.
        overlap: Share of a window that the next one covers again, 0..0.75; None: what suits the model.
        taper: "hann": windows fade into each other; "mean": all count equally, as in the published sliding
            mode.
        chunk: Side (px) of the chunks that are computed and kept one by one, a multiple of 512; None: by
            memory. Results do not depend on it.
        part: The window (px) that is asked for; None: all.
        bounds: What is asked for as (left, bottom, right, top) in the coordinates of the scene; None: all.
        bands: As for `rskt_seg.geo.read_image`, like the next three.
        stretch: How values become 8 bits, once for the whole scene.
        nodata: Value of pixels without data.
        alpha: Whether a band that is declared alpha says which pixels are valid.
        scores: Whether the score of each class is written, besides the best.
        batch: Windows that go through the model at a time; None: 1 on a CPU, else 4.
        restart: Whether what a former run has left is computed anew.
        polygons: Formats of polygons: "gpkg", "geojson" (maps in EPSG:4326), "parquet"; None: a GeoPackage if
            the extra `vector` is installed.
        min_area: Polygons below it are merged into their neighbours: square metres ("50 m2", 50) or pixels
            ("12 px").
        simplify: Tolerance of polygons, in units of the coordinates; None: they follow the pixels.

    Raises:
        ConfigError: A value is out of its range, or both `part` and `bounds` are given.
    """

    window: int | str | None = None
    overlap: float | None = None
    taper: str = "hann"
    chunk: int | None = None
    part: Window | None = None
    bounds: tuple[float, float, float, float] | None = None
    bands: tuple[int, ...] | None = None
    stretch: str | tuple[float, float] = "auto"
    nodata: float | None = None
    alpha: bool = True
    scores: bool = False
    batch: int | None = None
    restart: bool = False
    polygons: tuple[str, ...] | None = None
    min_area: str | float | None = None
    simplify: float | None = None

    def __post_init__(self) -> None:
        if self.taper not in TAPERS:
            raise ConfigError(f"windows are blended by one of {', '.join(TAPERS)}; found {self.taper!r}")
        if self.chunk is not None and (self.chunk < BLOCK or self.chunk % BLOCK):
            raise ConfigError(f"chunks have a multiple of {BLOCK} px a side; found {self.chunk}")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"expected at least one window at a time; found {self.batch}")
        if unknown := set(self.polygons or ()) - set(FORMATS):
            raise ConfigError(f"polygons are one of {', '.join(FORMATS)}; found {', '.join(sorted(unknown))}")
        if self.min_area is not None:
            MinimumArea.parse(self.min_area)
        if self.part is not None and self.bounds is not None:
            raise ConfigError("give a part in pixels or bounds on the ground, not both")
        if self.simplify is not None and not 0 < self.simplify < math.inf:
            raise ConfigError(f"the tolerance of polygons must be above 0; found {self.simplify:g}")
        if self.bounds is not None and not all(map(math.isfinite, self.bounds)):
            raise ConfigError(f"expected bounds as four finite numbers; found {self.bounds}")
        if isinstance(self.window, str):
            _parse_length(self.window)

    @property
    def extras(self) -> Extras:
        """What is made of the rasters of a map."""
        formats = self.polygons
        if formats is None:
            formats = ("gpkg",) if has_vector_library() else ()
        return Extras(formats, self.min_area, self.simplify)

    def window_side(self, name: str, georeference: Georeference | None, size: tuple[int, int]) -> int | None:
        """Return the side (px) of a window in a scene; None for what suits the model.

        Args:
            name: The scene, for messages.
            georeference: That of the scene, or None.
            size: (H, W) of the scene, px.

        Raises:
            ConfigError: The side is given on the ground, and the scene has no known place there; or it is
                less than a pixel.
        """
        if not isinstance(self.window, str):
            return self.window
        length, unit = _parse_length(self.window)
        if unit == "px":
            return int(length)
        pixel = pixel_size(georeference, size)
        if pixel is None:
            raise ConfigError(
                f"{name}: a window of {self.window} needs to know how large a pixel is on the ground, which "
                "the file does not say; give it in pixels, such as 384"
            )
        side = round(length / (pixel[0] * pixel[1]) ** 0.5)
        if side < 1:
            raise ConfigError(f"{name}: a window of {self.window} is less than a pixel of {pixel[1]:g} m")
        return side

    def area(self, name: str, georeference: Georeference | None, size: tuple[int, int]) -> Window:
        """Return the part (px) of a scene that is asked for.

        Args:
            name: The scene, for messages.
            georeference: That of the scene, or None.
            size: (H, W) of the scene, px.

        Raises:
            ConfigError: It lies outside of the scene, or bounds are given for a scene without a transform.
        """
        whole, part = Window(0, 0, *size), self._asked(name, georeference)
        if part is None:
            return whole
        inside = part.intersection(whole)
        if min(inside.height, inside.width) < 1 or min(part.height, part.width) < 1:
            raise ConfigError(
                f"{name}: the part that is asked for (rows {part.top}..{part.bottom}, columns {part.left}.."
                f"{part.right}) does not touch the scene of {size[1]} x {size[0]} px; see `rio info` for its "
                "bounds"
            )
        return inside

    def area_notices(self, name: str, georeference: Georeference | None, size: tuple[int, int]) -> list[str]:
        """Return a line if the part that is asked for reaches beyond the scene; arguments as for `area`."""
        asked = self._asked(name, georeference)
        if asked is None or asked == self.area(name, georeference, size):
            return []
        return [
            f"the part that is asked for (rows {asked.top}..{asked.bottom}, columns {asked.left}.."
            f"{asked.right}) reaches beyond the scene of {size[1]} x {size[0]} px, and is cut to it"
        ]

    def _asked(self, name: str, georeference: Georeference | None) -> Window | None:
        """Return the part (px) that is asked for, wherever it lies; None for all."""
        if self.bounds is None:
            return None if self.part is None else Window(*self.part)
        part = None if georeference is None else georeference.pixels_of(self.bounds)
        if part is None:
            raise ConfigError(
                f"{name}: bounds need a scene with a transform to coordinates, which this one has not; "
                "give its part in pixels"
            )
        return part


def _parse_length(text: str) -> tuple[float, str]:
    """Return a length and its unit, "px" or "m"."""
    if (
        (found := _LENGTH.fullmatch(text)) is None
        or not float(found[1])
        or (found[2] != "m" and "." in found[1])
    ):
        raise ConfigError(f"a window is given in pixels (384) or on the ground (120m); found {text!r}")
    return float(found[1]), found[2] or "px"
