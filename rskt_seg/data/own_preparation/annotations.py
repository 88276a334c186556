"""Annotation files: COCO, whose one file has all images, and LabelMe, with a file for each image."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL, listed, repeated
from rskt_seg.data.own_preparation.files import Source
from rskt_seg.data.own_preparation.label_forms import CocoFile, Drawn, LabelmeFiles
from rskt_seg.data.own_preparation.label_maps import LabelFacts
from rskt_seg.data.own_preparation.run_lengths import RunLengths, encode
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.geo.burning import burn_pixels
from rskt_seg.geo.image_sets import SetImage
from rskt_seg.reading import brief
from rskt_seg.windows import Window
from rskt_seg.wording import counted

_CIRCLE = 64
"""Corners of the polygon that stands for a circle."""


def class_or_ignored(form: Drawn, values: Sequence[str], names: tuple[str, ...], where: str) -> list[int]:
    """Return the id of each polygon by the value of its attribute, its category or its label.

    Args:
        form: The values of the classes.
        values: N values.
        names: The class names.
        where: File and attribute, for messages.

    Returns:
        N ids; 255 for ignored ones.

    Raises:
        LabelError: A value is neither of a class nor ignored; the message lists such values.
    """
    table = dict(form.values) | dict.fromkeys(form.ignored, IGNORE_LABEL)
    if unknown := Counter(value for value in values if value not in table):
        found = [f"{brief(value)} ({count})" for value, count in unknown.most_common()]
        near = get_close_matches(unknown.most_common(1)[0][0], table, n=1)
        hint = f"; is {brief(unknown.most_common(1)[0][0])} {brief(near[0])}?" if near else ""
        raise LabelError(
            f"{where}: values of no class: {listed(found)}{hint}; map them to classes "
            f"({', '.join(names)}) by `values`, or name them in `ignore`"
        )
    return [table[value] for value in values]


def paint_order(form: Drawn) -> list[int]:
    """Return ids from the least to the most important; of several on a pixel, the last wins."""
    return [*reversed(form.priority), IGNORE_LABEL]


class CocoLabels:
    """The annotations of a COCO file.

    Args:
        path: The file.
        form: What its categories mean.
        names: The class names.

    Attributes:
        entries: Entries of its images: file name -> entry.

    Raises:
        LabelError: The file cannot be read, has no images, annotations or categories, or a category in use
            that is no class.
    """

    def __init__(self, path: Path, form: CocoFile, names: tuple[str, ...]) -> None:
        self.path, self._form = path, form
        tree = _read_json(path)
        for key in ("images", "annotations", "categories"):
            if not isinstance(tree.get(key), list) or not tree[key]:
                raise LabelError(
                    f"{path}: expected a COCO file with images, annotations and categories; found no {key}"
                )
        try:
            categories = {each["id"]: str(each["name"]) for each in tree["categories"]}
            self.entries: dict[str, Any] = {str(each["file_name"]): each for each in tree["images"]}
            used = [categories[each["category_id"]] for each in tree["annotations"]]
            ids = class_or_ignored(form, used, names, f"{path}: categories")
            self._annotations: dict[Any, list[tuple[int, Any]]] = {}
            for number, each in zip(ids, tree["annotations"], strict=True):
                self._annotations.setdefault(each["image_id"], []).append((number, each["segmentation"]))
            self._check_ids(tree)
        except (KeyError, TypeError) as error:
            raise LabelError(
                f"{path}: expected a COCO file; an image, annotation or category lacks or misses {error}"
            ) from error
        if len(self.entries) < len(tree["images"]):
            raise LabelError(f"{path}: several images have the same file_name; join their entries")

    def _check_ids(self, tree: Mapping[str, Any]) -> None:
        """Refuse ids that are not of one image or category, whose annotations would be lost or doubled."""
        for key in ("images", "categories"):
            if twice := repeated(each["id"] for each in tree[key]):
                raise LabelError(
                    f"{self.path}: several {key} have the id {brief(twice[0])}; number them anew"
                )
        ids = {each["id"] for each in tree["images"]}
        if lost := sorted(repr(each) for each in self._annotations.keys() - ids):
            raise LabelError(
                f"{self.path}: annotations of images that the file does not list, by image_id: "
                f"{listed(lost)}; the ids of images are such as {tree['images'][0]['id']!r}: correct them, "
                "or delete these annotations"
            )

    def pair(self, sources: Sequence[Source]) -> tuple[dict[str, Any], list[str]]:
        """Return the entry of each image by its name in the set, and the file names without an image.

        Raises:
            DatasetError: Several entries or images may belong together.
        """
        by_name: dict[str, list[str]] = {}
        for file in self.entries:
            by_name.setdefault(PurePosixPath(file).name, []).append(file)
        found: dict[str, Any] = {}
        taken: dict[str, Source] = {}
        for source in sources:
            candidates = by_name.get(source.image.name, [])
            exact = [each for each in candidates if f"/{source.place}".endswith(f"/{each}")]
            chosen = [max(exact, key=len)] if exact else candidates
            if not chosen:
                continue
            if len(chosen) > 1 or chosen[0] in taken:
                raise DatasetError(
                    f"{self.path}: {source.image} may be {listed(chosen)}, and so may other images; write "
                    "file_name with the folders that tell them apart"
                )
            taken[chosen[0]], found[source.name] = source, self.entries[chosen[0]]
        return found, sorted(self.entries.keys() - taken.keys())

    def open(self, entry: Mapping[str, Any], image: SetImage) -> "CocoMasks":
        """Return the annotations of an image.

        Args:
            entry: What `pair` returned for it.
            image: The image.

        Returns:
            The label.

        Raises:
            LabelError: The entry states another size, a segmentation is none, or all are elsewhere.
        """
        _check_size(self.path, image, (entry.get("height"), entry.get("width")))
        drawn = self._annotations.get(entry["id"], [])
        order = {number: place for place, number in enumerate(paint_order(self._form))}
        drawn = sorted(drawn, key=lambda each: order[each[0]])
        fill = IGNORE_LABEL if self._form.background is None else self._form.background
        where = f"{self.path}: a segmentation of {image.path.name}"
        masks = CocoMasks([(number, encode(mask, image.size, where)) for number, mask in drawn], fill)
        if not any(isinstance(mask, dict) for _, mask in drawn):
            rings = [np.reshape(ring, (-1, 2)) for _, mask in drawn for ring in mask]
            _refuse_elsewhere(self.path, image, rings)
        return masks


class CocoMasks:
    """The masks of an image, painted in windows; see `OpenLabel`.

    Args:
        masks: Ids and run lengths, from the least to the most important.
        fill: The id outside of all masks.
    """

    def __init__(self, masks: Sequence[tuple[int, RunLengths]], fill: int) -> None:
        self._masks, self._fill = masks, fill

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`; all was looked at when it was opened."""
        return LabelFacts()

    def read(self, window: Window) -> np.ndarray:
        """See `OpenLabel.read`."""
        ids = np.full((window.height, window.width), self._fill, np.uint8)
        for number, mask in self._masks:
            mask.paint(ids, number, window)
        return ids


