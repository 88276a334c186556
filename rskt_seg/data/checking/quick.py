"""The quick check at the start of a run: headers of all files, a few images and labels."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from rskt_seg.data.checking.facts import (
    one_word_on_palettes,
    palette_faults,
    reading_faults,
    used_colors,
)
from rskt_seg.data.checking.findings import ERROR, Fault, Finding, Kind, collect
from rskt_seg.data.checking.label_statistics import stray_faults, suspicion
from rskt_seg.data.checking.probe import header_faults, image_faults, label_fault
from rskt_seg.data.class_sets import RGB
from rskt_seg.data.labels import id_counts, read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import LabelError

Item = TypeVar("Item")

SAMPLE = 32
"""How many images and labels are read, labels at least, evenly spread over the set."""
_ENOUGH_ERRORS = 20
_PROGRESS_DELAY = 2.0


def quick_check(
    name: str,
    pairs: Sequence[Pair],
    class_names: Sequence[str],
    ignore: int,
    workers: int | None = None,
    colors: Mapping[int, RGB] = MappingProxyType({}),
) -> list[Finding]:
    """Check the headers of all files, and read `SAMPLE` images and labels.

    What the reader decided about those images, such as the order of the bands or pixels without data, is
    found too.

    If those ids look like a mistake that only a whole set shows (0/255 masks, all ignored), further labels
    are read until one proves otherwise. The check ends early after enough errors to stop a run.

    Args:
        name: The name of the dataset, for the progress bar.
        pairs: The images and labels.
        class_names: The K class names; ids are 0..K-1.
        ignore: The id that is neither trained nor scored.
        workers: Number of files read at a time; None for one a core, at most eight.
        colors: Class id -> colour that the dataset states for the palettes of its labels; none by default.

    Returns:
        The findings, errors first.
    """
    faults = _check_headers(header_faults, pairs, name, workers)
    if _count_errors(faults) >= _ENOUGH_ERRORS:
        return collect(faults)
    broken = {fault.path for fault in faults if fault.kind.level == ERROR}
    whole = [pair for pair in pairs if not broken & {str(pair.label), str(pair.image)}]
    faults += _check_reading(name, [pair.image for pair in whole], workers)
    labels = [pair.label for pair in whole]
    faults += _check_ids(name, labels, class_names, ignore, workers, colors)
    return collect(one_word_on_palettes(faults))


def quick_image_check(name: str, images: Sequence[Path], workers: int | None = None) -> list[Finding]:
    """Check images without masks; files, findings and early end as in `quick_check`.

    Args:
        name: The name of the dataset, for the progress bar.
        images: The images.
        workers: Number of files read at a time; None for one a core, at most eight.

    Returns:
        The findings, errors first.
    """
    faults = _check_headers(image_faults, images, name, workers)
    broken = {fault.path for fault in faults if fault.kind.level == ERROR}
    whole = [path for path in images if str(path) not in broken]
    return collect([*faults, *_check_reading(name, whole, workers)])


def _check_headers(
    find_faults: Callable[[Item], list[Fault]], items: Sequence[Item], name: str, workers: int | None
) -> list[Fault]:
    faults: list[Fault] = []
    with closing(map_files(find_faults, items, name, workers, delay=_PROGRESS_DELAY)) as headers:
        for found in headers:
            faults += found
            if _count_errors(faults) >= _ENOUGH_ERRORS:
                break
    return faults


def _check_reading(name: str, images: Sequence[Path], workers: int | None) -> list[Fault]:
    """Read a sample of the images as training does."""
    sample = [images[k] for k in spread(len(images))]
    with closing(map_files(_reading_faults, sample, name, workers, delay=_PROGRESS_DELAY)) as found:
        return [fault for faults in found for fault in faults]


def _reading_faults(path: Path) -> list[Fault]:
    return list(reading_faults(path))


def spread(count: int) -> np.ndarray:
    """Return which of `count` files are read: at most `SAMPLE` ascending indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(int))


def _check_ids(
    name: str,
    labels: Sequence[Path],
    class_names: Sequence[str],
    ignore: int,
    workers: int | None,
    colors: Mapping[int, RGB],
) -> list[Fault]:
    sampled = spread(len(labels))
    rest = np.setdiff1d(np.arange(len(labels)), sampled)
    totals: Counter[int] = Counter()
    counted: list[tuple[Path, dict[int, int]]] = []
    faults: list[Fault] = []
    doubt: Kind | None = None
    # The sample is read in full; the rest only until a label removes the doubt.
    for batch in ([labels[k] for k in sampled], [labels[k] for k in rest]):
        with closing(map_files(_count_ids, batch, name, workers, delay=_PROGRESS_DELAY)) as results:
            for path, result in zip(batch, results, strict=True):
                if isinstance(result, Fault):
                    faults.append(result)
                    continue
                counted.append((path, result))
                totals.update(result)
                doubt = suspicion(totals, len(class_names), ignore)
                if len(counted) > len(sampled) and doubt is None:
                    break
        faults += stray_faults(counted, class_names, ignore)
        faults += palette_faults([(path, used_colors(path, counts)) for path, counts in counted], colors)
        if faults or doubt is None:
            break
    return faults + ([Fault(doubt, "")] if doubt else [])


def _count_ids(path: Path) -> dict[int, int] | Fault:
    """Return the pixels of each id of a label, or the fault of its file."""
    try:
        return id_counts(read_label(path))
    except LabelError as error:
        return label_fault(path, error)


def _count_errors(faults: Sequence[Fault]) -> int:
    return sum(fault.kind.level == ERROR for fault in faults)
