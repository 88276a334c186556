"""The labels of a set: for each form, how the label of an image is opened."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.data.labels import ColorTable
from rskt_seg.data.own_preparation.annotations import (
    CocoLabels,
    class_or_ignored,
    paint_order,
    read_labelme,
)
from rskt_seg.data.own_preparation.colors import open_color_mask
from rskt_seg.data.own_preparation.description import Description
from rskt_seg.data.own_preparation.files import Found, Source, refuse_lonely
from rskt_seg.data.own_preparation.id_rasters import open_id_raster
from rskt_seg.data.own_preparation.image_level import read_image_level
from rskt_seg.data.own_preparation.label_forms import (
    CocoFile,
    ColorMasks,
    Drawn,
    IdRasters,
    ImageLevel,
    LabelmeFiles,
    VectorFiles,
)
from rskt_seg.data.own_preparation.label_maps import LabelFacts, OpenLabel
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.geo.burning import PolygonIds, PolygonsOnImage, read_polygons
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.image_sets import SetImage
from rskt_seg.windows import Window
from rskt_seg.wording import counted


@dataclass(frozen=True)
class Labels:
    """The labels of a set.

    Attributes:
        open: Opens the label of an image, in any thread; raises `LabelError` if it is not what the
            description says.
        found: The images that have a label.
        notes: Sentences on the labels as a whole.
        classes: Image, by its name in the set -> ids of the classes that it shows; None if pixels have
            labels.
    """

    open: Callable[[Source, SetImage], AbstractContextManager[OpenLabel]]
    found: Found
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[int, ...]] | None = None


def open_labels(
    description: Description, found: Found, images: Sequence[SetImage], allow_missing: bool
) -> Labels:
    """Open the labels of a set.

    Args:
        description: What the YAML file says.
        found: Its images and labels.
        images: The images, in the order of `found`.
        allow_missing: Whether images and annotations without a partner are left out.

    Returns:
        The labels.

    Raises:
        DatasetError: A file that has the labels of all images cannot be read, or misses images; images and
            polygons cannot be brought together.
    """
    form, names = description.labels, description.class_set.names
    shared = description.path.parent.absolute() / Path(form.path).expanduser()
    if isinstance(form, IdRasters):
        return Labels(partial(_open_id_raster, form, len(names)), found)
    if isinstance(form, ColorMasks):
        known = ColorTable(form.table, form.ignored)
        return Labels(partial(_open_color_mask, form, known, names), found)
    if isinstance(form, ImageLevel):
        return Labels(_open_nothing, found, classes=read_image_level(form, shared, found.sources, names))
    if not isinstance(form, Drawn):
        raise TypeError(f"a form that is not known: {form}")
    return _open_drawn(form, names, shared, found, images, allow_missing)


def _open_drawn(
    form: Drawn,
    names: tuple[str, ...],
    shared: Path,
    found: Found,
    images: Sequence[SetImage],
    allow_missing: bool,
) -> Labels:
    """Open labels that are drawn; `shared` is the file that has those of all images, if there is one."""
    order = "where polygons overlap, the first of these classes wins: " + ", ".join(
        names[k] for k in form.priority
    )
    outside = "ignored" if form.background is None else names[form.background]
    notes: tuple[str, ...] = (order, f"outside of what is drawn: {outside}")
    if isinstance(form, LabelmeFiles):
        return Labels(partial(_open_labelme, form, names), found, notes)
    if isinstance(form, CocoFile):
        coco = CocoLabels(shared, form, names)
        entries, others = coco.pair(found.sources)
        kept = tuple(source for source in found.sources if source.name in entries)
        lonely = [source.image for source in found.sources if source.name not in entries]
        left_out = refuse_lonely(shared, lonely, [Path(each) for each in others], allow_missing, bool(kept))
        return Labels(
            partial(_open_coco, coco, entries),
            replace(found, sources=kept, notes=(*found.notes, *left_out)),
            notes,
        )
    assert isinstance(form, VectorFiles)
    places = [_place_of(image) for image in images]
    if found.sources[0].label is not None:
        return Labels(partial(_open_own_vector, form, names), found, notes)
    polygons = _open_vector(form, names, shared)
    on = [polygons.count_on(place, image.size) for place, image in zip(places, images, strict=True)]
    if not any(on):
        raise _none_on_an_image(shared, polygons, images[0])
    if bare := on.count(0):
        notes = (*notes, f"{counted(bare, 'image')} without a polygon")
    return Labels(partial(_open_polygons, form, polygons), found, notes)


class _NoPixels:
    """The label of an image where labels are those of whole images; see `OpenLabel`."""

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`."""
        return LabelFacts()

    def read(self, window: Window) -> np.ndarray:
        """Return that no pixel has a class."""
        return np.full((window.height, window.width), IGNORE_LABEL, np.uint8)


