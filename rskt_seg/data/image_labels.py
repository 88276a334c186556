"""Image-level labels: which classes an image shows, counted in its mask or read from a plain file.

The file is comma-separated text: a line for each image, its name (with or without folder and extension) and
then the names of its classes; a line with a name alone says that none is there.
"""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from rskt_seg.data.catalog import Split, find_files
from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.data.probe import id_counts
from rskt_seg.errors import DatasetError
from rskt_seg.writing import replacing

HEADER = ("image", "classes")
"""The first line of a file that is written here; a file may do without."""

ImageLabels = dict[str, tuple[int, ...]]
"""Stem of an image -> ids of its classes, ascending."""


def present_classes(ids: np.ndarray, num_classes: int, ignore: int, min_pixels: int = 1) -> tuple[int, ...]:
    """The ids 0..num_classes - 1, without `ignore`, of which `ids` (H, W) uint8 or uint16 has `min_pixels` or
    more, ascending. Raises `DatasetError` for `min_pixels` under 1."""
    if min_pixels < 1:
        raise DatasetError(f"a class is present with 1 pixel or more; found a threshold of {min_pixels}")
    counts = id_counts(ids)
    return tuple(k for k, count in counts.items() if k < num_classes and k != ignore and count >= min_pixels)


def classes_of_mask(
    path: str | Path, class_names: Sequence[str], ignore: int, min_pixels: int = 1
) -> tuple[int, ...]:
    """`present_classes` of a label file. Raises `LabelError` as `read_label` and `check_label`."""
    ids = read_label(path)
    check_label(ids, len(class_names), ignore, path, class_names=class_names)
    return present_classes(ids, len(class_names), ignore, min_pixels)


def split_image_labels(split: Split, root: str | Path) -> ImageLabels:
    """The image-level labels of the images of a split, from its file under `root`.

    Lines of other images of the same folder are passed over where the split is a list. Raises as
    `read_image_labels` and `find_files`.
    """
    folder = find_files(replace(split, stems=(), labels=""), root).images
    file = Path(root) / split.image_labels
    return read_image_labels(file, split.class_set.names, split.stems or tuple(folder), folder)


def read_image_labels(
    path: str | Path, class_names: Sequence[str], images: Sequence[str], others: Collection[str] = ()
) -> ImageLabels:
    """The image-level labels of `images` (stems) in a file; lines of `others` are checked and left out.

    Raises `DatasetError` naming the file and its lines where it cannot be read, names an image that is
    neither in `images` nor in `others`, a class that is not in `class_names`, or one of them twice, and where
    it has no line for one of `images`.
    """
    known, ids = {*images, *others}, {name: k for k, name in enumerate(class_names)}
    rows = [
        (line, _known_stem(cells[0], known), cells) for line, cells in _without_header(_rows(path), known)
    ]
    _refuse_unknown_images(path, [(line, cells[0]) for line, stem, cells in rows if stem is None], known)
    _refuse_repeated(path, rows)
    found: ImageLabels = {}
    for line, stem, cells in rows:
        for name in cells[1:]:
            if name not in ids:
                raise DatasetError(f"{path}, line {line}: unknown class {name!r}; {_near(name, class_names)}")
        found[stem] = tuple(sorted(ids[name] for name in cells[1:]))
    if missing := [stem for stem in images if stem not in found]:
        raise DatasetError(
            f"{path}: {len(missing)} images have no line: {listed(missing)}; an image that shows no class "
            "has a line with its name alone"
        )
    return {stem: found[stem] for stem in images}


def write_image_labels(
    path: str | Path, labels: Mapping[str, Iterable[int]], class_names: Sequence[str]
) -> None:
    """Write a file that `read_image_labels` reads, one line an image, in the order of names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([stem, *(class_names[k] for k in labels[stem])] for stem in sorted(labels))
    with replacing(Path(path)) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty; empty cells at its end, as tables have, go."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the file of image-level labels does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the file of image-level labels cannot be read: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: no comma-separated text: {error}") from error


def _without_header(
    rows: Iterable[tuple[int, list[str]]], known: Collection[str]
) -> Iterator[tuple[int, list[str]]]:
    for number, (line, cells) in enumerate(rows):
        words = [cell.casefold() for cell in cells]
        titled = words[0] == HEADER[0] and {*words[1:]} <= {"class", "classes"}
        if number == 0 and titled and not (len(words) == 1 and HEADER[0] in known):
            continue
        yield line, cells


def _known_stem(name: str, known: Collection[str]) -> str | None:
    """The stem that a line means; a stem that has a dot itself comes before an extension."""
    name = name.replace("\\", "/").rpartition("/")[2]
    path = PurePosixPath(name)
    # An extension is one word: "a.png;ship" is another kind of table, not an image without classes.
    extended = re.fullmatch(r"\.\w+", path.suffix) is not None
    return name if name in known else path.stem if extended and path.stem in known else None


def _refuse_unknown_images(
    path: str | Path, unknown: Sequence[tuple[int, str]], known: Collection[str]
) -> None:
    if not unknown:
        return
    names = listed(f"{name!r} (line {line})" for line, name in unknown)
    cure = f"images of this split are {listed(sorted(known)[:3])}; remove lines of other images"
    if re.search(r"[;\t|]|\.\w+ ", unknown[0][1]):
        cure = "cells are separated by commas"
    elif unknown[0][0] == 1:
        cure += f"; a line of titles is `{','.join(HEADER)}`"
    raise DatasetError(f"{path}: {len(unknown)} lines name images that are not there: {names}; {cure}")


def _refuse_repeated(path: str | Path, rows: Sequence[tuple[int, str | None, list[str]]]) -> None:
    if twice := repeated(stem for _, stem, _ in rows):
        lines = [
            f"{stem} (lines {', '.join(str(n) for n, s, _ in rows if s == stem)})" for stem in twice[:10]
        ]
        more = f" and {len(twice) - 10} more" if len(twice) > 10 else ""
        raise DatasetError(f"{path}: images with several lines: {', '.join(lines)}{more}; each has one")
    for line, _, cells in rows:
        if twice := repeated(cells[1:]):
            raise DatasetError(f"{path}, line {line}: repeated class {listed(map(repr, twice))}")


def _near(name: str, class_names: Sequence[str]) -> str:
    if not name:
        return "a cell between two commas is empty"
    folded = {known.casefold(): known for known in class_names}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    return f"did you mean {', '.join(folded[n] for n in near)}?" if near else f"known: {listed(class_names)}"
