"""The images that a description names, and the label file of each."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.own_preparation.description import RASTERS, Description
from rskt_seg.data.own_preparation.label_forms import (
    CocoFile,
    ImageLevel,
    LabelForm,
    LabelmeFiles,
    VectorFiles,
)
from rskt_seg.data.pairing import spelling_advice
from rskt_seg.errors import DatasetError
from rskt_seg.wording import counted

_VECTORS = ("gpkg", "geojson", "json", "shp", "fgb")
_STEM = "{stem}"
_WILD = re.compile(r"[*?\[{]")


@dataclass(frozen=True)
class Source:
    """An image and its label.

    Attributes:
        name: What the image is called in the set, unlike all others.
        image: The image file.
        stem: The part of its name that its label has too.
        place: Its path from the YAML file, or from the folder of all images, with `/`.
        label: Its label file; None if one file has the labels of all images.
    """

    name: str
    image: Path
    stem: str
    place: str
    label: Path | None


@dataclass(frozen=True)
class Found:
    """The files of a set.

    Attributes:
        sources: The images that have a label, in the order of their names.
        notes: Sentences on what is left out.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...]


class PathPattern:
    """A pattern of paths: `*`, `**`, `?`, `[...]`, and `{stem}` for what image and label share.

    Args:
        pattern: The pattern, absolute or relative to `base`; case does not count.
        base: A folder, whose own name may have the signs of patterns.
    """

    def __init__(self, pattern: str, base: Path) -> None:
        inner = Path(pattern).relative_to(base) if Path(pattern).is_relative_to(base) else Path(pattern)
        parts = Path(os.path.normpath(inner)).parts
        wild = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
        self.folder = Path(os.path.normpath(base.joinpath(*parts[:wild])))
        self._expression = re.compile(_translate("/".join(parts[wild:])), re.IGNORECASE)

    def find(self) -> Iterator[tuple[Path, str]]:
        """Yield every file that matches with its stem, in the order of paths; hidden ones do not."""
        for path in walk(self.folder):
            found = self._expression.fullmatch(path.relative_to(self.folder).as_posix())
            if found:
                yield path, found.groupdict().get("stem") or path.stem

    def matches(self, path: Path) -> bool:
        """Return whether a path, of a file that need not exist, matches."""
        if not path.is_relative_to(self.folder):
            return False
        return bool(self._expression.fullmatch(path.relative_to(self.folder).as_posix()))


