"""The forms of labels that people have, as the YAML file of a preparation states them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rskt_seg.class_facts import parse_color
from rskt_seg.data.class_sets import RGB
from rskt_seg.data.yaml_files import check_keys, check_path, check_share
from rskt_seg.errors import DatasetError, VocabularyError
from rskt_seg.reading import brief

V = TypeVar("V")

_POLYGONS = {
    "form": True, "path": True, "values": False, "ignore": False, "priority": False, "background": False,
}  # fmt: skip
_KEYS: dict[str, dict[str, bool]] = {
    "ids": {"form": True, "path": True, "values": False, "ignore": False},
    "colors": {
        "form": True, "path": True, "colors": True, "ignore": False, "snap": False, "tolerance": False,
    },
    "vector": {**_POLYGONS, "layer": False, "attribute": False, "all_touched": False, "crs": False},
    "coco": _POLYGONS,
    "labelme": _POLYGONS,
    "image_labels": {"form": True, "path": True},
    "folders": {"form": True, "values": False},
}  # fmt: skip


@dataclass(frozen=True)
class LabelForm:
    """What all forms have.

    Attributes:
        path: A file, a folder or a pattern with `{stem}`, as the YAML file gives it.
        background: The id outside of everything that is drawn; None if that is ignored.
    """

    path: str
    background: int | None = None


@dataclass(frozen=True)
class IdRasters(LabelForm):
    """Rasters with an id per pixel.

    Attributes:
        values: Value of a pixel -> class; None if values are the ids of the classes.
        ignored: Values of pixels that are neither trained nor scored.
    """

    values: Mapping[int, int] | None = None
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True)
class ColorMasks(LabelForm):
    """Pictures in which each class has a colour.

    Attributes:
        table: Colour -> class.
        ignored: Colours of pixels that are neither trained nor scored.
        snap: Distance in RGB up to which a pixel gets the nearest of the colours; 0 for none.
        tolerance: Share (0..1) of the pixels of a mask that may have other colours; they are ignored.
    """

    table: Mapping[RGB, int] = ()  # type: ignore[assignment]
    ignored: tuple[RGB, ...] = ()
    snap: float = 0.0
    tolerance: float = 0.0


@dataclass(frozen=True)
class Drawn(LabelForm):
    """What polygons have, wherever they come from.

    Attributes:
        values: Value of the attribute, or name of the category -> class.
        ignored: Those of polygons inside which nothing is trained or scored.
        priority: Classes from the most to the least important: of several polygons on a pixel, the first
            wins. Ignored polygons win over all.
    """

    values: Mapping[str, int] = ()  # type: ignore[assignment]
    ignored: tuple[str, ...] = ()
    priority: tuple[int, ...] = ()


@dataclass(frozen=True)
class VectorFiles(Drawn):
    """Polygons of a vector file.

    Attributes:
        layer: The layer; None for the only one.
        attribute: The attribute that tells the class; None if all polygons are of the first class of
            `values`.
        all_touched: Whether pixels that a polygon touches belong to it.
        crs: The CRS of the coordinates if the file states none.
    """

    layer: str | None = None
    attribute: str | None = None
    all_touched: bool = False
    crs: str | None = None


@dataclass(frozen=True)
class CocoFile(Drawn):
    """Polygons and run-length encoded masks of a COCO file."""


@dataclass(frozen=True)
class LabelmeFiles(Drawn):
    """Polygons, rectangles and circles of LabelMe files."""


@dataclass(frozen=True)
class ImageLevel(LabelForm):
    """Which classes an image shows, by a file or by the folder that it is in.

    Attributes:
        folders: Name of a folder -> class; None if a file says it.
    """

    folders: Mapping[str, int] | None = None


def parse_labels(value: object, path: Path, names: tuple[str, ...]) -> LabelForm:
    """Read the key `labels` of a YAML file.

    Args:
        value: Its value.
        path: The YAML file.
        names: The class names.

    Returns:
        The form of the labels.

    Raises:
        DatasetError: An unknown or missing key, a class that is none, a class without a value or colour, or
            one value or colour for two classes.
    """
    where = f"{path}: labels"
    form = value.get("form") if isinstance(value, dict) else None
    if not isinstance(form, str) or form not in _KEYS:
        raise DatasetError(f"{where}.form must be one of {', '.join(_KEYS)}; found {brief(form)}")
    keys = check_keys(value, _KEYS[form], where)
    if form == "folders":
        own = keys.get("values", {name: name for name in names})
        return ImageLevel("", None, _by_value(own, names, f"{where}.values", _text, required=True))
    place = check_path(keys["path"], f"{where}.path")
    if form == "image_labels":
        return ImageLevel(place)
    if form == "ids":
        return _id_rasters(keys, place, names, where)
    if form == "colors":
        return _color_masks(keys, place, names, where)
    return _drawn(form, keys, place, names, where)


def _id_rasters(keys: dict[str, object], place: str, names: tuple[str, ...], where: str) -> IdRasters:
    values = None
    if "values" in keys:
        values = _by_value(keys["values"], names, f"{where}.values", _whole_number, required=True)
    ignored = frozenset(_listed(keys.get("ignore", []), f"{where}.ignore", _whole_number))
    known = dict(enumerate(names)) if values is None else {v: names[k] for v, k in values.items()}
    if both := sorted(ignored & known.keys()):
        raise DatasetError(f"{where}.ignore: {both[0]} is the value of class {known[both[0]]!r} already")
    return IdRasters(place, None, values, tuple(sorted(ignored)))


def _color_masks(keys: dict[str, object], place: str, names: tuple[str, ...], where: str) -> ColorMasks:
    colors = keys["colors"]
    if isinstance(colors, dict):  # [R, G, B] is one colour
        colors = {name: [each] if _is_triple(each) else each for name, each in colors.items()}
    table = _by_value(colors, names, f"{where}.colors", _color, required=True)
    ignored = tuple(_listed(keys.get("ignore", []), f"{where}.ignore", _color))
    if both := [color for color in ignored if color in table]:
        raise DatasetError(
            f"{where}.ignore: {hex_color(both[0])} is the colour of class {names[table[both[0]]]!r} already"
        )
    snap = keys.get("snap", 0)
    if type(snap) not in (int, float) or not 0 <= snap <= 441:  # type: ignore[operator]
        raise DatasetError(f"{where}.snap must be a distance in RGB, such as 12; found {brief(snap)}")
    tolerance = check_share(keys.get("tolerance", 0), f"{where}.tolerance")
    return ColorMasks(place, None, table, ignored, float(str(snap)), tolerance)


def _drawn(form: str, keys: dict[str, object], place: str, names: tuple[str, ...], where: str) -> Drawn:
    values = {name: k for k, name in enumerate(names)}
    if "values" in keys:
        values = _by_value(keys["values"], names, f"{where}.values", _text, required=False)
    ignored = frozenset(_listed(keys.get("ignore", []), f"{where}.ignore", _text))
    if both := sorted(ignored & values.keys()):
        raise DatasetError(
            f"{where}.ignore: {both[0]!r} is a value of class {names[values[both[0]]]!r} already"
        )
    order = keys.get("priority", list(names))
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(names):
        raise DatasetError(
            f"{where}.priority must list every class once, the most important first; found {brief(order)}"
        )
    background = keys.get("background")
    if background is not None and background not in names:
        raise DatasetError(
            f"{where}.background must be a class of the file ({', '.join(names)}); found {brief(background)}"
        )
    common = (
        place,
        None if background is None else names.index(str(background)),
        values,
        tuple(sorted(ignored)),  # a set would have another order, and digest, in each process
        tuple(names.index(name) for name in order),
    )
    if form == "coco":
        return CocoFile(*common)
    if form == "labelme":
        return LabelmeFiles(*common)
    touched = keys.get("all_touched", False)
    if not isinstance(touched, bool):
        raise DatasetError(f"{where}.all_touched must be true or false; found {brief(touched)}")
    texts: dict[str, str | None] = {}
    for key in ("layer", "attribute", "crs"):
        given = keys.get(key)
        if given is not None and not isinstance(given, str):
            raise DatasetError(f"{where}.{key} must be a text; found {brief(given)}")
        texts[key] = given
    drawn_classes = set(range(len(names))) - {common[1]}
    if texts["attribute"] is None and len(drawn_classes) != 1:
        raise DatasetError(
            f"{where}: missing key attribute, which tells the class of a polygon; without it there is one "
            "class beside the background"
        )
    if texts["attribute"] is None:
        common = (*common[:2], {"": drawn_classes.pop()}, *common[3:])
    return VectorFiles(*common, texts["layer"], texts["attribute"], touched, texts["crs"])


def _by_value(
    tree: object, names: tuple[str, ...], where: str, read: Callable[[object, str], V], required: bool
) -> dict[V, int]:
    """Return value -> class of a mapping of classes to a value or a list of values each."""
    if not isinstance(tree, dict) or not tree:
        raise DatasetError(f"{where} must map class names to values; found {brief(tree)}")
    found: dict[V, int] = {}
    for name, value in tree.items():
        if name not in names:
            raise DatasetError(f"{where}: {brief(name)} is no class of the file; known: {', '.join(names)}")
        for each in value if isinstance(value, list) else [value]:
            read_value = read(each, f"{where}.{name}")
            other = found.setdefault(read_value, names.index(name))
            if names[other] != name:
                raise DatasetError(
                    f"{where}: classes {names[other]!r} and {name!r} have the same value {brief(each)}; one "
                    "value cannot be two classes"
                )
    if required and (missing := [name for k, name in enumerate(names) if k not in found.values()]):
        raise DatasetError(f"{where}: class {missing[0]!r} has no value; give it one, or leave the class out")
    return found


def _listed(value: object, where: str, read: Callable[[object, str], V]) -> list[V]:
    if not isinstance(value, list):
        raise DatasetError(f"{where} must be a list; found {brief(value)}")
    return [read(each, where) for each in value]


def _whole_number(value: object, where: str) -> int:
    if type(value) is not int:
        raise DatasetError(f"{where} must be whole numbers; found {brief(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise DatasetError(f"{where} must be texts or numbers; found {brief(value)}")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_triple(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(each) is int for each in value)


def _color(value: object, where: str) -> RGB:
    try:
        if isinstance(value, list) and _is_triple(value):
            return parse_color(",".join(map(str, value)))
        return parse_color(str(value))
    except VocabularyError as error:
        raise DatasetError(f'{where}: {error} (quote it: "#3C1098")') from error


def hex_color(color: RGB) -> str:
    """Return a colour as `#RRGGBB`."""
    return "#{:02X}{:02X}{:02X}".format(*color)
