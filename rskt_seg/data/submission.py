"""Submissions to the LoveDA test server: a zip file of predictions, made image by image.

The server scores the 1796 unlabelled test images (ids 4191 to 5986). It expects single-channel 8-bit PNGs of
1024 x 1024 px with class ids 0..6 (background to agriculture), named after the images, in a zip file without
folders. A colour picture of the classes cannot be scored.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from rskt_seg.data.class_sets import LOVEDA, listed
from rskt_seg.errors import (
    ConfigError,
    DatasetError,
    DatasetNotFoundError,
    ImageReadError,
    LabelError,
    RSKTSegError,
)
from rskt_seg.writing import replacing

TEST_IDS = range(4191, 5987)
"""The ids of the test images."""
SIDE = 1024
"""Side of every test image, in pixels."""
_ABOUT = "about.json"
_SUBFOLDERS = ("Urban/images_png", "Rural/images_png", "images_png")


def find_test_images(folder: str | Path, allow_missing: bool = False) -> dict[int, Path]:
    """Find the test images in an official `LoveDA/Test` or a folder of its PNGs.

    Args:
        folder: Where to look.
        allow_missing: Whether some test images may be absent.

    Returns:
        Image id -> file, in the order of ids.

    Raises:
        DatasetNotFoundError: There is no such folder, or no PNG in it.
        DatasetError: A name is not the id of a test image, an id occurs twice, or, unless `allow_missing`, an
            id has no image.
    """
    folder = Path(folder)
    folders = [folder, *(folder / name for name in _SUBFOLDERS)]
    files = [
        path
        for each in folders
        if each.is_dir()
        for path in each.iterdir()
        if path.suffix.lower() == ".png" and not path.name.startswith(".")
    ]
    if not files:
        raise DatasetNotFoundError(
            f"no PNG in {folder} or its {', '.join(_SUBFOLDERS)}; expected the unpacked LoveDA/Test or a "
            "folder of its images"
        )
    # No leading zeros, so that no two names stand for one image.
    numbers = {str(number) for number in TEST_IDS}
    if wrong := [path.name for path in files if path.stem not in numbers]:
        raise DatasetError(
            f"{folder}: test images are named {TEST_IDS[0]}.png to {TEST_IDS[-1]}.png; found "
            f"{listed(sorted(wrong))}"
        )
    images = {int(path.stem): path for path in sorted(files)}
    if len(images) < len(files):
        twice = {int(path.stem) for path in files if images[int(path.stem)] != path}
        raise DatasetError(f"{folder}: several images have one id: {listed(sorted(twice))}")
    missing = [number for number in TEST_IDS if number not in images]
    if missing and not allow_missing:
        raise DatasetError(
            f"{folder}: {len(missing)} of {len(TEST_IDS)} test images are missing: {listed(missing)}; the "
            "server takes all or none (--part makes a file of those that are there, for inspection)"
        )
    return dict(sorted(images.items()))


def check_classes(names: Sequence[str]) -> None:
    """Raise `ConfigError` unless `names` are the seven classes of LoveDA.

    Args:
        names: The class names of a model, in the order of ids.

    Raises:
        ConfigError: Other names, or another order.
    """
    if tuple(names) != LOVEDA.names:
        raise ConfigError(
            f"a LoveDA submission needs a model of the classes {', '.join(LOVEDA.names)}, in this order; "
            f"this one has {', '.join(names)}"
        )


def write_submission(
    images: Mapping[int, Path],
    predict: Callable[[Path], np.ndarray],
    output: str | Path,
    about: Mapping[str, object],
    work: str | Path | None = None,
) -> Path:
    """Predict the images that have no prediction yet, then write the zip file, whole or not at all.

    Args:
        images: As `find_test_images` returns them.
        predict: Image file -> class ids (1024, 1024), integers 0..6.
        output: A file that does not exist yet, ending in `.zip`.
        about: What the predictions depend on (weights, settings), as plain values for JSON; an interrupted
            work folder is resumed only if it was made with the same values.
        work: Folder of the finished PNGs, which is kept; None: beside `output`, `<stem>_parts`.

    Returns:
        The work folder.

    Raises:
        ConfigError: `output` exists or does not end in `.zip`, the work folder has other predictions, or a
            file cannot be written.
        ImageReadError: An image has another size.
        LabelError: The server cannot score a prediction.
    """
    output = Path(output)
    check_output(output)
    work = output.with_name(f"{output.stem}_parts") if work is None else Path(work)
    try:
        _open_work_folder(work, about)
        _predict(images, predict, work)
        _write_zip([work / f"{number}.png" for number in images], output)
    except RSKTSegError:  # some of these are OSErrors too
        raise
    except OSError as error:
        raise ConfigError(
            f"{error.filename or output} cannot be written: {error.strerror or error}"
        ) from error
    return work


def _predict(
    images: Mapping[int, Path],
    predict: Callable[[Path], np.ndarray],
    work: Path,
) -> None:
    # A file with the name of an image is complete.
    todo = [number for number in images if not (work / f"{number}.png").is_file()]
    done = len(images) - len(todo)
    for number in tqdm(todo, "predicting", len(images), initial=done, unit=" images"):
        _check_image(images[number])
        labels = np.asarray(predict(images[number]))
        _check_prediction(labels, images[number])
        with replacing(work / f"{number}.png") as partial:
            Image.fromarray(labels.astype(np.uint8)).save(partial, format="PNG")


def check_output(output: str | Path) -> None:
    """Raise `ConfigError` unless a submission can be written to `output`.

    Args:
        output: The zip file.

    Raises:
        ConfigError: It does not end in `.zip`, exists, or cannot be written.
    """
    if Path(output).suffix != ".zip":
        raise ConfigError(f"the output must end in .zip; found {output}")
    if os.path.lexists(output):
        raise ConfigError(f"{output} exists and is not overwritten; remove it or choose another name")
    folder = next(path for path in Path(output).absolute().parents if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{output} cannot be written: {folder} is not a folder with write permission")


def _open_work_folder(work: Path, about: Mapping[str, object]) -> None:
    """Create the work folder, or check that it belongs to the same predictions."""
    note, text = work / _ABOUT, json.dumps(about, sort_keys=True, indent=1)
    if work.is_dir() and any(work.iterdir()):
        if not note.is_file() or note.read_text() != text:
            raise ConfigError(
                f"{work} holds predictions of other weights or settings, or something else; remove it or "
                "choose another work folder"
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    note.write_text(text)


def _check_image(path: Path) -> None:
    try:
        with Image.open(path) as image:
            size = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ImageReadError(f"{path} cannot be read as an image: {error}") from error
    if size != (SIDE, SIDE):
        raise ImageReadError(f"{path}: test images have {SIDE} x {SIDE} px; found {size[0]} x {size[1]}")


def _check_prediction(labels: np.ndarray, path: Path) -> None:
    if labels.shape != (SIDE, SIDE) or labels.dtype.kind not in "ui":
        raise LabelError(
            f"{path}: expected class ids ({SIDE}, {SIDE}) from the model, found {labels.shape} {labels.dtype}"
        )
    wrong = np.unique(labels[(labels < 0) | (labels >= len(LOVEDA))])
    if len(wrong):
        raise LabelError(
            f"{path}: the server takes ids 0..{len(LOVEDA) - 1}; predicted {listed(wrong.tolist())}"
            + (" (255 is where an image has no data)" if 255 in wrong else "")
        )


def _write_zip(files: Sequence[Path], output: Path) -> None:
    with replacing(output) as partial:
        with zipfile.ZipFile(partial, "w") as archive:
            for path in tqdm(files, "packing", unit=" images", leave=False):
                # Without the dates of the files: the same predictions make the same bytes.
                archive.writestr(zipfile.ZipInfo(path.name), _read_prediction(path))
        check_output(output)  # prediction takes long, and the file may exist by now


def _read_prediction(path: Path) -> bytes:
    """Return the bytes of a finished PNG; raise `LabelError` if the server does not accept it."""
    try:
        with Image.open(path) as image:
            plain = image.mode == "L" and image.size == (SIDE, SIDE)
            accepted = plain and np.asarray(image).max() < len(LOVEDA)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        accepted = False
    if not accepted:
        raise LabelError(
            f"{path} is not a single-channel PNG of {SIDE} x {SIDE} ids; remove it to predict it anew"
        )
    return path.read_bytes()
