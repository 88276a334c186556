"""The full check of what is no mask: images by themselves, and files of image-level labels."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rskt_seg.data.catalog import Files, Split
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind, Report, collect
from rskt_seg.data.checking.probe import read_image
from rskt_seg.data.fingerprint import Digests, combine
from rskt_seg.data.image_labels import ImageLabels, split_image_labels
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError

PASSED_OVER = Kind(NOTE, "other files lie in the folders", "they are passed over")
_REPEATED = Kind(
    NOTE, "images that are copies of another one", "each counts anew; remove them if that is not meant"
)
_NONE = Kind(ERROR, "no image shows any class", "a line is an image and its classes: a1.jpg,road,tree")


def check_images(
    split: Split,
    root: str | Path,
    about: tuple[str, tuple[str, str], tuple[str, ...], int],
    files: Files,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """The report on a split that has image-level labels alone. `about`: the first fields of the report."""
    images = list(map_files(read_image, list(files.images.values()), split.name, workers, progress))
    labels, faults = file_labels(split, root)
    faults += [fault for image in images for fault in image.faults]
    faults += copies((i.path, i.digest, labels.get(i.path.stem)) for i in images)
    faults += [Fault(PASSED_OVER, *folder.rsplit(": ", 1)) for folder in files.skipped]
    shown = Counter(k for ids in labels.values() for k in ids)
    if labels:
        faults += _class_faults(shown, split.class_set.names)
    whole = labels and all(image.header for image in images)
    return Report(
        *about,
        findings=tuple(collect(faults)),
        count=len(images),
        files_per_class=tuple(shown[k] for k in range(len(split.class_set))) if labels else (),
        fingerprint=combine(_digests(i.path, i.digest, labels) for i in images) if whole else None,
        digests={str(i.path): i.digest for i in images if i.digest is not None},
    )


def file_labels(split: Split, root: str | Path) -> tuple[ImageLabels, list[Fault]]:
    """The image-level labels of a split, or the fault of its file."""
    try:
        return split_image_labels(split, root), []
    except DatasetError as error:
        what, _, cure = str(error).rpartition("; ")
        kind = Kind(ERROR, what or cure, cure if what else "correct the file (datasets/README.md)")
        return {}, [Fault(kind, "")]


def copies(images: Iterable[tuple[Path, bytes | None, object]]) -> Iterator[Fault]:
    """A note for every image (path, digest of its content, anything that stands for its labels) whose
    content another one before has; None stands for a file that could not be read."""
    first: dict[bytes, tuple[Path, object]] = {}
    for path, content, label in images:
        if content is None:
            continue
        other, others_label = first.setdefault(content, (path, label))
        if other is not path:
            differ = label is not None and others_label is not None and label != others_label
            yield Fault(_REPEATED, str(path), f"= {other.name}{', with another label' if differ else ''}")


def _class_faults(shown: Counter, class_names: Sequence[str]) -> Iterator[Fault]:
    if not shown:
        yield Fault(_NONE, "")
    elif absent := [name for k, name in enumerate(class_names) if not shown[k]]:
        what = f"classes that no image shows: {', '.join(absent)}"
        yield Fault(Kind(NOTE, what, "nothing to do for a background; nothing is learnt of others"), "")


def _digests(path: Path, content: bytes, labels: ImageLabels) -> Digests:
    shown = ",".join(map(str, labels[path.stem]))
    return Digests(path.stem, content, hashlib.sha256(f"classes {shown}".encode()).digest())
