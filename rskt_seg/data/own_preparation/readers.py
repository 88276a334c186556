"""The labels of a set, opened: for each form, how the label of an image is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL, listed
from rskt_seg.data.labels import id_counts, pixel_counts
from rskt_seg.data.own_preparation.annotations import (
    CocoLabels,
    class_or_ignored,
    paint_order,
    read_labelme,
)
from rskt_seg.data.own_preparation.colors import read_color_mask
from rskt_seg.data.own_preparation.description import Description
from rskt_seg.data.own_preparation.files import Found, Source, refuse_lonely
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
from rskt_seg.data.own_preparation.label_maps import LabelMap
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.geo.burning import PolygonIds, read_polygons
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.image_sets import SetImage
from rskt_seg.geo.label_grids import read_ids
from rskt_seg.wording import counted


@dataclass(frozen=True)
class Labels:
    """The labels of a set.

    Attributes:
        read: Reads the label of an image, in any thread; raises `LabelError` if it is not what the
            description says.
        found: The images that have a label.
        notes: Sentences on the labels as a whole.
        classes: Image, by its name in the set -> ids of the classes that it shows; None if pixels have
            labels.
    """

    read: Callable[[Source, SetImage], LabelMap]
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
        return Labels(partial(_read_id_raster, form, len(names)), found)
    if isinstance(form, ColorMasks):
        return Labels(partial(_read_color_mask, form, names), found)
    if isinstance(form, ImageLevel):
        return Labels(_read_nothing, found, classes=read_image_level(form, shared, found.sources, names))
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
        return Labels(partial(_read_labelme, form, names), found, notes)
    if isinstance(form, CocoFile):
        if found.sources[0].label is not None:
            raise DatasetError(f"{shared}: a COCO file has all images; give one file as labels.path")
        coco = CocoLabels(shared, form, names)
        entries, others = coco.pair(found.sources)
        kept = tuple(source for source in found.sources if source.name in entries)
        lonely = [source.image for source in found.sources if source.name not in entries]
        left_out = refuse_lonely(shared, lonely, [Path(each) for each in others], allow_missing, bool(kept))
        return Labels(
            partial(_read_coco, coco, entries),
            replace(found, sources=kept, notes=(*found.notes, *left_out)),
            notes,
        )
    assert isinstance(form, VectorFiles)
    places = [_place_of(image) for image in images]
    if found.sources[0].label is not None:
        return Labels(partial(_read_own_vector, form, names), found, notes)
    polygons = _open_vector(form, names, shared)
    on = [polygons.count_on(place, image.size) for place, image in zip(places, images, strict=True)]
    if not any(on):
        raise DatasetError(
            f"{shared}: no polygon lies on an image: {polygons.describe(places[0], images[0].size)}; is the "
            "CRS of both right?"
        )
    if bare := on.count(0):
        notes = (*notes, f"{counted(bare, 'image')} without a polygon")
    return Labels(partial(_read_vector, form, polygons), found, notes)


def _read_nothing(source: Source, image: SetImage) -> LabelMap:
    """Return that no pixel has a class, where labels are those of whole images."""
    return LabelMap(np.full(image.size, IGNORE_LABEL, np.uint8))


def _label_of(source: Source) -> Path:
    if source.label is None:
        raise LabelError(f"{source.image} has no label of its own")
    return source.label


def _read_id_raster(form: IdRasters, num_classes: int, source: Source, image: SetImage) -> LabelMap:
    path = _label_of(source)
    found = read_ids(path, image.georeference, image.size)
    values = {k: k for k in range(num_classes)} if form.values is None else form.values
    # 255 is what this project writes for ignored pixels, unless the file says that it is a class.
    table = dict.fromkeys({*form.ignored, IGNORE_LABEL}, IGNORE_LABEL) | dict(values)
    known = found.ids[found.known]
    if known.dtype in (np.uint8, np.uint16):
        occurring = id_counts(known)
    else:
        values_there, counts = np.unique(known, return_counts=True)
        occurring = dict(zip(values_there.tolist(), counts.tolist(), strict=True))
    if wrong := {value: count for value, count in occurring.items() if value not in table}:
        raise LabelError(
            f"{path}: found ids {pixel_counts(wrong)}; expected {listed(sorted(table))}: map values to "
            "classes by `values`, or name them in `ignore`"
        )
    ids = np.full(image.size, IGNORE_LABEL, np.uint8)
    for value in occurring:
        ids[found.ids == value] = table[value]
    ids[~found.known] = IGNORE_LABEL
    return LabelMap(ids, warped=found.warped)


def _read_color_mask(form: ColorMasks, names: tuple[str, ...], source: Source, image: SetImage) -> LabelMap:
    return read_color_mask(form, names, image, _label_of(source))


def _read_labelme(form: LabelmeFiles, names: tuple[str, ...], source: Source, image: SetImage) -> LabelMap:
    return read_labelme(_label_of(source), form, names, image.size, image.path)


def _read_coco(coco: CocoLabels, entries: Mapping[str, Any], source: Source, image: SetImage) -> LabelMap:
    return coco.read(entries[source.name], image.size, image.path)


def _read_vector(form: VectorFiles, polygons: PolygonIds, source: Source, image: SetImage) -> LabelMap:
    fill = IGNORE_LABEL if form.background is None else form.background
    ids, drawn = polygons.burn(_place_of(image), image.size, fill)
    return LabelMap(ids, drawn=drawn)


def _read_own_vector(form: VectorFiles, names: tuple[str, ...], source: Source, image: SetImage) -> LabelMap:
    return _read_vector(form, _open_vector(form, names, _label_of(source)), source, image)


def _open_vector(form: VectorFiles, names: tuple[str, ...], path: Path) -> PolygonIds:
    layer = read_polygons(path, form.layer, form.attribute, form.crs)
    values = [""] * len(layer.geometry) if layer.values is None else layer.values
    ids = class_or_ignored(form, values, names, f"{path}: attribute {form.attribute}")
    return PolygonIds(layer, ids, paint_order(form), form.all_touched)


def _place_of(image: SetImage) -> Georeference:
    place = image.georeference
    if place is None or place.transform is None or place.crs is None:
        lacks = "CRS" if place is not None and place.transform is not None else "georeference"
        raise DatasetError(
            f"{image.path} has no {lacks}, so where polygons lie on it is not known; set it, such as by "
            "gdal_edit.py -a_srs EPSG:32632 FILE"
        )
    return place
