"""The full check of a dataset: every file is read to its end, and every fault is reported."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from unicodedata import is_normalized

from rskt_seg.data.catalog import SPLITS, Split, expected_layout, find_files
from rskt_seg.data.checking.facts import band_notes, one_word_on_palettes, palette_faults
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Finding, Kind, Report, collect
from rskt_seg.data.checking.images import PASSED_OVER, check_image_labels, check_images, duplicate_notes
from rskt_seg.data.checking.label_statistics import absent_classes, collapsed, stray_faults, strays, suspicion
from rskt_seg.data.checking.probe import PairFacts, inspect_pair
from rskt_seg.data.fingerprint import combine
from rskt_seg.data.own import read_own
from rskt_seg.data.pairing import Files
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError, DatasetNotFoundError

ALL = "all"
_UNIONS = (ALL, "train_val")
"""Splits whose names start so contain the images of other splits."""
_OTHER_CASE = Kind(
    NOTE,
    "extensions in another case than the published ones",
    "nothing to do here, where case plays no role; the published code would not find these files",
)


def select_splits(name: str, root: str | Path) -> tuple[Split, ...]:
    """Return the splits that a name stands for.

    Args:
        name: A registered split; a dataset of the catalog (`Potsdam`), for those of its splits that lie under
            `root`; `all`, for every split of the catalog that lies under `root`; or the YAML file of a
            dataset of the user's own.
        root: The root of all datasets.

    Returns:
        The splits, in the order of the catalog or of the YAML file.

    Raises:
        DatasetError: If the name is unknown, or the YAML file cannot be used.
        DatasetNotFoundError: If no split is found under `root`.
    """
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return read_own(name)
    if named := tuple(split for split in SPLITS if split.name == name):
        return named
    rows = [s for s in SPLITS if name == ALL or s.dataset.casefold() == name.casefold()]
    if not rows:
        datasets = sorted({split.dataset for split in SPLITS})
        folded = {known.casefold(): known for known in (*datasets, *(split.name for split in SPLITS))}
        near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded)]
        known = f"{ALL}, {', '.join(datasets)}, their splits, and the YAML file of a dataset of your own"
        advice = f"did you mean {' or '.join(near)}?" if near else f"known: {known}"
        raise DatasetError(f"unknown dataset {name!r}; {advice}")
    # A dataset that is named is checked if its folders exist; the report then names missing files of lists.
    exists = _is_present if name == ALL else _has_folder
    present = tuple(split for split in rows if exists(split, Path(root)))
    if not present:
        what = "no dataset of the table" if name == ALL else f"no split of {name}"
        raise DatasetNotFoundError(f"{what} lies under {root}. {expected_layout(rows[0], root)}")
    return present


def _is_present(split: Split, root: Path) -> bool:
    """Return whether a folder of the split exists, and for a list of stems its first and last image."""
    images = root / split.images
    ends = split.stems[:1] + split.stems[-1:]
    if not all(any((images / f"{stem}.{e}").exists() for e in split.image_extensions) for stem in ends):
        return False
    return _has_folder(split, root)


def _has_folder(split: Split, root: Path) -> bool:
    return any((root / folder).is_dir() for folder in (split.images, split.labels) if folder)


def check_split(split: Split, root: str | Path, workers: int | None = None, progress: bool = True) -> Report:
    """Decode and hash all images of a split, read and count all its labels, and report every fault.

    Faults of the data are reported, never raised. A split without masks is checked against its file of
    image-level labels.

    Args:
        split: The split.
        root: The root of all datasets.
        workers: Number of files read at a time; None for one a core, at most eight. It does not change the
            report.
        progress: Whether a progress bar is shown.

    Returns:
        The report, findings with errors first.
    """
    folders = (str(Path(root) / split.images), str(Path(root) / (split.labels or split.image_labels)))
    report = Report(split.name, folders, split.class_set.names, split.ignore_label, findings=())
    try:
        files = find_files(split, root)
    except DatasetError as error:
        what, _, layout = str(error).removeprefix(f"{split.name}: ").partition("\n")
        kind = Kind(ERROR, what, " ".join(layout.split()) or "nothing else was checked")
        return replace(report, findings=(Finding(kind),))
    if not split.labels:
        return check_images(split, root, report, files, workers, progress)
    facts = list(map_files(inspect_pair, files.pairs, split.name, workers, progress))
    totals: Counter[int] = Counter()
    in_files: Counter[int] = Counter()
    for fact in facts:
        totals.update(fact.counts)
        in_files.update(fact.counts.keys())
    digests = [fact.digests for fact in facts if fact.digests is not None]
    number, ignore = len(split.class_set), split.ignore_label
    faults = [*_find_faults(split, files, facts, totals)]
    if split.image_labels:
        faults += check_image_labels(split, root)[1]
    # A class whose id is ignored has no pixels of its own.
    ids = range(number)
    return replace(
        report,
        findings=tuple(collect(one_word_on_palettes(faults))),
        count=len(facts),
        histogram=(*(totals[k] if k != ignore else 0 for k in ids), totals[ignore]),
        files_per_class=(*(in_files[k] if k != ignore else 0 for k in ids), in_files[ignore]),
        strays=sum(strays(totals, number, ignore).values()),
        fingerprint=combine(digests) if len(digests) == len(facts) else None,
        digests={str(fact.pair.image): fact.image for fact in facts if fact.image is not None},
    )


def shared_images(reports: Mapping[Split, Report]) -> list[Finding]:
    """Find images that two splits of a dataset share, such as train and val.

    `all` and `train_val` are left out, because they contain other splits by design. Splits of the catalog
    that differ only in their labels count once.

    Args:
        reports: Split -> its report by `check_split`.

    Returns:
        A note for each two splits that share images.
    """
    found = []
    distinct: dict[tuple[object, ...], tuple[Split, Report]] = {}
    for split, report in reports.items():
        if not split.split.startswith(_UNIONS):
            images = (split.dataset, split.images, split.stems) if split in SPLITS else (split.name,)
            distinct.setdefault(images, (split, report))
    for (first, one), (second, two) in combinations(distinct.values(), 2):
        if first.dataset != second.dataset:
            continue
        known = {digest: path for path, digest in one.digests.items()}
        same = [
            (path, f"= {Path(known[digest]).name}") for path, digest in two.digests.items() if digest in known
        ]
        if same:
            what = f"images of {second.name} that are in {first.name} too"
            found.append(
                Finding(Kind(NOTE, what, "trained on one and scored on the other, they flatter"), tuple(same))
            )
    return found


def _find_faults(
    split: Split, files: Files, facts: Sequence[PairFacts], totals: Counter[int]
) -> Iterator[Fault]:
    """Yield the faults of the files, of their ids, and of the set as a whole."""
    names, ignore = split.class_set.names, split.ignore_label
    cure = "image and label have equal stems, as a.jpg and a.png: add the missing files or remove the others"
    cure += f"; {files.spelling}" if files.spelling else ""
    kinds = (Kind(ERROR, "images without a label", cure), Kind(ERROR, "labels without an image", cure))
    for paths, kind in zip(files.unpaired, kinds, strict=True):
        for path in paths:
            decomposed = not is_normalized("NFC", path.stem)
            yield Fault(kind, str(path), "decomposed letters, NFD" if decomposed else "")
    for fact in facts:
        yield from fact.faults
    yield from stray_faults([(fact.pair.label, fact.counts) for fact in facts], names, ignore)
    yield from band_notes([(fact.pair.image, fact.bands) for fact in facts])
    yield from palette_faults([(fact.pair.label, fact.colors) for fact in facts], split.palette_colors)
    for judge in (suspicion, collapsed):
        if mistake := judge(totals, len(names), ignore):
            yield Fault(mistake, "")
    yield from absent_classes(totals, names, ignore)
    yield from duplicate_notes(
        (fact.pair.image, fact.image, fact.digests and fact.digests.label) for fact in facts
    )
    if split in SPLITS:
        published = (files.images, split.image_extensions), (files.labels, split.label_extensions)
        for by_stem, extensions in published:
            others = (path for path in by_stem.values() if path.suffix[1:] not in extensions)
            yield from (Fault(_OTHER_CASE, str(path)) for path in others)
    for folder in files.skipped:
        yield Fault(PASSED_OVER, *folder.rsplit(": ", 1))
