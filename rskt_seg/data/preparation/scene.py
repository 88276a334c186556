"""What is done for one official image: convert its label, cut both, write the files that do not exist yet."""

import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.catalog import Split
from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.convert import Converted, find_converter
from rskt_seg.data.labels import refuse_unknown
from rskt_seg.data.preparation.download import Download
from rskt_seg.data.preparation.journal import Journal, SceneResult
from rskt_seg.data.preparation.layouts import Target
from rskt_seg.data.preparation.plan import Job
from rskt_seg.data.preparation.windows import Patch
from rskt_seg.errors import DatasetError
from rskt_seg.writing import replacing

_JPEG_QUALITY = 95
_MODES = ("RGB", "L", "P", "RGBA", "1", "LA")
"""Pillow's modes of images with at most 8 bits a sample."""


class NamedBytes(io.BytesIO):
    """The bytes of a file whose `str()` is the name that error messages give."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


@dataclass(frozen=True)
class _Scene:
    """A decoded image with its labels, trimmed to their common part (H, W)."""

    content: bytes  # of the image file, before trimming
    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    trimmed: bool  # whether the image lost rows or columns
    labels: dict[str, np.ndarray]  # converter -> (H, W) uint8 ids
    unknown: dict[RGB, int]  # colours of no class for the first target, with their pixels
    unknown_share: float  # of the whole label


def convert_scene(job: Job, journal: Journal, download: Download) -> None:
    """Write the images and labels of a job, and record it in the journal when it is begun and done.

    Args:
        job: The job.
        journal: The journal of the dataset.
        download: The open download that the files of the job belong to.

    Raises:
        LabelError: If the label is not what its converter expects, or more pixels than the tolerance have
            colours of no class.
        DatasetError: If the image cannot be read, if image and label differ in size by more than the recipe
            allows, or if an output exists that no run has written.
    """
    scene = _read_scene(job, download, journal.options.tolerance)
    rules, target = job.layout.rules, job.targets[0]
    ids = scene.labels[target.converter]
    patches = [patch for patch in rules.cut(job.stem, ids) if job.targets_of(patch.stem)]
    kept = [patch for patch in patches if not (rules.drop_empty and (patch.label(ids) == IGNORE_LABEL).all())]
    files = {patch: _output_files(job, journal.plan.recipe.splits, patch.stem) for patch in kept}
    outputs = tuple(dict.fromkeys(path for of_patch in files.values() for path in of_patch))
    journal.begin(job, outputs)
    counts: Counter[int] = Counter()
    for patch in kept:
        _write_patch(patch, scene, rules.encode, files[patch], journal.root)
        values, numbers = np.unique(patch.label(ids, target.padding), return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    sampled = kept if job.selection is not None else []
    result = SceneResult(
        stem=job.stem,
        part=job.part,
        source=job.digest,
        outputs=outputs,
        windows=len(kept),
        empty=len(patches) - len(kept),
        pixels=dict(counts),
        unknown=scene.unknown,
        unknown_share=scene.unknown_share,
        crops=tuple(
            (patch.stem, patch.window.top, patch.window.left, target.split)
            for patch in sampled
            for target in job.targets_of(patch.stem)
        ),
    )
    journal.add(result)


def _read_scene(job: Job, download: Download, tolerance: float) -> _Scene:
    content, label_content = download.read(job.image), download.read(job.label)
    converted: dict[str, Converted] = {}
    for target in job.targets:
        if target.converter not in converted:
            result = find_converter(target.converter)(NamedBytes(label_content, job.label.path))
            refuse_unknown(result.unknown, result.ids.size, tolerance, job.label.path)
            converted[target.converter] = result
    pixels = _decode(content, job.image.path)
    first = converted[job.targets[0].converter]
    image, label = pixels.shape[:2], first.ids.shape
    if max(abs(image[0] - label[0]), abs(image[1] - label[1])) > job.layout.rules.trim:
        raise DatasetError(
            f"{job.image.path} is {image[0]}x{image[1]} but its label {job.label.path} is "
            f"{label[0]}x{label[1]} (height x width); they do not belong together: download both again"
        )
    height, width = min(image[0], label[0]), min(image[1], label[1])
    return _Scene(
        content=content,
        pixels=pixels[:height, :width],
        trimmed=image != (height, width),
        labels={name: result.ids[:height, :width] for name, result in converted.items()},
        unknown=first.unknown,
        unknown_share=sum(first.unknown.values()) / first.ids.size,
    )


def _decode(content: bytes, name: str) -> np.ndarray:
    """Decode all of an 8-bit image, so that a damaged file is found here: (H, W, 3) uint8 RGB."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _MODES:
                raise DatasetError(f"{name}: an 8-bit image was expected, found {image.mode}")
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{name} cannot be read as an image, download it again: {error}") from error


def _encode(array: np.ndarray, encoding: str) -> bytes:
    buffer = io.BytesIO()
    if encoding == "jpg":
        Image.fromarray(array).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def _output_files(job: Job, splits: Mapping[str, Split], stem: str) -> dict[str, Target | None]:
    """Return the files of a patch, relative to the root: path -> target of a label, None for an image."""
    files: dict[str, Target | None] = {}
    for target in job.targets_of(stem):
        split = splits[target.split]
        files[f"{split.images}/{stem}.{split.image_extensions[0]}"] = None
        files[f"{split.labels}/{stem}.{split.label_extensions[0]}"] = target
    return files


def _write_patch(
    patch: Patch, scene: _Scene, encoding: str, files: Mapping[str, Target | None], root: Path
) -> None:
    """Write the image and label files of a patch; further images of the same content become hard links."""
    encoding = encoding or ("png" if scene.trimmed else "")
    image = _encode(patch.image(scene.pixels), encoding) if encoding else scene.content
    written: Path | None = None
    for path, target in files.items():
        if target is None:
            _write_file(root / path, image, same_as=written)
            written = root / path
        else:
            label = patch.label(scene.labels[target.converter], target.padding)
            _write_file(root / path, _encode(label, "png"))


def _write_file(path: Path, content: bytes, same_as: Path | None = None) -> None:
    """Write a file completely or not at all, unless it has that content already.

    An existing file is replaced: only files that the journal lists are ever written. `same_as` is a file of
    the same content, to which `path` is linked if the file system has hard links.
    """
    if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return
    with replacing(path) as partial:
        if same_as is not None:
            try:
                os.link(same_as, partial)
                return
            except OSError:  # the file system has no hard links
                pass
        partial.write_bytes(content)
