"""The full check of a dataset: every file is read to its end, and everything found is reported."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from rskt_seg.data.catalog import SPLITS, Files, Split, expected_layout, find_files
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Finding, Kind, Report, collect
from rskt_seg.data.checking.images import PASSED_OVER, check_images, copies, file_labels
from rskt_seg.data.checking.label_statistics import absent_classes, collapsed, stray_faults, strays, suspicion
from rskt_seg.data.checking.probe import Facts, read_pair
from rskt_seg.data.fingerprint import combine
from rskt_seg.data.own import Colors, read_own
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError, DatasetNotFoundError

ALL = "all"
_WHOLE = (ALL, "train_val")
_OTHER_CASE = Kind(
    NOTE,
    "extensions in another case than the published ones",
    "nothing to do here, where case plays no role; the published code would not find these files",
)


def select_splits(name: str, root: str | Path, colors: Colors) -> tuple[Split, ...]:
    """The splits that `name` stands for.

    A registered split; a dataset of the table (`Potsdam`: those of its splits that lie under `root`); `all`
    splits of the table that lie under `root`; or a YAML file of a user's own dataset (`colors`: see
    `read_own`). Raises `DatasetError` for an unknown name, `DatasetNotFoundError` where nothing is found.
    """
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return read_own(name, colors)
    if named := tuple(split for split in SPLITS if split.name == name):
        return named
    rows = [s for s in SPLITS if name == ALL or s.dataset.casefold() == name.casefold()]
    if not rows:
        raise DatasetError(f"unknown dataset {name!r}; {_advice(name)}")
    # A dataset asked for by name is looked into where its folders are, and what its lists lack is named.
    there = _is_there if name == ALL else _has_folder
    present = tuple(split for split in rows if there(split, Path(root)))
    if not present:
        what = "no dataset of the table" if name == ALL else f"no split of {name}"
        raise DatasetNotFoundError(f"{what} lies under {root}. {expected_layout(rows[0], root)}")
    return present


def _is_there(split: Split, root: Path) -> bool:
    """Whether one of the folders is there, and for a list over shared folders its first and last image."""
    images = root / split.images
    ends = split.stems[:1] + split.stems[-1:]
    if not all(any((images / f"{stem}.{e}").exists() for e in split.image_extensions) for stem in ends):
        return False
    return _has_folder(split, root)


def _has_folder(split: Split, root: Path) -> bool:
    return any((root / folder).is_dir() for folder in (split.images, split.labels) if folder)


def _advice(name: str) -> str:
    datasets = sorted({split.dataset for split in SPLITS})
    folded = {known.casefold(): known for known in (*datasets, *(split.name for split in SPLITS))}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {ALL}, {', '.join(datasets)}, their splits, and the YAML file of a dataset of your own"


def check_split(split: Split, root: str | Path, workers: int | None = None, progress: bool = True) -> Report:
    """Everything that is wrong or remarkable about the files of `split` under `root`.

    Images are decoded and hashed, labels read and counted, `workers` at a time (None: one for each core, at
    most eight). Faults of the data are never raised but reported; the report is the same for any number
    of workers. Of a split without masks the file of image-level labels takes their place.
    """
    folders = (str(Path(root) / split.images), str(Path(root) / (split.labels or split.image_labels)))
    about = (split.name, folders, split.class_set.names, split.ignore_label)
    try:
        files = find_files(split, root)
    except DatasetError as error:
        what, _, layout = str(error).removeprefix(f"{split.name}: ").partition("\n")
        kind = Kind(ERROR, what, " ".join(layout.split()) or "nothing else was checked")
        return Report(*about, findings=(Finding(kind),))
    if not split.labels:
        return check_images(split, root, about, files, workers, progress)
    facts = list(map_files(read_pair, files.pairs, split.name, workers, progress))
    totals, in_files = Counter(), Counter()
    for fact in facts:
        totals.update(fact.counts)
        in_files.update(fact.counts.keys())
    digests = [fact.digests for fact in facts if fact.digests is not None]
    number, ignore = len(split.class_set), split.ignore_label
    ids = [k if k != ignore else None for k in range(number)] + [ignore]
    return Report(
        *about,
        findings=tuple(collect([*_faults(split, files, facts, totals), *_file_faults(split, root)])),
        count=len(facts),
        histogram=tuple(totals[k] for k in ids),
        files_per_class=tuple(in_files[k] for k in ids),
        strays=sum(strays(totals, number, ignore).values()),
        fingerprint=combine(digests) if len(digests) == len(facts) else None,
        digests={str(fact.pair.image): fact.image for fact in facts if fact.image is not None},
    )


def shared_images(reports: Mapping[Split, Report]) -> list[Finding]:
    """A note for every two parts of a dataset, as train and val, that have images of the same content.

    `all` and `train_val`, which are meant to hold other parts, are left out; of several forms of the labels
    of one part of the table the first counts.
    """
    found = []
    parts: dict[tuple, tuple[Split, Report]] = {}
    for split, report in reports.items():
        if not split.split.startswith(_WHOLE):
            part = (split.dataset, split.images, split.stems) if split in SPLITS else (split.name,)
            parts.setdefault(part, (split, report))
    for (first, one), (second, two) in combinations(parts.values(), 2):
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


def _faults(split: Split, files: Files, facts: Sequence[Facts], totals: Counter) -> Iterator[Fault]:
    names, ignore = split.class_set.names, split.ignore_label
    yield from _orphans(files)
    for fact in facts:
        yield from fact.faults
    yield from stray_faults([(fact.pair.label, fact.counts) for fact in facts], names, ignore)
    for judge in (suspicion, collapsed):
        if kind := judge(totals, len(names), ignore):
            yield Fault(kind, "")
    yield from absent_classes(totals, names, ignore)
    yield from copies((fact.pair.image, fact.image, fact.digests and fact.digests.label) for fact in facts)
    if split in SPLITS:
        yield from _other_cases(split, files)
    for folder in files.skipped:
        yield Fault(PASSED_OVER, *folder.rsplit(": ", 1))


def _orphans(files: Files) -> Iterator[Fault]:
    cure = "partners have equal stems, as a.jpg and a.png: add what is missing or remove what is left alone"
    if files.unpaired_by_case:
        cure += "; some stems differ in case alone: rename them"
    for paths, what in zip(
        files.unpaired, ("images without a label", "labels without an image"), strict=True
    ):
        yield from (Fault(Kind(ERROR, what, cure), str(path)) for path in paths)


def _file_faults(split: Split, root: str | Path) -> list[Fault]:
    return file_labels(split, root)[1] if split.image_labels else []


def _other_cases(split: Split, files: Files) -> Iterator[Fault]:
    for paths, extensions in ((files.images, split.image_extensions), (files.labels, split.label_extensions)):
        for path in paths.values():
            if path.suffix[1:] not in extensions:
                yield Fault(_OTHER_CASE, str(path))
