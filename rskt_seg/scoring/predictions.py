"""Files of predictions: finding those of a set, reading them with every check, and saving them."""

import glob
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.fingerprint import label_digest
from rskt_seg.data.labels import id_counts, pixel_counts, read_label, without_nodata
from rskt_seg.data.pairing import spelling_advice
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.metrics.confusion import UNCLASSIFIED
from rskt_seg.reading import read_json
from rskt_seg.scoring.tally import CountedImage
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text, replacing

EXTENSIONS = (".png", ".tif", ".tiff")
"""Endings of files of predictions, in any case."""
_LIST = ".predictions"
"""Hidden file in a folder of predictions: the names of those that an evaluation wrote, as JSON."""
_LOSSY = (".jpg", ".jpeg")
_GRAY = "save class ids as 8-bit gray"


def find_predictions(folder: Path, stems: Sequence[str], name: str) -> dict[str, Path]:
    """Find the prediction of each image of a set, by its stem as labels are found.

    Extensions match in any case, sub-folders are not searched, and hidden files are left out, as are files of
    other extensions.

    Args:
        folder: The folder of predictions.
        stems: Names of the images of the set without extension.
        name: Name of the set, for messages.

    Returns:
        Stem -> file, in the order of `stems`.

    Raises:
        DatasetError: The folder is missing, two files share a stem, or files are missing or belong to no
            image; the message names the first ten.
    """
    if not folder.is_dir():
        raise DatasetError(f"{name}: the folder of predictions {folder} does not exist")
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    files = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if twice := set(repeated(path.stem for path in files)):
        names = listed(path.name for path in files if path.stem in twice)
        raise DatasetError(
            f"{name}: {folder} has several predictions of one image: {names}; keep one of each"
        )
    found = {path.stem: path for path in files}
    faults = []
    if missing := [stem for stem in stems if stem not in found]:
        faults.append(
            f"{len(missing)} of {counted(len(stems), 'image')} without a prediction: {listed(missing)}"
        )
    if extra := sorted(found.keys() - set(stems)):
        names = listed(found[stem].name for stem in extra)
        faults.append(f"{counted(len(extra), 'file')} without an image of the set: {names}")
    if faults:
        below = f"the folder {folder / name} is meant" if (folder / name).is_dir() else ""
        advice = "; ".join(filter(None, [spelling_advice(missing, extra), _unread(folder, missing), below]))
        raise DatasetError(
            f"{name}: {folder}: {'; '.join(faults)}. A prediction has the name of its image and ends in "
            f"{', '.join(EXTENSIONS)}{f' ({advice})' if advice else ''}"
        )
    return {stem: found[stem] for stem in stems}


def _unread(folder: Path, missing: Sequence[str]) -> str:
    """Return why files with the names of images are not taken as their predictions; "" if there are none."""
    stems = set(missing)
    paths = sorted(path for path in folder.iterdir() if path.stem in stems and path.is_file())
    endings = sorted({path.suffix for path in paths})
    said = [
        f"{listed(path.name for path in paths if path.suffix == ending)}: {ending or 'no ending'} is "
        + ("lossy, which changes ids" if ending.lower() in _LOSSY else "not read")
        for ending in endings
    ]
    return f"{'; '.join(said)}; save the ids of the program anew as 8-bit gray PNG" if said else ""


def read_prediction(
    path: Path, size: tuple[int, int], class_names: Sequence[str], ignore_label: int
) -> NDArray[np.uint8]:
    """Read the prediction of an image.

    Args:
        path: A lossless file of class ids, as `read_label` reads it. Pixels that it declares to have no data
            are not classified.
        size: (height, width) of the image.
        class_names: K names, 1..255.
        ignore_label: Id of the labels that are not scored; predicted, it means "not classified" unless it is
            the id of a class.

    Returns:
        (H, W) uint8: 0..K-1, or 255 for pixels that are not classified, which are misses.

    Raises:
        LabelError: The file cannot be read, holds something else than ids, or has another size or other ids.
    """
    ids = without_nodata(read_label(path, _GRAY), path, UNCLASSIFIED)
    if ids.shape != size:
        raise LabelError(
            f"{path}: the prediction is {ids.shape[0]}x{ids.shape[1]} but its image is {size[0]}x{size[1]} "
            "(height x width); predictions are never resized: predict at the size of the image"
        )
    classes = len(class_names)
    if ignore_label >= classes:
        ids = np.where(ids == ignore_label, ids.dtype.type(UNCLASSIFIED), ids)
    if wrong := {k: n for k, n in id_counts(ids).items() if k >= classes and k != UNCLASSIFIED}:
        shifted = 0 not in id_counts(ids) and set(wrong) == {classes}
        hint = f"; the ids look shifted by one (1..{classes}, no 0): save id k for class k" if shifted else ""
        raise LabelError(
            f"{path}: found ids {pixel_counts(wrong)}; expected 0..{classes - 1} "
            f"({counted(classes, 'class', 'classes')}: {', '.join(class_names)}) or {UNCLASSIFIED} "
            f"(not classified){hint}"
        )
    return ids.astype(np.uint8)


