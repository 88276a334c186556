"""Miniature copies of the official downloads of every dataset, in their official layouts."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.class_sets import DEEPGLOBE_WITH_UNKNOWN, DLRSD, ISAID, ISPRS, UAVID, UDD5, VDD, ClassSet
from rskt_seg.data.preparation import Options, Summary, prepare
from rskt_seg.data.split_lists import LISTS, read_list

BLACK = (0, 0, 0)


def photograph(path: Path, size: tuple[int, int], seed: int = 0) -> None:
    """Write an RGB image of noise; `size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def ids_of(path: Path, classes: int, size: tuple[int, int], ignored: bool) -> np.ndarray:
    """Return class ids in blocks of 5 px; `ignored`: the first row of blocks is 255."""
    rng = np.random.default_rng([1, *path.name.encode()])
    blocks = rng.integers(0, classes, (size[0] // 5 + 1, size[1] // 5 + 1), np.uint8)
    blocks[-1, :2] = classes - 1
    if ignored:
        blocks[0] = 255
    return blocks.repeat(5, 0).repeat(5, 1)[: size[0], : size[1]]


def colors(path: Path, classes: ClassSet, size: tuple[int, int], ignored: bool = True) -> np.ndarray:
    """Write a colour mask, in which 255 is black; return the class ids."""
    ids = ids_of(path, len(classes), size, ignored)
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.colors
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(table[ids]).save(path)
    return ids


def numbers(path: Path, classes: int, size: tuple[int, int], shift: int = 0, palette: bool = False):
    """Write a mask of ids raised by `shift` (then 255 is 0); return the class ids."""
    ids = ids_of(path, classes, size, ignored=shift > 0)
    raw = np.where(ids == 255, 0, ids + shift).astype(np.uint8)
    image = Image.fromarray(raw)
    if palette:
        image.putpalette(sum(DLRSD.colors, BLACK) + (0,) * 3 * 238)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return ids


def dlrsd(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    for scene in ("airplane", "mobilehomepark"):
        for number in range(10):
            name = f"{scene}{number:02d}"
            photograph(root / f"UCMerced_LandUse/Images/{scene}/{name}.tif", (32, 32))
            label = root / f"DLRSD/Images/{scene}/{name}.png"
            ids[name.capitalize()] = numbers(label, 17, (32, 32), shift=1, palette=True)
    return ids


def isaid(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    sizes = {("train", "P0002"): (300, 470), ("train", "P0100"): (256, 256), ("val", "P0003"): (200, 300)}
    for (part, name), size in sizes.items():
        photograph(root / f"{part}/images/images/{name}.png", size)
        label = root / f"{part}/Semantic_masks/images/{name}_instance_color_RGB.png"
        ids[name] = colors(label, ISAID, size)
        photograph(root / f"{part}/Instance_masks/images/{name}_instance_id_RGB.png", size)
    photograph(root / "test/images/images/P0005.png", (64, 64))
    return ids


def loveda(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    places = [("Train", "Rural", 0), ("Train", "Urban", 1366), ("Val", "Urban", 3514)]
    for part, land, number in places:
        photograph(root / f"{part}/{land}/images_png/{number}.png", (40, 40))
        ids[str(number)] = numbers(root / f"{part}/{land}/masks_png/{number}.png", 7, (40, 40), shift=1)
    photograph(root / "Test/Urban/images_png/4191.png", (40, 40))
    return ids


def potsdam(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    for tile in ("2_10", "7_7", "6_15"):
        photograph(root / f"2_Ortho_RGB/top_potsdam_{tile}_RGB.tif", (600, 512))
        label = root / f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif"
        ids[f"top_potsdam_{tile}"] = colors(label, ISPRS, (600, 512))
    return ids


def vaihingen(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    for area, size in ((1, (530, 520)), (38, (512, 600))):
        photograph(root / f"top/top_mosaic_09cm_area{area}.tif", size)
        label = root / f"gts_eroded/top_mosaic_09cm_area{area}_noBoundary.tif"
        ids[f"top_mosaic_09cm_area{area}"] = colors(label, ISPRS, size)
    colors(root / "gts_eroded/top_mosaic_09cm_area9_noBoundary.tif", ISPRS, (50, 50))
    return ids


def uavid(root: Path) -> dict[str, np.ndarray]:
    ids = {}
    for part, sequence in (("train", "seq1"), ("train", "seq2"), ("val", "seq16")):
        for frame in ("000000", "000100"):
            folder = root / f"uavid_{part}/{sequence}"
            photograph(folder / f"Images/{frame}.png", (36, 64), seed=len(ids))
            label = folder / f"Labels/{frame}.png"
            ids[f"{sequence}_{frame}"] = colors(label, UAVID, (36, 64), ignored=False)
    photograph(root / "uavid_test/seq21/Images/000000.png", (36, 64))
    return ids


def _drone(root: Path, classes: ClassSet, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    ids = {}
    for number, part in enumerate(parts):
        name = f"DJI_{number:04d}"
        photograph(root / f"{part}/src/{name}.JPG", (30, 40))
        ids[name] = numbers(root / f"{part}/gt/{name}.png", len(classes), (30, 40))
    return ids


def udd5(root: Path) -> dict[str, np.ndarray]:
    colors(root / "UDD/UDD6/train/gt/DJI_0900.png", UDD5, (30, 40))
    photograph(root / "UDD/UDD6/train/src/DJI_0900.JPG", (30, 40))
    return _drone(root / "UDD/UDD5", UDD5, ("train", "train", "val"))


def vdd(root: Path) -> dict[str, np.ndarray]:
    return _drone(root / "VDD", VDD, ("train", "val", "test"))


OFFICIAL = {
    "DLRSD": dlrsd,
    "iSAID": isaid,
    "LoveDA": loveda,
    "Potsdam": potsdam,
    "Vaihingen": vaihingen,
    "UAVid": uavid,
    "UDD5": udd5,
    "VDD": vdd,
}
"""Dataset -> a function that writes its download below a folder and returns stem -> class ids."""


VAIHINGEN_AREAS = {1: (30, 40), 13: (40, 25), 30: (20, 20), 38: (35, 50)}
"""Area -> (height, width) of its miniature: two areas of train, one of val, one of test."""


def vaihingen_geoseg(root: Path) -> dict[str, np.ndarray]:
    """Return the ids that are read: of the full labels of 1 and 13, of the eroded ones of 30 and 38."""
    ids = {}
    for area, size in VAIHINGEN_AREAS.items():
        name = f"top_mosaic_09cm_area{area}"
        photograph(root / f"vaihingen/top/{name}.tif", size)
        full = colors(root / f"complete/{name}.tif", ISPRS, size, ignored=False)
        eroded = colors(root / f"eroded/{name}_noBoundary.tif", ISPRS, size)
        ids[name] = full if area in (1, 13) else eroded
    colors(root / "vaihingen/gts_for_participants/top_mosaic_09cm_area1.tif", ISPRS, (9, 9))
    colors(root / "eroded/top_mosaic_09cm_area9_noBoundary.tif", ISPRS, (50, 50))
    return ids


def potsdam_geoseg(root: Path) -> dict[str, np.ndarray]:
    """Write 7_10 too, which no recipe reads."""
    ids = {}
    for tile in ("2_10", "6_7", "7_10", "7_13"):
        name, size = f"top_potsdam_{tile}", (40, 40)
        photograph(root / f"2_Ortho_RGB/{name}_RGB.tif", size)
        photograph(root / f"3_Ortho_IRRG/{name}_IRRG.tif", size)
        full = colors(root / f"5_Labels_all/{name}_label.tif", ISPRS, size, ignored=False)
        eroded = colors(root / f"5_Labels_all_noBoundary/{name}_label_noBoundary.tif", ISPRS, size)
        ids[name] = full if tile == "6_7" else eroded
    del ids["top_potsdam_7_10"]
    return ids


def deepglobe(root: Path) -> dict[str, np.ndarray]:
    """Write the first two images of each published list, and one without a label; 0 is unknown."""
    ids = {}
    for part in LISTS["deepglobe"]:
        for stem in read_list(f"deepglobe_{part}")[:2]:
            photograph(root / f"train/{stem}_sat.jpg", (24, 24))
            ids[stem] = colors(
                root / f"train/{stem}_mask.png", DEEPGLOBE_WITH_UNKNOWN, (24, 24), ignored=False
            )
    photograph(root / "valid/1_sat.jpg", (24, 24))
    return ids


def inria(root: Path) -> dict[str, np.ndarray]:
    """Write every image of the published lists, and one of the official test set, without a label."""
    ids = {}
    for part in LISTS["inria"]:
        for stem in read_list(f"inria_{part}"):
            photograph(root / f"AerialImageDataset/train/images/{stem}.tif", (10, 15))
            label = root / f"AerialImageDataset/train/gt/{stem}.tif"
            label.parent.mkdir(parents=True, exist_ok=True)
            ids[stem] = ids_of(label, 2, (10, 15), ignored=False)
            Image.fromarray(ids[stem] * np.uint8(255)).save(label)
    photograph(root / "AerialImageDataset/test/images/bellingham1.tif", (10, 15))
    return ids


CLOSED_SET = {
    "Vaihingen_geoseg": vaihingen_geoseg,
    "Potsdam_geoseg": potsdam_geoseg,
    "deepglobe": deepglobe,
    "inria": inria,
}
"""The same for the datasets of the closed-set methods."""


def zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    """Write all files below `folder` into one zip archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            out.write(file, prefix + file.relative_to(folder).as_posix())
    return archive


PARTIAL = {"deepglobe": {"allow_missing": True}}
"""Options that a miniature needs: that of DeepGlobe has two images of each published list."""


def prepare_quietly(name: str, source: Path, root: Path, workers: int = 2, **options) -> Summary:
    """Prepare a dataset from one source, without a progress bar."""
    options = PARTIAL.get(name, {}) | options
    return prepare(name, [source], root, Options(**options), workers=workers, progress=False)


def stems_of(root: Path, name: str) -> list[str]:
    """Return the stems of a prepared split called `<name>_sem_seg`."""
    return [pair.image.stem for pair in pairs(find_split(f"{name}_sem_seg"), root)]
