"""What is done for one official image: convert its label, cut both, write what is not there yet."""

import io
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.catalog import IGNORE_LABEL, RGB, Split
from rskt_seg.data.convert import find_converter
from rskt_seg.data.labels import refuse_unknown
from rskt_seg.data.preparation.download import Download
from rskt_seg.data.preparation.plan import Job
from rskt_seg.data.preparation.windows import Window, tile_stem
from rskt_seg.errors import DatasetError

_JPEG = {"quality": 95, "subsampling": 0}
_PLAIN_MODES = ("RGB", "L", "P", "RGBA", "1", "LA")


@dataclass(frozen=True)
class Done:
    """What became of a job. `outputs`: files, relative to the root; `windows` written and `empty` ones left
    out; `pixels`: id -> count in the labels of the first target; `unknown`: colours of no class."""

    stem: str
    part: str
    outputs: tuple[str, ...]
    windows: int
    empty: int
    pixels: dict[int, int]
    unknown: dict[RGB, int]

    def to_row(self) -> dict:
        """Plain values for JSON."""
        return asdict(self) | {
            "pixels": {str(k): n for k, n in self.pixels.items()},
            "unknown": [[*color, n] for color, n in self.unknown.items()],
        }

    @classmethod
    def from_row(cls, row: Mapping) -> "Done":
        """The inverse of `to_row`."""
        values = dict(row) | {
            "outputs": tuple(row["outputs"]),
            "pixels": {int(k): n for k, n in row["pixels"].items()},
            "unknown": {(r, g, b): n for r, g, b, n in row["unknown"]},
        }
        return cls(**values)


class NamedBytes(io.BytesIO):
    """The bytes of a file under the name that errors give it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def do(job: Job, splits: Mapping[str, Split], download: Download, root: Path, tolerance: float) -> Done:
    """Write the images and labels of one job below `root`; whatever is there already must be the same.

    Raises `LabelError` for a label that is not what its converter reads or has more than a share `tolerance`
    of unknown colours; `DatasetError` for an image that cannot be read, sizes that differ by more than the
    recipe allows, and for a different file at the place of an output.
    """
    content = download.read(job.image)
    label_file = download.read(job.label)
    converted = {}
    for name in dict.fromkeys(name for _, name in job.targets):
        converted[name] = find_converter(name)(NamedBytes(label_file, job.label.path))
        refuse_unknown(converted[name].unknown, converted[name].ids.size, tolerance, job.label.path)
    pixels = _decoded(content, job.image.path)
    ids = {name: result.ids for name, result in converted.items()}
    first = job.targets[0][1]
    height, width = _common_size(job, pixels.shape[:2], ids[first].shape)
    whole = (height, width) == pixels.shape[:2]
    outputs: list[str] = []
    counts: Counter[int] = Counter()
    windows = _windows(job, height, width)
    empty = 0
    for stem, window in windows:
        part = {name: label[window.slices] for name, label in ids.items()}
        tiling = job.layout.rules.tiling
        if tiling is not None and tiling.drop_empty and (part[first] == IGNORE_LABEL).all():
            empty += 1
            continue
        kept = content if whole and not job.layout.rules.encode else None
        image = kept or _encoded(pixels[window.slices], job.layout.rules.encode or "png")
        outputs += _write(job, splits, root, stem, image, part)
        counts.update(
            dict(zip(*(a.tolist() for a in np.unique(part[first], return_counts=True)), strict=True))
        )
    return Done(
        job.stem,
        job.part,
        tuple(outputs),
        len(windows) - empty,
        empty,
        dict(counts),
        converted[first].unknown,
    )


def _windows(job: Job, height: int, width: int) -> list[tuple[str, Window]]:
    tiling = job.layout.rules.tiling
    if tiling is None:
        return [(job.stem, Window(0, height, 0, width))]
    return [(tile_stem(job.stem, window), window) for window in tiling.windows(height, width)]


def _write(
    job: Job,
    splits: Mapping[str, Split],
    root: Path,
    stem: str,
    image: bytes,
    ids: Mapping[str, np.ndarray],
) -> Iterator[str]:
    written: Path | None = None
    for name, converter in job.targets:
        split = splits[name]
        target = root / split.images / f"{stem}.{split.image_extensions[0]}"
        if target != written:
            place(target, image, twin=written)
            written = written or target
            yield target.relative_to(root).as_posix()
        label = root / split.labels / f"{stem}.{split.label_extensions[0]}"
        place(label, _encoded(ids[converter], "png"))
        yield label.relative_to(root).as_posix()


def place(path: Path, content: bytes, twin: Path | None = None) -> None:
    """Write a file whole or not at all; `twin`: a file of the same content to link instead of writing again.

    Raises `DatasetError` where another file is there already.
    """
    if path.exists():
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        raise DatasetError(
            f"{path} is there already and differs from what would be written; nothing is overwritten: move "
            "it away, choose another root, or use --overwrite for what this tool has written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{threading.get_ident()}.part")
    try:
        if twin is not None:
            os.link(twin, partial)
        else:
            partial.write_bytes(content)
    except OSError:
        if twin is None:
            raise
        partial.write_bytes(content)  # file systems without hard links
    os.replace(partial, path)


def _decoded(content: bytes, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Every byte is decoded, so that a damaged file is found here."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _PLAIN_MODES:
                raise DatasetError(f"{name}: an 8-bit image was expected, found {image.mode}")
            return np.asarray(image.convert("RGB"))
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
