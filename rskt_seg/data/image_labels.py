"""Image-level labels: which classes an image shows, counted in its mask or read from a CSV or JSON file.

The file has one line per image: its name (with or without folder and extension), then the names of its
classes. A line with a name alone means that the image shows none of the classes. A `.json` maps names of
images to lists of classes.
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
from rskt_seg.data.labels import id_counts, read_label
from rskt_seg.data.pairing import Pair, spelling_advice
from rskt_seg.data.samples import read_8bit_image, valid_target
from rskt_seg.errors import DatasetError, UnreadableError
from rskt_seg.reading import brief, file_name, parse_json, text_of_name
from rskt_seg.writing import replace_text

HEADER = ("image", "classes")
"""The first line of a written file; it is optional in a file that is read."""

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

_Row = tuple[int, str, list[str]]  # line number, stem of the image, cells

ImageLabels = dict[str, tuple[int, ...]]
"""Stem of an image -> ids of its classes, in ascending order."""


def present_classes(
    ids: np.ndarray, num_classes: int, ignore_label: int, min_pixels: int = 1
) -> tuple[int, ...]:
    """Return the classes that a label shows.

    Args:
        ids: (H, W) uint8 or uint16.
        num_classes: K.
        ignore_label: The id of pixels that are neither trained nor scored.
        min_pixels: How many pixels a class needs to be present.

    Returns:
        Ids of 0..K-1 without `ignore_label`, in ascending order.

    Raises:
        DatasetError: `min_pixels` is below 1.
    """
    if min_pixels < 1:
        raise DatasetError(f"a class is present with 1 pixel or more; found a threshold of {min_pixels}")
    counts = id_counts(ids)
    present = [k for k, count in counts.items() if k < num_classes and count >= min_pixels]
    return tuple(k for k in present if k != ignore_label)


def classes_of_pair(
    pair: Pair, class_names: Sequence[str], ignore_label: int, min_pixels: int = 1
) -> tuple[int, ...]:
    """Return the classes that a label file shows where it and its image have data, as `present_classes`.

    Args:
        pair: The image and the label file.
        class_names: K names in the order of ids.
        ignore_label: The id of pixels that are neither trained nor scored.
        min_pixels: How many pixels a class needs to be present.

    Returns:
        Ids of 0..K-1 without `ignore_label`, in ascending order.

    Raises:
        LabelError: As `read_label` and `valid_target`.
        ImageReadError: As `read_8bit_image`.
        DatasetError: `min_pixels` is below 1.
    """
    valid = read_8bit_image(pair.image).valid
    ids = valid_target(read_label(pair.label), pair.label, valid, class_names, ignore_label)
    return present_classes(ids, len(class_names), ignore_label, min_pixels)


def split_image_labels(split: Split, root: str | Path) -> ImageLabels:
    """Read the image-level labels of a split from its file under `root`.

    If the split has a list of stems, lines of other images of the same folder are skipped.

    Args:
        split: A split with `image_labels`.
        root: The root of all datasets.

    Returns:
        The labels of the images of the split.

    Raises:
        DatasetError: As `read_image_labels` and `find_files`.
    """
    folder = find_files(replace(split, stems=(), labels=""), root).images
    file = Path(root) / split.image_labels
    return read_image_labels(file, split.class_set.names, split.stems or tuple(folder), folder)


def read_image_labels(
    path: str | Path, class_names: Sequence[str], images: Sequence[str], others: Collection[str] = ()
) -> ImageLabels:
    """Read the image-level labels of images from a file.

    Args:
        path: The CSV file, or a `.json`, whose entries are counted as lines.
        class_names: K names in the order of ids.
        images: Stems of the images, each of which needs a line.
        others: Stems of further images, whose lines are checked and left out.

    Returns:
        The labels of `images`, in their order.

    Raises:
        DatasetError: The file cannot be read; a line names an image that is neither in `images` nor in
            `others`, or a class that is not in `class_names`; an image has two lines or none; a line repeats
            a class. The message names the file and the lines.
    """
    known, ids = {*images, *others}, {name: k for k, name in enumerate(class_names)}
    rows: list[_Row] = []
    unknown: list[tuple[int, str]] = []
    is_json = Path(path).suffix.casefold() == ".json"
    lines = _read_entries(path) if is_json else _without_header(_read_cells(path), known)
    for line, cells in lines:
        # A stem may have a dot itself, so the name as it is comes before the name without an extension.
        stem = next((stem for stem in _candidate_stems(file_name(cells[0])) if stem in known), None)
        if stem is None:
            unknown.append((line, cells[0]))
        else:
            rows.append((line, stem, cells))
    if unknown:
        raise DatasetError(f"{path}: {_describe_unknown_images(unknown, known)}")
    _refuse_repeated(path, rows)
    found: ImageLabels = {}
    for line, stem, cells in rows:
        for name in cells[1:]:
            if name not in ids:
                raise DatasetError(
                    f"{path}, line {line}: {_describe_unknown_class(cells[0], name, class_names)}"
                )
        found[stem] = tuple(sorted(ids[name] for name in cells[1:]))
    if missing := [stem for stem in images if stem not in found]:
        raise DatasetError(
            f"{path}: {len(missing)} images have no line: {listed(missing)}; {_WITHOUT_A_LINE}"
        )
    return {stem: found[stem] for stem in images}


def write_image_labels(
    path: str | Path, labels: Mapping[str, Iterable[int]], class_names: Sequence[str]
) -> None:
    """Write a file that `read_image_labels` reads: one line per image, in the order of stems.

    Args:
        path: The CSV file to write or to replace.
        labels: Stem of an image -> ids of its classes.
        class_names: K names in the order of ids.

    Raises:
        DatasetError: The name of an image is not UTF-8.
    """
    try:
        names = {stem: text_of_name(stem) for stem in sorted(labels)}
    except UnreadableError as error:
        raise DatasetError(f"{path} cannot be written: {error}") from error
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([name, *(class_names[k] for k in labels[stem])] for stem, name in names.items())
    replace_text(path, text.getvalue())


def _read_cells(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of every line that is not empty, without empty cells at its end."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), skipinitialspace=True, strict=True)
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
        raise DatasetError(f"{path}, line {line}: not comma-separated text: {error}; {_QUOTE}") from error


def _read_entries(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number, and name and classes, of every entry of a JSON file."""
    try:
        tree = parse_json(_read_text(path))
    except UnreadableError as error:
        raise DatasetError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(tree, dict):
        raise DatasetError(f"{path}: expected names of images with lists of classes; found {brief(tree)}")
    for number, (name, classes) in enumerate(tree.items(), start=1):
        cells = [classes] if isinstance(classes, str) else classes
        if not isinstance(cells, list) or not all(isinstance(each, str) for each in cells):
            raise DatasetError(f"{path}: expected a list of classes for {name!r}; found {brief(classes)}")
        yield number, [name, *cells]


