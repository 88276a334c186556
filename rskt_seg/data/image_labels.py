"""Image-level labels: which classes an image shows, counted in its mask or read from a plain file.

The file is comma-separated text: a line for each image, its name (with or without folder and extension) and
then the names of its classes; a line with a name alone says that none is there.
"""

import codecs
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
from rskt_seg.data.labels import check_label, id_counts, read_label
from rskt_seg.errors import DatasetError
from rskt_seg.writing import replacing

HEADER = ("image", "classes")
"""The first line of a file that is written here; a file may do without."""

_WITHOUT_A_LINE = (
    "an image that shows no class has a line with its name alone, and images that nobody has looked at are "
    "left out by `list` (a file of stems) in the YAML file of the dataset"
)
_SAVE_AS = "save it as CSV UTF-8"
_ARCHIVE = b"PK\x03\x04"
_EXACTLY = (
    "names count exactly, with their case and leading zeros (spreadsheets drop zeros: format their column "
    "as text)"
)
_QUOTE = 'look for a quote (") that is not closed'

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
                raise DatasetError(f"{path}, line {line}: {_unknown_class(cells[0], name, class_names)}")
        found[stem] = tuple(sorted(ids[name] for name in cells[1:]))
    if missing := [stem for stem in images if stem not in found]:
        raise DatasetError(
            f"{path}: {len(missing)} images have no line: {listed(missing)}; {_WITHOUT_A_LINE}"
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
    reader = csv.reader(io.StringIO(_text(path), newline=""), skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if any("\n" in cell or "\r" in cell for cell in cells):
                raise DatasetError(f"{path}, line {line}: a cell goes on in the next line; {_QUOTE}")
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}, line {line}: no comma-separated text: {error}; {_QUOTE}") from error


def _text(path: str | Path) -> str:
    """The content of a file in UTF-8, without its mark."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the file of image-level labels does not exist") from error
    except OSError as error:
        raise DatasetError(f"{path}: the file of image-level labels cannot be read: {error}") from error
    if content.startswith(_ARCHIVE):
        raise DatasetError(f"{path}: this is a workbook or another archive, no text; {_SAVE_AS}")
    # Plain ASCII in UTF-16 is valid UTF-8 too, with a zero byte at every letter.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise DatasetError(f"{path}: the text is not UTF-8 but UTF-16; {_SAVE_AS}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{path}, line {line}: the text is not UTF-8 but perhaps Latin-1 or Windows-1252; {_SAVE_AS}"
        ) from error


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
    return next((stem for stem in _stems(name) if stem in known), None)


def _stems(name: str) -> tuple[str, ...]:
    """What may be the stem in a cell: its text without folders, and that without an extension."""
    name = name.replace("\\", "/").rpartition("/")[2]
    path = PurePosixPath(name)
    # An extension is one word: "a.png;ship" is another kind of table, not an image without classes.
    return (name, path.stem) if re.fullmatch(r"\.\w+", path.suffix) else (name,)


def _refuse_unknown_images(
    path: str | Path, unknown: Sequence[tuple[int, str]], known: Collection[str]
) -> None:
    if not unknown:
        return
    folded: dict[str, list[str]] = {}
    for stem in sorted(known):
        folded.setdefault(_folded(stem), []).append(stem)
    near = [_near_stems(name, folded) for _, name in unknown]
    names = listed(
        f"{name!r} (line {line}{f', did you mean {stems}?' if stems else ''})"
        for (line, name), stems in zip(unknown, near, strict=True)
    )
    cures = [_EXACTLY] if any(near) else []
    if not all(near):
        cures.append(f"images of this split are {listed(sorted(known)[:3])}; remove lines of other images")
    if unknown[0][0] == 1 and not near[0]:
        cures.append(f"a line of titles is `{','.join(HEADER)}`")
    if re.search(r"[;\t|]|\.\w+ ", unknown[0][1]):
        cures = ["cells are separated by commas"]
    raise DatasetError(
        f"{path}: {len(unknown)} lines name images that are not there: {names}; {'; '.join(cures)}"
    )


def _near_stems(name: str, folded: Mapping[str, Sequence[str]]) -> str:
    """The stems that differ from what a cell says in case or in leading zeros alone."""
    return " or ".join(dict.fromkeys(s for stem in _stems(name) for s in folded.get(_folded(stem), ())))


def _folded(stem: str) -> str:
    return stem.casefold().lstrip("0")


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


def _unknown_class(image: str, name: str, class_names: Sequence[str]) -> str:
    """What is wrong with a cell that is no class, and what to do."""
    if not name:
        return f"unknown class {name!r}; a cell between two commas is empty"
    folded = {known.casefold(): known for known in class_names}
    if several := _several(name.casefold(), folded):
        return f"{name!r} is several classes; each class has a cell of its own: {_line(image, *several)}"
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    advice = (
        f"did you mean {', '.join(folded[n] for n in near)}?" if near else f"known: {listed(class_names)}"
    )
    return f"unknown class {name!r}; {advice}"


def _several(name: str, folded: Mapping[str, str]) -> list[str]:
    """The classes of which a cell is a list; none where a part of it is no class."""
    for separators in (r"[,;|/]", r"[,;|/\s]"):
        parts = [part.strip() for part in re.split(separators, name) if part.strip()]
        if len(parts) > 1 and all(part in folded for part in parts):
            return [folded[part] for part in parts]
    return []


def _line(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