def walk(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder in the order of paths, also through links to folders; no hidden ones."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if name[0] != ".") if real not in seen else []
        if real in seen:
            continue
        seen.add(real)
        yield from (Path(place, name) for name in sorted(files) if name[0] != ".")


def _translate(pattern: str) -> str:
    """Return the regular expression of a pattern."""
    text, named = "", False
    for token in re.findall(r"\*\*/|\*\*|\{stem\}|\[[^\]]+\]|.", pattern):
        if token == "**/":
            text += r"(?:.*/)?"
        elif token == "**":
            text += r".*"
        elif token == _STEM:
            text += "(?P=stem)" if named else r"(?P<stem>[^/]+)"
            named = True
        elif token in "*?":
            text += r"[^/]*" if token == "*" else r"[^/]"
        elif len(token) > 1:
            text += token.replace("[!", "[^")
        else:
            text += re.escape(token)
    return text


def find_sources(description: Description, allow_missing: bool) -> Found:
    """Find the images of a description and the label of each.

    Args:
        description: What the YAML file says.
        allow_missing: Whether images and labels without a partner are left out.

    Returns:
        The pairs, and notes on what was left out.

    Raises:
        DatasetError: There are no images; an image has several labels; or an image or label has no partner.
    """
    images, root = _find_images(description)
    shared, labels = _find_labels(description, [(path, stem) for path, stem in images], root)
    names = _unique_names([path for path, _ in images])
    base = description.path.parent.absolute()
    sources, lonely = [], []
    for (path, stem), name in zip(images, names, strict=True):
        place = path.relative_to(base if path.is_relative_to(base) else root).as_posix()
        if shared or path in labels:
            sources.append(Source(name, path, stem, place, labels.get(path)))
        else:
            lonely.append(path)
    orphans = [] if shared else _labels_without_image(description, images, root, set(labels.values()))
    notes = refuse_lonely(description.path, lonely, orphans, allow_missing, bool(sources))
    return Found(tuple(sorted(sources, key=lambda source: source.name)), notes)


def _find_images(description: Description) -> tuple[list[tuple[Path, str]], Path]:
    """Return images with their stems, and the folder below which all of them lie."""
    place, where = description.images.path, f"{description.path}: images.path"
    path = Path(place)
    if path.is_dir():
        found = [(each, each.stem) for each in walk(path) if _extension(each) in RASTERS]
        root, expected = path, f"images (.{', .'.join(RASTERS)}) in the folder {path} or below"
    elif path.is_file():
        found, root, expected = [(path, path.stem)], path.parent, ""
    else:
        pattern = PathPattern(place, description.path.parent.absolute())
        found, root, expected = list(pattern.find()), pattern.folder, f"images that match {place}"
        if not root.is_dir():
            expected = f"images in {root}, which does not exist"
    if not found:
        raise DatasetError(f"{where}: expected {expected}; found none (paths are relative to the YAML file)")
    return found, root


def _find_labels(
    description: Description, images: Sequence[tuple[Path, str]], root: Path
) -> tuple[bool, dict[Path, Path]]:
    """Return whether one file has the labels of all images; else the label of each image that has one."""
    form, where = description.labels, f"{description.path}: labels.path"
    if isinstance(form, ImageLevel):
        return True, {}
    place = description.path.parent.absolute() / Path(form.path).expanduser()
    if isinstance(form, CocoFile) and (_STEM in form.path or place.is_dir()):
        raise DatasetError(f"{where}: expected one COCO file of all images; found {form.path}")
    if _STEM in form.path:
        return False, dict(_by_pattern(form.path, images, where))
    if place.is_dir():
        return False, dict(_by_folder(place, form, images, root, where))
    if not place.is_file():
        beside = [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
        advice = spelling_advice([place.name], beside)
        raise DatasetError(
            f"{where}: {place} does not exist; give a file, a folder, or a pattern with {_STEM} that is "
            "relative to the folder of each image, such as "
            f"../masks/{_STEM}.png{'; ' if advice else ''}{advice}"
        )
    if isinstance(form, CocoFile | VectorFiles):
        return True, {}
    if len(images) != 1:
        raise DatasetError(
            f"{where}: {place} is one file, and there are {counted(len(images), 'image')}; give a folder, or "
            f"a pattern such as ../masks/{_STEM}.png"
        )
    return False, {images[0][0]: place}


def _by_pattern(pattern: str, images: Sequence[tuple[Path, str]], where: str) -> Iterator[tuple[Path, Path]]:
    for image, stem in images:
        there = (Path(os.path.normpath(p)) for p in glob.glob(_of_image(pattern, image, glob.escape(stem))))
        found = sorted(path for path in there if path != image)
        if len(found) > 1:
            raise DatasetError(
                f"{where}: {image} has several labels: {listed(found)}; make the pattern narrower"
            )
        yield from ((image, each) for each in found)


def _of_image(pattern: str, image: Path, stem: str) -> str:
    return os.path.join(glob.escape(str(image.parent)), pattern.replace(_STEM, stem))


def _by_folder(
    folder: Path, form: LabelForm, images: Sequence[tuple[Path, str]], root: Path, where: str
) -> Iterator[tuple[Path, Path]]:
    """Pair by the same place in a mirrored folder, else by a stem that only one label below it has."""
    of_stem: dict[str, list[Path]] = {}
    for label in _labels_in(folder, form):
        of_stem.setdefault(label.stem, []).append(label)
    twice = set(repeated(stem for _, stem in images))
    for image, stem in images:
        candidates = [each for each in of_stem.get(stem, ()) if each != image]
        mirrored = folder / image.parent.relative_to(root)
        beside = [each for each in candidates if each.parent == mirrored]
        found = beside or candidates
        if len(found) > 1 or (found and not beside and stem in twice):
            what = f"several labels: {listed(found)}" if len(found) > 1 else "its stem in common with others"
            raise DatasetError(
                f"{where}: {image} has {what}; which belongs to it is not known: mirror the folders of the "
                f"images, or give a pattern such as ../masks/{_STEM}.png"
            )
        yield from ((image, each) for each in found)


def _labels_in(folder: Path, form: LabelForm) -> list[Path]:
    kinds: tuple[str, ...] = RASTERS
    if isinstance(form, VectorFiles | LabelmeFiles):
        kinds = _VECTORS if isinstance(form, VectorFiles) else ("json",)
    return [path for path in walk(folder) if _extension(path) in kinds]


def _labels_without_image(
    description: Description, images: Sequence[tuple[Path, str]], root: Path, used: set[Path]
) -> list[Path]:
    form, taken = description.labels, used | {path for path, _ in images}
    if _STEM not in form.path:
        place = description.path.parent.absolute() / Path(form.path).expanduser()
        return [] if place.is_file() else [path for path in _labels_in(place, form) if path not in taken]
    patterns = sorted({_of_image(form.path, path, "*") for path, _ in images})
    found = {Path(os.path.normpath(each)) for pattern in patterns for each in glob.glob(pattern)}
    return sorted(path for path in found - taken if not path.name.startswith("."))


def refuse_lonely(
    where: Path, images: list[Path], labels: list[Path], allow_missing: bool, any_pair: bool
) -> tuple[str, ...]:
    """Refuse images and labels without a partner.

    Args:
        where: The file to name in the error.
        images: The images without a label.
        labels: The labels without an image.
        allow_missing: Whether they are left out.
        any_pair: Whether anything remains.

    Returns:
        Notes on what is left out.

    Raises:
        DatasetError: There are such files, and they are not to be left out, or nothing remains.
    """
    faults = []
    if images:
        faults.append(f"{counted(len(images), 'image')} without a label: {listed(images)}")
    if labels:
        faults.append(f"{counted(len(labels), 'label')} without an image: {listed(labels)}")
    if not faults:
        return ()
    if allow_missing and any_pair:
        return tuple(f"left out: {fault}" for fault in faults)
    advice = spelling_advice([path.stem for path in images], [path.stem for path in labels])
    advice = advice or "find their partners, or leave them out by `rskt-seg prepare own --allow-missing`"
    raise DatasetError(f"{where}: {'; '.join(faults)}; {advice}")


def _unique_names(paths: Iterable[Path]) -> list[str]:
    """Name images by their stems or, if these repeat, by the folders too in which their paths differ."""
    parts = [(*path.parent.parts, path.stem) for path in paths]
    stems = [each[-1] for each in parts]
    if len(set(stems)) < len(stems):
        longest = max(map(len, parts))
        padded = [each[:-1] + ("",) * (longest - len(each)) + each[-1:] for each in parts]
        differing = [i for i in range(longest - 1) if len({each[i] for each in padded}) > 1]
        stems = ["_".join(filter(None, (*(each[i] for i in differing), each[-1]))) for each in padded]
    if twice := repeated(stems):
        raise DatasetError(
            f"several images would be called {listed(twice)}, such as files that differ in their extension "
            "alone; give a pattern that takes one of them"
        )
    return stems


def _extension(path: Path) -> str:
    return path.suffix.lstrip(".").lower()
