"""The cheap part of the check, for the start of a run: headers of all files, ids of a few labels."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.data.catalog import Pair
from rskt_seg.data.checking.findings import ERROR, Fault, Finding, collect
from rskt_seg.data.checking.label_statistics import stray_faults, suspicion
from rskt_seg.data.checking.probe import header_faults, image_faults, refused
from rskt_seg.data.labels import id_counts, read_label
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import LabelError

SAMPLE = 32
"""How many labels are read at least, evenly spread over the set."""
_ENOUGH = 20
_DELAY = 2.0


def quick_check(
    name: str, pairs: Sequence[Pair], class_names: Sequence[str], ignore: int, workers: int | None = None
) -> list[Finding]:
    """What the headers of all files and the ids of `SAMPLE` labels show, errors first.

    Where those ids look like a mistake that only a whole set shows (0/255 masks, all ignored), further
    labels are read until one proves otherwise. It ends early once there are errors enough to stop for.
    """
    faults = _header_faults(header_faults, pairs, name, workers)
    if _errors(faults) >= _ENOUGH:
        return collect(faults)
    broken = {fault.path for fault in faults if fault.kind.level == ERROR}
    labels = [pair.label for pair in pairs if not broken & {str(pair.label), str(pair.image)}]
    return collect([*faults, *_id_faults(name, labels, class_names, ignore, workers)])


def quick_image_check(name: str, images: Sequence[Path], workers: int | None = None) -> list[Finding]:
    """What the headers of images without masks show, errors first. It ends early as `quick_check`."""
    return collect(_header_faults(image_faults, images, name, workers))


def _header_faults(
    function: Callable[[Any], list[Fault]], items: Sequence, name: str, workers: int | None
) -> list[Fault]:
    faults: list[Fault] = []
    with closing(map_files(function, items, name, workers, delay=_DELAY)) as headers:
        for found in headers:
            faults += found
            if _errors(faults) >= _ENOUGH:
                break
    return faults


def _id_faults(
    name: str, labels: Sequence[Path], class_names: Sequence[str], ignore: int, workers: int | None
) -> list[Fault]:
    sampled = np.unique(np.linspace(0, len(labels) - 1, min(SAMPLE, len(labels))).round().astype(int))
    rest = np.setdiff1d(np.arange(len(labels)), sampled)
    totals: Counter = Counter()
    counted, faults, doubt = [], [], None
    for part in ([labels[k] for k in sampled], [labels[k] for k in rest]):
        with closing(map_files(_read_ids, part, name, workers, delay=_DELAY)) as results:
            for path, result in zip(part, results, strict=True):
                if isinstance(result, Fault):
                    faults.append(result)
                    continue
                counted.append((path, result))
                totals.update(result)
                doubt = suspicion(totals, len(class_names), ignore)
                if len(counted) > len(sampled) and doubt is None:
                    break
        faults += stray_faults(counted, class_names, ignore)
        if faults or doubt is None:
            break
    return faults + ([Fault(doubt, "")] if doubt else [])


def _read_ids(path: Path) -> dict[int, int] | Fault:
    try:
        return id_counts(read_label(path))
    except LabelError as error:
        return refused(path, error)


def _errors(faults: Sequence[Fault]) -> int:
    return sum(fault.kind.level == ERROR for fault in faults)