def _read_text(path: str | Path) -> str:
    """Return the content of a UTF-8 file, without a byte order mark."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: the file of image-level labels does not exist") from error
    except OSError as error:
        raise DatasetError(f"{path}: the file of image-level labels cannot be read: {error}") from error
    if content.startswith(_ARCHIVE):
        raise DatasetError(f"{path}: this is a workbook or another archive, not text; {_SAVE_AS}")
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


def _candidate_stems(name: str) -> tuple[str, ...]:
    """Return what may be the stem in a cell: its text without folders, and that without an extension."""
    name = name.replace("\\", "/").rpartition("/")[2]
    path = PurePosixPath(name)
    # An extension is one word: "a.png;ship" is another kind of table, not an image without classes.
    return (name, path.stem) if re.fullmatch(r"\.\w+", path.suffix) else (name,)


def _describe_unknown_images(unknown: Sequence[tuple[int, str]], known: Collection[str]) -> str:
    """Return which lines (number, name) name no known image, near matches, and what to do."""
    folded: dict[str, list[str]] = {}
    for stem in sorted(known):
        folded.setdefault(_fold(stem), []).append(stem)
    # For each name the stems that differ from it in case or leading zeros alone.
    near = [
        " or ".join(dict.fromkeys(s for stem in _candidate_stems(name) for s in folded.get(_fold(stem), ())))
        for _, name in unknown
    ]
    names = listed(
        f"{name!r} (line {line}{f', did you mean {stems}?' if stems else ''})"
        for (line, name), stems in zip(unknown, near, strict=True)
    )
    cures = [_EXACTLY] if any(near) else []
    if not any(near) and (advice := spelling_advice([Path(name).stem for _, name in unknown], known)):
        return f"{len(unknown)} lines name images that are not there: {names}; {advice}"
    if not all(near):
        cures.append(f"images of this split are {listed(sorted(known)[:3])}; remove lines of other images")
    if unknown[0][0] == 1 and not near[0]:
        cures.append(f"a line of titles is `{','.join(HEADER)}`")
    if re.search(r"[;\t|]|\.\w+ ", unknown[0][1]):
        cures = ["cells are separated by commas"]
    return f"{len(unknown)} lines name images that are not there: {names}; {'; '.join(cures)}"


def _fold(stem: str) -> str:
    return stem.casefold().lstrip("0")


def _refuse_repeated(path: str | Path, rows: Sequence[_Row]) -> None:
    if twice := repeated(stem for _, stem, _ in rows):
        lines = [
            f"{stem} (lines {', '.join(str(n) for n, s, _ in rows if s == stem)})" for stem in twice[:10]
        ]
        more = f" and {len(twice) - 10} more" if len(twice) > 10 else ""
        raise DatasetError(
            f"{path}: images with several lines: {', '.join(lines)}{more}; keep one line per image"
        )
    for line, _, cells in rows:
        if twice := repeated(cells[1:]):
            raise DatasetError(f"{path}, line {line}: repeated class {listed(map(repr, twice))}")


def _describe_unknown_class(image: str, name: str, class_names: Sequence[str]) -> str:
    """Return what is wrong with a cell that is not a class, and what to do."""
    if not name:
        return f"unknown class {name!r}; a cell between two commas is empty"
    folded = {known.casefold(): known for known in class_names}
    if several := _split_classes(name.casefold(), folded):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([image, *several])
        return f"{name!r} is several classes; each class has a cell of its own: {line.getvalue()}"
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    advice = (
        f"did you mean {', '.join(folded[n] for n in near)}?" if near else f"known: {listed(class_names)}"
    )
    return f"unknown class {name!r}; {advice}"


def _split_classes(name: str, folded: Mapping[str, str]) -> list[str]:
    """Return the classes that a cell lists with other separators; none if a part of it is not a class."""
    for separators in (r"[,;|/]", r"[,;|/\s]"):
        parts = [part.strip() for part in re.split(separators, name) if part.strip()]
        if len(parts) > 1 and all(part in folded for part in parts):
            return [folded[part] for part in parts]
    return []
