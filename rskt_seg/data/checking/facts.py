"""Facts stated in the files of a pair: grids, nodata and palettes, compared with each other."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind
from rskt_seg.data.class_sets import RGB
from rskt_seg.data.pairing import Pair
from rskt_seg.data.samples import read_8bit_image
from rskt_seg.errors import ImageReadError
from rskt_seg.geo.declared import read_declared
from rskt_seg.geo.grids import grid_difference, read_georeference
from rskt_seg.geo.raster import ONE_BAND

GRIDS = Kind(
    ERROR,
    "label and image lie on different grids of the ground",
    "find the file that belongs here, or warp the label onto the grid of its image: gdalwarp -r near -t_srs "
    "CRS -te XMIN YMIN XMAX YMAX -ts WIDTH HEIGHT IN OUT (nothing is warped here)",
)
NO_DATA = Kind(
    NOTE,
    "images with pixels without data (nodata, mask or alpha)",
    "nothing to do: these pixels are neither trained nor scored",
)
LABEL_NODATA = Kind(
    NOTE,
    "labels that declare a nodata value or a mask",
    "pixels without data are neither trained nor scored; if the value is a class, remove it from the file "
    "(gdal_edit.py -unsetnodata FILE), and a side-car that does not belong to it (.aux.xml, .msk)",
)
BROKEN_MASK = Kind(ERROR, "labels whose mask does not fit", "remove or replace the mask beside the file")
UNREADABLE = Kind(
    ERROR,
    "image that training and evaluation would refuse",
    "the reason is behind each file; save rasters of other kinds as 8-bit RGB first (datasets/README.md)",
)
OTHER_BANDS = Kind(
    NOTE,
    "images whose number of bands differs from that of most",
    "check that the same bands are red, green and blue in all of them",
)
PALETTE = Kind(NOTE, "palette labels", "nothing to do: the index is the class id, whatever its colour")
CONTRADICTION = Kind(
    ERROR,
    "palette labels whose colours contradict each other or the palette of the dataset",
    "an editor may have renumbered the colours when it saved the files: read such masks by colour "
    "(datasets/README.md) and save ids",
)
_PER_CHOICE = "nothing to do if this is intended"


def grid_faults(pair: Pair, size: tuple[int, int]) -> Iterator[Fault]:
    """Yield a fault if both files are georeferenced and their grids differ.

    Args:
        pair: An image and its label, which both exist.
        size: (height, width) of the image.

    Yields:
        No fault, or one.
    """
    label = read_georeference(pair.label)
    if label is not None and (how := grid_difference(read_georeference(pair.image), label, size)):
        yield Fault(GRIDS, str(pair.label), how)


def nodata_notes(path: Path) -> Iterator[Fault]:
    """Yield a note if a readable label declares nodata or a mask; an error if the mask does not fit."""
    try:
        declared = read_declared(path)
    except ImageReadError as error:
        yield Fault(BROKEN_MASK, str(path), str(error))
        return
    if declared.mask is not None:
        yield Fault(LABEL_NODATA, str(path), f"mask, {1 - declared.mask.mean():.1%} without data")
    elif declared.nodata is not None:
        yield Fault(LABEL_NODATA, str(path), f"nodata {declared.nodata:g}")


def reading_faults(path: Path) -> Iterator[Fault]:
    """Read an image as training does; yield what is refused, or each choice that the reader made.

    Args:
        path: The image.

    Yields:
        One error, or notes.
    """
    try:
        image = read_8bit_image(path)
    except ImageReadError as error:
        yield Fault(UNREADABLE, str(path), str(error).replace(f"{path} ", "").replace(f"{path}: ", ""))
        return
    if not image.valid.all():
        yield Fault(NO_DATA, str(path), f"{1 - image.valid.mean():.1%}")
    for notice in image.notices:
        if notice != ONE_BAND:  # an ordinary image of a dataset
            yield Fault(Kind(NOTE, notice, _PER_CHOICE), str(path))


def used_colors(path: Path, counts: Mapping[int, int]) -> dict[int, RGB]:
    """Return the palette colour of every id that occurs in a label; empty for a label without a palette
    and for a palette in which each id is its own gray.

    Args:
        path: A label that `read_label` reads.
        counts: Id -> number of pixels.

    Returns:
        Id -> colour.
    """
    with Image.open(path) as image:
        stored = image.getpalette("RGB") if image.mode == "P" else None
    if stored is None:
        return {}
    rows = [tuple(stored[start : start + 3]) for start in range(0, len(stored), 3)]
    found = {k: (int(rows[k][0]), int(rows[k][1]), int(rows[k][2])) for k in counts if k < len(rows)}
    is_gray = all(color == (k, k, k) for k, color in found.items())  # the ids again, and no colours
    return {} if is_gray else found


def band_notes(images: Sequence[tuple[Path, int]]) -> Iterator[Fault]:
    """Yield a note for each image whose number of bands is not that of most images of the set.

    Args:
        images: (path, number of bands) of each image; 0 where it is unknown. Gray and palette images, of one
            band, may be among others.

    Yields:
        The notes, in the order of the images.
    """
    numbers = Counter(bands for _, bands in images if bands > 1)
    if len(numbers) > 1:
        usual = numbers.most_common(1)[0][0]
        yield from (
            Fault(OTHER_BANDS, str(path), f"{bands}, most have {usual}")
            for path, bands in images
            if bands not in (0, 1, usual)
        )


def palette_faults(
    labels: Iterable[tuple[Path, Mapping[int, RGB]]], expected: Mapping[int, RGB]
) -> Iterator[Fault]:
    """Yield a fault for each palette label in which an id has another colour than before, or than expected.

    Args:
        labels: (path, used colours by id) of each label.
        expected: Class id -> colour that the dataset states; empty if it states none.

    Yields:
        The faults, in the order of the labels.
    """
    first: dict[int, tuple[RGB, str]] = {k: (color, "the palette") for k, color in expected.items()}
    for path, colors in labels:
        for k, color in colors.items():
            known, source = first.setdefault(k, (color, path.name))
            if known != color:
                yield Fault(CONTRADICTION, str(path), f"id {k} is {color}, in {source} {known}")
                break


def one_word_on_palettes(faults: Iterable[Fault]) -> list[Fault]:
    """Leave out the note that a label has a palette where the palette contradicts another."""
    found = list(faults)
    contradicted = {fault.path for fault in found if fault.kind == CONTRADICTION}
    return [fault for fault in found if fault.kind != PALETTE or fault.path not in contradicted]
