"""Miniature datasets of synthetic scenes, written in the prepared layout of the data table."""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from rskt_seg.data.catalog import IGNORE_LABEL, find_split
from rskt_seg.data.scenes.compose import Scene, render_scene
from rskt_seg.data.scenes.concepts import CONCEPTS, INDEX, NAMES, UNSEEN
from rskt_seg.errors import DatasetError

_GENERATOR = 1
"""Raise it whenever the same parameters would draw other pictures."""
_JPEG = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Miniature:
    """One miniature dataset. `train`, `val`, `both`: names in the data table (both: train and val again).
    `style`: a name in `STYLES`; `concepts`: what its scenes may contain; what no class names is ignored."""

    name: str
    train: str
    val: str
    both: str
    style: str
    concepts: tuple[str, ...]

    def label_table(self) -> np.ndarray:
        """(256,) uint8: concept -> class id, 255 where no class is true of the concept.

        The classes are those of `train`; where two are true of a concept, the earlier one counts.
        """
        table = np.full(256, IGNORE_LABEL, np.uint8)
        for label, name in reversed(list(enumerate(find_split(self.train).class_set.names))):
            for concept in NAMES[name.lower()]:
                table[INDEX[concept]] = label
        return table


MINIATURES: dict[str, Miniature] = {
    row.name: row
    for row in (
        Miniature(
            "DLRSD",
            "DLRSD_train_sem_seg",
            "DLRSD_val_sem_seg",
            "DLRSD_all_sem_seg",
            "dlrsd",
            tuple(name for name in CONCEPTS if name not in UNSEEN),
        ),
    )
}
"""Name -> miniature dataset."""


def write_dlrsd(root: str | Path, num_train: int, num_val: int, seed: int, side: int = 96) -> int:
    """Write the miniature DLRSD under `root`; see `write_miniature`."""
    return write_miniature(MINIATURES["DLRSD"], root, num_train, num_val, seed, side)


def write_miniature(
    row: Miniature, root: str | Path, num_train: int, num_val: int, seed: int, side: int
) -> int:
    """Write `num_train` + `num_val` scenes of `side` px, JPEG images and 8-bit label PNGs; returns how many
    scenes were drawn.

    Scene i depends on `seed` and i alone. A complete set with the same parameters is kept (0 is returned),
    an interrupted one is completed. Raises `DatasetError`, and changes nothing, where the folders hold
    a set with other parameters or files that this function did not write.
    """
    if min(num_train, num_val) < 1:
        raise DatasetError(f"a dataset needs at least one scene to train and one to validate; "
                           f"found {num_train} and {num_val}")  # fmt: skip
    root = Path(root)
    folders = _folders(row, root)
    parameters = {
        "dataset": row.name, "generator": _GENERATOR, "seed": seed, "side": side,
        "num_train": num_train, "num_val": num_val,
    }  # fmt: skip
    stems = [f"scene{index:05d}" for index in range(num_train + num_val)]
    parts = {"train": stems[:num_train], "val": stems[num_train:], "both": stems}
    manifest = root / f"{row.name}_miniature.json"
    _refuse_others(manifest, parameters, folders, parts)
    for folder in (folder for pair in folders.values() for folder in pair):
        folder.mkdir(parents=True, exist_ok=True)
    _write(manifest, json.dumps(parameters, indent=1).encode())
    missing = [
        i for i in range(len(stems)) if not all(p.exists() for p in _paths(folders, i, num_train, stems[i]))
    ]
    table = row.label_table()
    for index in tqdm(missing, desc=f"drawing {row.name}", unit="scene", disable=not missing):
        rng = np.random.default_rng([seed, index])
        scene = render_scene(rng, side, row.style, row.concepts)
        _write_scene(scene, table, _paths(folders, index, num_train, stems[index]))
    return len(missing)


def _folders(row: Miniature, root: Path) -> dict[str, tuple[Path, Path]]:
    splits = {part: find_split(getattr(row, part)) for part in ("train", "val", "both")}
    return {part: (root / split.images, root / split.labels) for part, split in splits.items()}


def _paths(folders: dict[str, tuple[Path, Path]], index: int, num_train: int, stem: str) -> list[Path]:
    """Image, label, image, label: where scene `index` goes."""
    parts = ("train" if index < num_train else "val", "both")
    return [
        folder / f"{stem}{ext}"
        for part in parts
        for folder, ext in zip(folders[part], (".jpg", ".png"), strict=True)
    ]


def _refuse_others(
    manifest: Path, parameters: dict, folders: dict[str, tuple[Path, Path]], parts: dict[str, list[str]]
) -> None:
    if manifest.exists():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if found != parameters:
            raise DatasetError(
                f"{manifest} describes another set: {found}, asked for {parameters}; choose another root, "
                f"or delete that file and the folders beside it"
            )
    for part, pair in folders.items():
        known = set(parts[part]) if manifest.exists() else set()
        for folder in pair:
            found = {p.stem for p in folder.glob("[!.]*")} if folder.is_dir() else set()
            if foreign := sorted(found - known):
                raise DatasetError(
                    f"{folder} holds {len(foreign)} files that are not of this miniature set, {foreign[0]!r} "
                    f"the first; choose another root: nothing is overwritten"
                )


def _write_scene(scene: Scene, table: np.ndarray, paths: list[Path]) -> None:
    encoded = []
    for array, kind, options in ((scene.image, "JPEG", _JPEG), (table[scene.concept_map], "PNG", {})):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        encoded.append(buffer.getvalue())
    for path, data in zip(paths, encoded * 2, strict=True):
        _write(path, data)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: a killed run leaves a hidden file, never half an image."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(data)
    os.replace(partial, path)
