"""A small dataset for the tests of the check, and ways to damage it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.catalog import ClassSet, Split, pairs
from rskt_seg.data.checking.check import check_split
from rskt_seg.data.checking.findings import Finding, Report
from rskt_seg.data.checking.quick import quick_check

README = Path(__file__).parents[3] / "datasets" / "README.md"
NAMES = ("roof", "road", "tree", "water")
CLASSES = ClassSet("own", NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)))
SPLIT = Split("own_sem_seg", "own", "all", "x", "y", ("png", "jpg"), ("png", "tif"), CLASSES)
SHAPE = (20, 30)
STEMS = [f"s{k}" for k in range(6)]
ORIENTATION = 274


def lay_out(root: Path, split: Split = SPLIT, stems: list[str] = STEMS) -> Path:
    """Write a clean set: different images, labels with every class and a row of ignored pixels."""
    rng = np.random.default_rng(len(split.name))
    for folder in (split.images, split.labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem in stems:
        image = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        ids = (np.arange(SHAPE[0] * SHAPE[1]) % len(split.class_set)).astype(np.uint8).reshape(SHAPE)
        ids[0] = split.ignore_label
        Image.fromarray(image).save(root / split.images / f"{stem}.{split.image_extensions[0]}")
        Image.fromarray(ids).save(root / split.labels / f"{stem}.{split.label_extensions[0]}")
    return root


def relabel(root: Path, change: Callable[[np.ndarray], np.ndarray], stems: list[str] = STEMS) -> None:
    for stem in stems:
        path = root / f"y/{stem}.png"
        Image.fromarray(change(np.array(Image.open(path)))).save(path)


def check(root: Path, split: Split = SPLIT) -> Report:
    return check_split(split, root, progress=False)


def quick(root: Path, split: Split = SPLIT) -> list[Finding]:
    return quick_check(split.name, pairs(split, root), split.class_set.names, split.ignore_label)


def one(findings, what: str) -> Finding:
    """Return the only finding whose kind contains these words; no other may be an error."""
    fitting = [finding for finding in findings if what in finding.kind.what]
    assert len(fitting) == 1, [finding.kind.what for finding in findings]
    others = [finding for finding in findings if finding is not fitting[0] and finding.is_error]
    assert others == []
    return fitting[0]


def turned(image: Image.Image, orientation: int) -> dict:
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    return {"exif": exif}


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def rgb_label(root: Path) -> None:
    Image.open(root / "y/s1.png").convert("RGB").save(root / "y/s1.png")


def small_label(root: Path) -> None:
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(root / "y/s1.png")


def stray(root: Path) -> None:
    relabel(root, lambda ids: np.where(ids == 3, 77, ids).astype(np.uint8), ["s1"])


def jpeg_label(root: Path) -> None:
    Image.open(root / "y/s1.png").save(root / "y/s1.png", format="JPEG")


def bits(root: Path) -> None:
    Image.new("1", SHAPE[::-1]).save(root / "y/s1.png")


def no_label_image(root: Path) -> None:
    (root / "y/s1.png").write_text("no image")


def empty_image(root: Path) -> None:
    (root / "x/s1.png").write_bytes(b"")


def rotated(root: Path) -> None:
    image = Image.open(root / "x/s1.png")
    image.save(root / "x/s1.png", **turned(image, 6))


def rotated_half(root: Path) -> None:
    image = Image.open(root / "x/s1.png")
    image.save(root / "x/s1.png", **turned(image, 3))


def rotated_square(root: Path) -> None:
    image = Image.new("RGB", (25, 25))
    (root / "x/s1.png").unlink()
    image.save(root / "x/s1.jpg", **turned(image, 8))
    Image.new("L", (25, 25)).save(root / "y/s1.png")


FAULTS = [
    (rgb_label, "found a colour image (RGB)", "y/s1.png", "one class id a pixel"),
    (small_label, "differ in size", r"y/s1.png \(label 30x20, image 20x30", "nothing is resized"),
    (stray, "label ids outside 0..3", r"y/s1.png \(found ids 77 \(\d+ px\)\)", "is the class list complete"),
    (jpeg_label, "a lossless label", "y/s1.png", "8-bit gray PNG"),
    (bits, "1 bit a pixel", "y/s1.png", "8-bit gray PNG"),
    (no_label_image, "label cannot be read", r"y/s1.png \(", "copy or unpack"),
    (empty_image, "image cannot be read", r"x/s1.png \(no image of a known format\)", "copy or unpack"),
    (rotated, "before the EXIF rotation", r"y/s1.png \(label 20x30, image 30x20", "remove the EXIF"),
    (rotated_half, "sizes do not tell", r"x/s1.png \(EXIF orientation 3\)", "look at both"),
    (rotated_square, "sizes do not tell", r"x/s1.jpg \(EXIF orientation 8\)", "look at both"),
]  # fmt: skip
