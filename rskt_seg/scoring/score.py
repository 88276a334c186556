"""Scores of the label files of any program, by the same reading, counting and checks as an evaluation."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rskt_seg.data.catalog import Split, pairs, share_images
from rskt_seg.data.fingerprint import Digests, image_digest, label_digest
from rskt_seg.data.labels import read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.parallel import map_files
from rskt_seg.data.published_sets import why_unpublished
from rskt_seg.data.samples import read_8bit_image, valid_target
from rskt_seg.errors import DatasetError, ImageReadError
from rskt_seg.metrics.protocols import check_protocol, protocol_scores
from rskt_seg.metrics.results import SetRecords, SetResult
from rskt_seg.scoring.predictions import find_predictions, read_prediction
from rskt_seg.scoring.tally import Tally
from rskt_seg.vocabulary import seen_names

_PACKAGES = ("rskt_seg", "numpy", "pillow")


def score_split(
    split: Split, root: str | Path, folder: Path, workers: int | None = None, progress: bool = True
) -> Tally:
    """Count the label files of a folder against the labels of a split.

    Files are matched by stem, and a missing or an extra one is an error. Pixels where the image has no data
    are not scored, as in an evaluation.

    Args:
        split: The split.
        root: The root of all datasets.
        folder: The folder of the predictions, one file for each image.
        workers: Number of threads; None: one per core, at most eight.
        progress: Whether to show a progress bar.

    Returns:
        The counts of all images.

    Raises:
        DatasetError: As `rskt_seg.data.catalog.pairs` and `find_predictions`.
        ImageReadError: An image cannot be read.
        LabelError: A label or a prediction cannot be read or scored.
    """
    found = pairs(split, root)
    files = find_predictions(folder, [pair.image.stem for pair in found], split.name)
    tally = Tally(len(split.class_set), split.ignore_label)
    for one in map_files(
        partial(_count_pair, split=split, files=files), found, split.name, workers, progress, delay=2
    ):
        tally.merge(one)
    return tally


def _count_pair(pair: Pair, split: Split, files: Mapping[str, Path]) -> Tally:
    names, ignore = split.class_set.names, split.ignore_label
    try:
        content = pair.image.read_bytes()
    except OSError as error:
        raise ImageReadError(f"{pair.image} cannot be read: {error}") from error
    valid, label = read_8bit_image(pair.image).valid, read_label(pair.label)
    target = valid_target(label, pair.label, valid, names, ignore)
    height, width = valid.shape
    predicted = read_prediction(files[pair.image.stem], (height, width), names, ignore)
    one = Tally(len(names), ignore)
    digests = Digests(pair.image.stem, image_digest(content), label_digest(label))
    one.count(digests, predicted, target, valid)
    return one


def set_result(
    split: Split,
    root: str | Path,
    tally: Tally,
    folder: Path,
    protocol: str = "",
    trained: Sequence[Split] = (),
) -> SetResult:
    """Compute the scores of a split, as a benchmark reports them.

    Args:
        split: The split.
        root: The root of all datasets.
        tally: What `score_split` counted.
        folder: The folder of the predictions.
        protocol: Protocol in place of that of the split; "" for that.
        trained: The splits that the predictions' model was trained on; none if they are unknown.

    Returns:
        The result, with the name that the file of the counts of images gets.

    Raises:
        DatasetError: No labelled pixel was counted, or the protocol is unknown or for other classes.
    """
    name = protocol or split.protocol
    if name:
        check_protocol(name, len(split.class_set))
    known = [each for part in trained for each in part.class_set.names]
    contained = any(
        part.name == split.name or share_images((part.dataset, part.split), (split.dataset, split.split))
        for part in trained
    )
    try:
        scores = tally.matrix.scores()
        figures = protocol_scores(tally.matrix, name) if name else None
    except DatasetError as error:
        raise DatasetError(f"{split.name}: {error}") from error
    return SetResult(
        name=split.name,
        classes=split.class_set.names,
        seen=seen_names(split.class_set.names, known) if trained else None,
        scores=scores,
        images=len(tally.images),
        fingerprint=str(tally.fingerprint),
        in_domain=contained if trained else None,
        note=split.note,
        protocol=figures,
        ignore=split.ignore_label,
        unpublished=why_unpublished(split, root, len(tally.images)),
        records=SetRecords(
            image_counts=f"inference/{split.name}.images.npz",
            image_counts_sha256=tally.image_counts.digest,
            predictions=str(folder.absolute()),
            predictions_sha256=tally.predictions,
        ),
    )


def combined_digest(results: Sequence[SetResult]) -> str:
    """Return the SHA-256 of the predictions of several sets; of one set, that of its own."""
    digests = {result.name: result.records.predictions_sha256 for result in results if result.records}
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return name -> version of the software that scores files."""
    return {**{package: version(package) for package in _PACKAGES}, "Python": platform.python_version()}
