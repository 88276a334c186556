"""The full check of images without masks, and of files of image-level labels."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rskt_seg.data.catalog import Split
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind, Report, collect
from rskt_seg.data.checking.probe import inspect_image
from rskt_seg.data.fingerprint import Digests, combine
from rskt_seg.data.image_labels import ImageLabels, split_image_labels
from rskt_seg.data.pairing import Files
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError

PASSED_OVER = Kind(NOTE, "other files lie in the folders", "they are passed over")
_REPEATED = Kind(
    NOTE, "images that are copies of another one", "each copy counts; remove them if that is not intended"
)
_NONE = Kind(ERROR, "no image shows any class", "a line is an image and its classes: a1.jpg,road,tree")


def check_images(
    split: Split,
    root: str | Path,
    report: Report,
    files: Files,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Check a split that has image-level labels but no masks.

    Args:
        split: The split.
        root: The root of all datasets.
        report: The report without findings, which is completed.
        files: The images of the split.
        workers: Number of images read at a time; None for one a core, at most eight.
        progress: Whether a progress bar is shown.

    Returns:
        The completed report.
    """
    images = list(map_files(inspect_image, list(files.images.values()), split.name, workers, progress))
    labels, faults = check_image_labels(split, root)
    faults += [fault for image in images for fault in image.faults]
    faults += duplicate_notes((i.path, i.digest, labels.get(i.path.stem)) for i in images)
    faults += [Fault(PASSED_OVER, *folder.rsplit(": ", 1)) for folder in files.skipped]
    shown = Counter(k for ids in labels.values() for k in ids)
    if labels:
        faults += _class_faults(shown, split.class_set.names)
    digests = [
        _digests(image.path, image.digest, labels)
        for image in images
        if image.header is not None and image.digest is not None and labels
    ]
    return replace(
        report,
        findings=tuple(collect(faults)),
        count=len(images),
        files_per_class=tuple(shown[k] for k in range(len(split.class_set))) if labels else (),
        fingerprint=combine(digests) if labels and len(digests) == len(images) else None,
        digests={str(i.path): i.digest for i in images if i.digest is not None},
    )


def check_image_labels(split: Split, root: str | Path) -> tuple[ImageLabels, list[Fault]]:
    """Return the image-level labels of a split, or no labels and the fault of their file.

    Args:
        split: A split with a file of image-level labels.
        root: The root of all datasets.

    Returns:
        The labels and no fault; or no labels and one fault.
    """
    try:
        return split_image_labels(split, root), []
    except DatasetError as error:
        what, _, cure = str(error).rpartition("; ")
        kind = Kind(ERROR, what or cure, cure if what else "correct the file (datasets/README.md)")
        return {}, [Fault(kind, "")]


def duplicate_notes(images: Iterable[tuple[Path, bytes | None, object]]) -> Iterator[Fault]:
    """Yield a note for each image with the same content as an earlier one.

    Args:
        images: (path, digest of the content, any value that is equal for equal labels) of each image; None
            for a file that could not be read.

    Yields:
        The notes, in the order of the images.
    """
    first: dict[bytes, tuple[Path, object]] = {}
    for path, content, label in images:
        if content is None:
            continue
        other, others_label = first.setdefault(content, (path, label))
        if other is not path:
            differ = label is not None and others_label is not None and label != others_label
            yield Fault(_REPEATED, str(path), f"= {other.name}{', with another label' if differ else ''}")


def _class_faults(shown: Counter[int], class_names: Sequence[str]) -> Iterator[Fault]:
    if not shown:
        yield Fault(_NONE, "")
    elif absent := [name for k, name in enumerate(class_names) if not shown[k]]:
        what = f"classes that no image shows: {', '.join(absent)}"
        yield Fault(
            Kind(
                NOTE,
                what,
                "nothing to do for a background class; other classes cannot be learnt without images",
            ),
            "",
        )


def _digests(path: Path, content: bytes, labels: ImageLabels) -> Digests:
    """Return the digests of an image and of its classes, which take the place of a mask."""
    shown = ",".join(map(str, labels[path.stem]))
    return Digests(path.stem, content, hashlib.sha256(f"classes {shown}".encode()).digest())
