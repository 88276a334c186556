"""What is done for one official image: convert its label, cut both, write what is not there yet."""

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rskt_seg.data.catalog import Split
from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.convert import Converted, find_converter
from rskt_seg.data.labels import refuse_unknown
from rskt_seg.data.preparation.download import Download
from rskt_seg.data.preparation.layouts import Target
from rskt_seg.data.preparation.plan import Job
from rskt_seg.data.preparation.windows import Cut
from rskt_seg.errors import DatasetError
from rskt_seg.writing import replacing

if TYPE_CHECKING:
    from rskt_seg.data.preparation.record import Record

_JPEG = {"quality": 95, "subsampling": 0}
_PLAIN_MODES = ("RGB", "L", "P", "RGBA", "1", "LA")
Crop = tuple[str, int, int, str]


@dataclass(frozen=True)
class Done:
    """What became of a job. `source`: digest of the job; `outputs`: files, relative to the root; `windows`
    written and `empty` ones left out; `pixels`: id -> count in the labels of the first target; `unknown`:
    colours of no class, and their share (0..1) of the label; `crops`: of drawn pieces, name, first row and
    column in the scene, and split."""

    stem: str
    part: str
    source: str
    outputs: tuple[str, ...]
    windows: int
    empty: int
    pixels: dict[int, int]
    unknown: dict[RGB, int]
    unknown_share: float
    crops: tuple[Crop, ...] = ()

    def to_row(self) -> dict:
        """Plain values for JSON."""
        row = asdict(self) | {
            "pixels": {str(k): n for k, n in self.pixels.items()},
            "unknown": [[*color, n] for color, n in self.unknown.items()],
        }
        return row if self.crops else {key: value for key, value in row.items() if key != "crops"}

    @classmethod
    def from_row(cls, row: Mapping) -> "Done":
        """The inverse of `to_row`."""
        values = dict(row) | {
            "outputs": tuple(row["outputs"]),
            "pixels": {int(k): n for k, n in row["pixels"].items()},
            "unknown": {(r, g, b): n for r, g, b, n in row["unknown"]},
            "crops": tuple(map(tuple, row.get("crops", ()))),
        }
        return cls(**values)


class NamedBytes(io.BytesIO):
    """The bytes of a file under the name that errors give it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def do(job: Job, record: "Record", download: Download) -> None:
    """Write the images and labels of one job, and have it noted down when it is begun and when it is done.

    Raises `LabelError` for a label that is not what its converter reads or has too many unknown colours;
    `DatasetError` for an image that cannot be read, sizes that differ by more than the recipe allows, and for
    a file of somebody else at the place of an output.
    """
    content, label_file = download.read(job.image), download.read(job.label)
    names = dict.fromkeys(target.converter for target in job.targets)
    converted = {name: _converted(job, name, label_file, record) for name in names}
    pixels = _decoded(content, job.image.path)
    target, rules = job.targets[0], job.layout.rules
    first = converted[target.converter]
    common = tuple(map(slice, _common_size(job, pixels.shape[:2], first.ids.shape)))
    whole = {name: result.ids[common] for name, result in converted.items()}
    cuts = [cut for cut in rules.cuts(job.stem, whole[target.converter]) if job.targets_of(cut.stem)]
    kept = [c for c in cuts if not (rules.drop_empty and _is_empty(c.label(whole[target.converter])))]
    places = {cut: _places(job, record.plan.recipe.splits, cut.stem) for cut in kept}
    outputs = tuple(dict.fromkeys(path for of_cut in places.values() for path in of_cut))
    record.begin(job, outputs)
    cut_off = pixels.shape[:2] != whole[target.converter].shape
    counts: Counter[int] = Counter()
    for cut in kept:
        encode = rules.encode or ("png" if cut_off else "")
        image = _encoded(cut.image(pixels[common]), encode) if encode else content
        twin = None
        for path, made in places[cut].items():
            if made is None:
                twin = place(record.root / path, image, twin)
            else:
                ids = cut.label(whole[made.converter], made.padding)
                place(record.root / path, _encoded(ids, "png"))
        ids, numbers = np.unique(cut.label(whole[target.converter], target.padding), return_counts=True)
        counts.update(dict(zip(ids.tolist(), numbers.tolist(), strict=True)))
    share = sum(first.unknown.values()) / first.ids.size
    empty, unknown = len(cuts) - len(kept), first.unknown
    crops = tuple(_crops(job, kept)) if job.pieces is not None else ()
    record.add(
        Done(job.stem, job.part, job.digest, outputs, len(kept), empty, dict(counts), unknown, share, crops)
    )


def _crops(job: Job, cuts: Sequence[Cut]) -> Iterator[Crop]:
    for cut in cuts:
        for target in job.targets_of(cut.stem):
            yield cut.stem, cut.window.top, cut.window.left, target.split


def _converted(job: Job, name: str, content: bytes, record: "Record") -> Converted:
    result = find_converter(name)(NamedBytes(content, job.label.path))
    refuse_unknown(result.unknown, result.ids.size, record.options.tolerance, job.label.path)
    return result


def _is_empty(ids: np.ndarray) -> bool:
    return bool((ids == IGNORE_LABEL).all())


def _places(job: Job, splits: Mapping[str, Split], stem: str) -> dict[str, Target | None]:
    """Where the files of one piece go, relative to the root: path -> target; None for the image."""
    found: dict[str, Target | None] = {}
    for target in job.targets_of(stem):
        split = splits[target.split]
        found[f"{split.images}/{stem}.{split.image_extensions[0]}"] = None
        found[f"{split.labels}/{stem}.{split.label_extensions[0]}"] = target
    return found


def place(path: Path, content: bytes, twin: Path | None = None) -> Path:
    """Write a file whole or not at all; `twin`: a file of the same content to link instead of writing again.

    Returns `path`. What is there is replaced: only files that the record lists are ever written.
    """
    if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return path
    with replacing(path) as partial:
        if twin is None or not _linked(twin, partial):
            partial.write_bytes(content)
    return path


def _linked(twin: Path, path: Path) -> bool:
    try:
        os.link(twin, path)
    except OSError:  # file systems without hard links
        return False
    return True


def _decoded(content: bytes, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Every byte is decoded, so that a damaged file is found here."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _PLAIN_MODES:
                raise DatasetError(f"{name}: an 8-bit image was expected, found {image.mode}")
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{name} cannot be read as an image, download it again: {error}") from error


def _encoded(array: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "jpg":
        Image.fromarray(array).save(buffer, "JPEG", **_JPEG)
    else:
        Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def _common_size(job: Job, image: tuple[int, int], label: tuple[int, int]) -> tuple[int, int]:
    difference = max(abs(image[0] - label[0]), abs(image[1] - label[1]))
    if difference > job.layout.rules.trim:
        raise DatasetError(
            f"{job.image.path} is {image[0]}x{image[1]} but its label {job.label.path} is "
            f"{label[0]}x{label[1]} (height x width); they do not belong together"
        )
    return min(image[0], label[0]), min(image[1], label[1])