def save_prediction(folder: Path, stem: str, ids: NDArray[np.uint8]) -> None:
    """Write a prediction as an 8-bit gray PNG file, whole or not at all.

    Args:
        folder: The folder of the predictions of a set; it is made if it is missing.
        stem: Name of the image without extension.
        ids: (H, W) class ids, 255 where there is none.

    Raises:
        DiskFullError: There is no room for it.
    """
    with replacing(folder / f"{stem}.png") as partial:
        Image.fromarray(ids).save(partial, format="PNG")


def unfinished_predictions(folder: Path, rank: int) -> Path:
    """Return the hidden folder beside `folder` that a process writes its predictions to, until all are there.

    Args:
        folder: The folder of the predictions of a set.
        rank: Number of the process.
    """
    return folder.with_name(f".{folder.name}.rank{rank}.part")


def refuse_foreign_files(folder: Path) -> None:
    """Refuse to evaluate where PNG files lie that no evaluation wrote, because predictions are replaced.

    Args:
        folder: The folder of the predictions of a set, which need not exist.

    Raises:
        DatasetError: There are such files; the message names the first ten.
    """
    foreign = sorted({path.name for path in folder.glob("*.png")} - set(_written(folder)))
    if foreign:
        many = counted(len(foreign), "PNG file")
        raise DatasetError(
            f"{folder} holds {many} that no evaluation wrote: {listed(foreign)}. "
            "The predictions in that folder are replaced: move these, or give another OUTPUT_DIR"
        )


def _written(folder: Path) -> list[str]:
    """Return the names of the predictions that `replace_predictions` put into a folder."""
    found = read_json(folder / _LIST)
    return list(map(str, found)) if isinstance(found, list) else []


def replace_predictions(folder: Path, processes: int) -> bool:
    """Put the predictions of all processes in the place of those of an earlier evaluation, which are removed.

    Other files in the folder stay there. Whoever calls this is the only one who writes there.

    Args:
        folder: The folder of the predictions of a set.
        processes: Number of processes; each wrote to `unfinished_predictions`.

    Returns:
        Whether there were earlier predictions.
    """
    first, *others = (unfinished_predictions(folder, rank) for rank in range(processes))
    first.mkdir(parents=True, exist_ok=True)
    for part in others:
        for file in part.glob("*") if part.is_dir() else ():
            file.replace(first / file.name)
    replace_text(first / _LIST, json.dumps(sorted(path.name for path in first.iterdir()), indent=0) + "\n")
    earlier = set(_written(folder))
    former = folder.with_name(f".{folder.name}.former")
    _move_others(former, folder)  # what a process left that was killed in the lines below
    if folder.is_dir():
        folder.replace(former)
    first.replace(folder)
    _move_others(former, folder)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.rank*.part"):  # perhaps of a killed process
        shutil.rmtree(left, ignore_errors=True)
    return bool(earlier)


def _move_others(former: Path, folder: Path) -> None:
    """Move the files of `former` that are no predictions of an evaluation to `folder`, and remove it."""
    if not former.is_dir():
        return
    folder.mkdir(exist_ok=True)
    for file in former.iterdir():
        if file.name not in {*_written(former), _LIST}:
            file.replace(folder / file.name)
    shutil.rmtree(former)


def changed_prediction(folder: Path, images: Sequence[CountedImage]) -> str:
    """Return the first image whose saved prediction is not the one that was counted; "" if all are.

    Args:
        folder: What `save_prediction` wrote to.
        images: What was counted.

    Returns:
        The name of the file that is missing, damaged or another.
    """
    for image in images:
        path = folder / f"{image.digests.stem}.png"
        try:
            if label_digest(read_label(path)) != image.prediction:
                return path.name
        except LabelError:
            return path.name
    return ""


def check_stems(name: str, files: Sequence[str]) -> None:
    """Refuse to save predictions of images that share a stem, of which one would replace the other.

    Args:
        name: Name of the set.
        files: Paths of its images.

    Raises:
        DatasetError: Two images share a stem.
    """
    if twice := repeated(Path(file).stem for file in files):
        raise DatasetError(
            f"{name}: predictions cannot be saved, because several images share a stem: {listed(twice)}; "
            "give the files different names, or leave out TEST.SAVE_PREDICTIONS"
        )


def prediction_folders(root: Path, names: Sequence[str]) -> Mapping[str, Path]:
    """Return the folder of each set below `root`: `root` itself for a single set, else `root/<set>`."""
    return {names[0]: root} if len(names) == 1 else {name: root / name for name in names}