class _Polygons:
    """The polygons on an image; see `OpenLabel`.

    Args:
        polygons: The polygons.
        fill: The id outside of them.
    """

    def __init__(self, polygons: PolygonsOnImage, fill: int) -> None:
        self._polygons, self._fill = polygons, fill

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`; all was looked at when it was opened."""
        return LabelFacts()

    def read(self, window: Window) -> np.ndarray:
        """See `OpenLabel.read`."""
        return self._polygons.burn(window, self._fill)


def _open_nothing(source: Source, image: SetImage) -> AbstractContextManager[OpenLabel]:
    return nullcontext(_NoPixels())


def _label_of(source: Source) -> Path:
    if source.label is None:
        raise LabelError(f"{source.image} has no label of its own")
    return source.label


def _open_id_raster(
    form: IdRasters, num_classes: int, source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    return open_id_raster(form, num_classes, _label_of(source), image)


def _open_color_mask(
    form: ColorMasks, known: ColorTable, names: tuple[str, ...], source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    return nullcontext(open_color_mask(form, known, names, _label_of(source), image))


def _open_labelme(
    form: LabelmeFiles, names: tuple[str, ...], source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    return nullcontext(read_labelme(_label_of(source), form, names, image))


def _open_coco(
    coco: CocoLabels, entries: Mapping[str, Any], source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    return nullcontext(coco.open(entries[source.name], image))


def _open_polygons(
    form: VectorFiles, polygons: PolygonIds, source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    fill = IGNORE_LABEL if form.background is None else form.background
    return nullcontext(_Polygons(polygons.on(_place_of(image), image.size), fill))


def _open_own_vector(
    form: VectorFiles, names: tuple[str, ...], source: Source, image: SetImage
) -> AbstractContextManager[OpenLabel]:
    polygons = _open_vector(form, names, _label_of(source))
    if not polygons.count_on(_place_of(image), image.size):
        raise _none_on_an_image(_label_of(source), polygons, image)
    return _open_polygons(form, polygons, source, image)


def _open_vector(form: VectorFiles, names: tuple[str, ...], path: Path) -> PolygonIds:
    layer = read_polygons(path, form.layer, form.attribute, form.crs)
    values = [""] * len(layer.geometry) if layer.values is None else layer.values
    ids = class_or_ignored(form, values, names, f"{path}: attribute {form.attribute}")
    return PolygonIds(layer, ids, paint_order(form), form.all_touched)


def _none_on_an_image(path: Path, polygons: PolygonIds, image: SetImage) -> LabelError:
    """Return the error of polygons that lie on no image, of which `image` is the first."""
    return LabelError(
        f"{path}: no polygon lies on an image: {polygons.describe(_place_of(image), image.size)}; is the CRS "
        "of both right?"
    )


def _place_of(image: SetImage) -> Georeference:
    place = image.georeference
    if place is None or place.transform is None or place.crs is None:
        lacks = "CRS" if place is not None and place.transform is not None else "georeference"
        raise DatasetError(
            f"{image.path} has no {lacks}, so where polygons lie on it is not known; set it, such as by "
            "gdal_edit.py -a_srs EPSG:32632 FILE"
        )
    return place