class Shapes:
    """The shapes of an image, burned in windows; see `OpenLabel`.

    Args:
        shapes: Polygons as in GeoJSON with their ids, from the least to the most important.
        fill: The id outside of all shapes.
    """

    def __init__(self, shapes: Sequence[tuple[Mapping[str, Any], int]], fill: int) -> None:
        self._shapes, self._fill = shapes, fill

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`; all was looked at when it was opened."""
        return LabelFacts()

    def read(self, window: Window) -> np.ndarray:
        """See `OpenLabel.read`."""
        return burn_pixels(self._shapes, window, self._fill)


def read_labelme(path: Path, form: LabelmeFiles, names: tuple[str, ...], image: SetImage) -> Shapes:
    """Read the shapes of a LabelMe file.

    Args:
        path: The file.
        form: What its labels mean.
        names: The class names.
        image: The image.

    Returns:
        The label.

    Raises:
        LabelError: The file cannot be read or states another size; a label is of no class; a shape is no
            polygon, rectangle or circle; or all shapes are elsewhere.
    """
    tree = _read_json(path)
    shapes = tree.get("shapes")
    if not isinstance(shapes, list):
        raise LabelError(f"{path}: expected a LabelMe file with shapes; found {brief(list(tree))}")
    _check_size(path, image, (tree.get("imageHeight"), tree.get("imageWidth")))
    try:
        ids = class_or_ignored(form, [str(each["label"]) for each in shapes], names, f"{path}: labels")
        drawn = [(_outline(each), number) for each, number in zip(shapes, ids, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{path}: a shape cannot be drawn: {error}") from error
    _refuse_elsewhere(path, image, [np.array(shape["coordinates"][0]) for shape, _ in drawn])
    order = {number: place for place, number in enumerate(paint_order(form))}
    drawn.sort(key=lambda each: order[each[1]])
    fill = IGNORE_LABEL if form.background is None else form.background
    return Shapes(drawn, fill)


def _outline(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return the polygon of a LabelMe shape as in GeoJSON."""
    points = np.array(shape["points"], float).reshape(-1, 2)
    kind = shape.get("shape_type", "polygon")
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle" and len(points) == 2:
        angle = np.arange(_CIRCLE) * 2 * np.pi / _CIRCLE
        radius = np.hypot(*(points[1] - points[0]))
        points = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    elif kind != "polygon" or len(points) < 3:
        raise ValueError(
            f"expected a polygon of three or more points, a rectangle or a circle; found a {kind} of "
            f"{counted(len(points), 'point')}"
        )
    ring = [tuple(point) for point in points.tolist()]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _refuse_elsewhere(path: Path, image: SetImage, rings: Sequence[np.ndarray]) -> None:
    """Refuse an image that none of its rings (n, 2) of x and y reaches, px."""
    height, width = image.size
    if rings and all((ring.max(0) <= 0).any() or (ring.min(0) >= (width, height)).any() for ring in rings):
        points = np.concatenate(rings)
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        raise LabelError(
            f"{path}: nothing of what is drawn lies on {image.path.name}: polygons reach over x {x0:g}.."
            f"{x1:g} and y {y0:g}..{y1:g}, the image over 0..{width} and 0..{height} px; the image that was "
            "annotated is needed"
        )


def _check_size(path: Path, image: SetImage, stated: tuple[object, object]) -> None:
    size = image.size
    if None not in stated and stated != size:
        raise LabelError(
            f"{path}: {image.path.name} is stated as {stated[0]} x {stated[1]} but is {size[0]} x {size[1]} "
            "(height x width); the image that was annotated is needed"
        )


def _read_json(path: Path) -> dict[str, Any]:
    """Read an annotation file, which is of any size."""
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(tree, dict):
        raise LabelError(f"{path}: expected a JSON object; found {brief(tree)}")
    return tree
