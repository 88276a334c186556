"""Miniature datasets of synthetic scenes, written in the prepared layout of the catalog."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from rskt_seg.data.catalog import find_split
from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.data.published_sets import drawn_manifest
from rskt_seg.errors import DatasetError
from rskt_seg.synthetic.compose import Scene, render_scene
from rskt_seg.synthetic.concepts import CONCEPTS, INDEX, NAMES, UNSEEN
from rskt_seg.writing import replacing

_GENERATOR = 1
"""Raise it whenever the same parameters would draw other pictures."""
_UNSEEN_SCENES = 20_000_000
"""Index of the first scene that is in no set."""
_JPEG = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Miniature:
    """A miniature dataset. Names of splits are those of the catalog; at least `both` or `train` is given.

    Attributes:
        name: Its name.
        both: Split of all its scenes but those of `test`, None if there is none.
        style: Name in `STYLES`.
        concepts: What its scenes may contain.
        train: Split of the training scenes, None for a set that is only tested on.
        val: Split of the validation scenes, None for a set that is only tested on.
        border: Pixels on either side of a border between classes that are ignored.
        test: Split of further scenes, None if there are none.
        ground: Class id of concepts that no class names.
    """

    name: str
    both: str | None
    style: str
    concepts: tuple[str, ...]
    train: str | None = None
    val: str | None = None
    border: int = 0
    test: str | None = None
    ground: int = IGNORE_LABEL

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the catalog."""
        name = self.both or self.train
        if name is None:
            raise DatasetError(f"{self.name}: a miniature dataset needs a split `both` or `train`")
        return find_split(name).class_set.names

    def label_table(self) -> np.ndarray:
        """Return (256,) uint8: concept -> class id, `ground` if no class names the concept.

        If two classes name a concept, the earlier one counts.
        """
        table = np.full(256, self.ground, np.uint8)
        for label, name in reversed(list(enumerate(self.classes))):
            for concept in NAMES[name.lower()]:
                table[INDEX[concept]] = label
        return table

    def labels(self, scene: Scene) -> np.ndarray:
        """Return the class ids of a scene.

        Args:
            scene: A synthetic scene.

        Returns:
            (H, W) uint8; 255 is the `ignore_label`.
        """
        ids = self.label_table()[scene.concept_map]
        if not self.border:
            return ids
        size = 2 * self.border + 1
        uniform = ndimage.minimum_filter(ids, size) == ndimage.maximum_filter(ids, size)
        return np.where(uniform, ids, np.uint8(IGNORE_LABEL))

    def undrawn(self) -> tuple[str, ...]:
        """Return the classes that occur in no scene of the miniature DLRSD."""
        return tuple(name for name in self.classes if set(NAMES[name.lower()]) <= UNSEEN)

    def parts(self, num_train: int, num_val: int, num_test: int = 0) -> dict[str, range]:
        """Return split -> the scenes that it holds.

        Args:
            num_train: Number of training scenes.
            num_val: Number of validation scenes.
            num_test: Number of test scenes.

        Returns:
            Name of each split of the catalog -> the indices of its scenes.
        """
        total = num_train + num_val
        splits = (
            (self.train, range(num_train)),
            (self.val, range(num_train, total)),
            (self.both, range(total)),
            (self.test, range(total, total + num_test)),
        )
        return {name: scenes for name, scenes in splits if name}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


_ISAID = (
    "ship, tanks, baseball diamond, court, basketball court, ground track field, bridge, "
    "large vehicle, cars, helicopter, swimming pool, roundabout, soccer ball field, airplane, dock, "
    "buildings, grass, bare soil, pavement, road, water, sea"
)
_TOWN = "buildings, pavement, road, grass, bare soil, trees, cars, clutter"
_ROWS = (
    Miniature(
        "DLRSD",
        "DLRSD_all_sem_seg",
        "dlrsd",
        tuple(name for name in CONCEPTS if name not in UNSEEN),
        train="DLRSD_train_sem_seg",
        val="DLRSD_val_sem_seg",
    ),
    Miniature("iSAID", "iSAID_all_sem_seg", "isaid", _words(_ISAID)),
    Miniature(
        "LoveDA",
        "LoveDA_all_sem_seg",
        "loveda",
        _words("clutter, buildings, road, water, bare soil, sand, forest, field, grass"),
    ),
    Miniature("Potsdam", "Potsdam_all_sem_seg", "potsdam", _words(_TOWN), border=1),
    Miniature("UAVid", "uavid_all_sem_seg", "uavid", _words(_TOWN + ", human")),
    Miniature("UDD5", "UDD5_all_sem_seg", "udd5", _words(_TOWN + ", large vehicle, field, forest")),
    Miniature("Vaihingen", "Vaihingen_all_sem_seg", "vaihingen", _words(_TOWN), border=1),
    Miniature("VDD", "VDD_all_sem_seg", "vdd", _words(_TOWN + ", wall, water, field, large vehicle")),
)
MINIATURES: dict[str, Miniature] = {row.name: row for row in _ROWS}
"""Name -> miniature dataset, in the order of the published tables."""
WSSS_MINIATURES: dict[str, Miniature] = {
    "iSAID_wsss": Miniature(
        "iSAID_wsss",
        None,
        "isaid",
        _words(_ISAID),
        train="iSAID_wsss_train_sem_seg",
        val="iSAID_wsss_val_sem_seg",
        test="iSAID_wsss_test_sem_seg",
        ground=0,
    )
}
"""Name -> miniature dataset of the weakly supervised method; concepts without a class are background (0)."""
_STREAMS = [*MINIATURES, *WSSS_MINIATURES]
"""The position of a name seeds what is drawn: new ones go to the end."""


def render_unseen(row: Miniature, seed: int, index: int, side: int) -> Scene:
    """Render a scene in the manner of a miniature dataset that none of its sets holds, whatever their seed.

    Args:
        row: The dataset.
        seed: Seed of the scenes.
        index: Which of them, from 0.
        side: Side (px) of the scene.

    Returns:
        The scene; `row.labels` has its class ids.
    """
    # Scenes of sets are seeded by three numbers.
    rng = np.random.default_rng([seed, _UNSEEN_SCENES + index])
    return render_scene(rng, side, row.style, row.concepts)


def write_miniature(
    row: Miniature, root: str | Path, num_train: int, num_val: int, seed: int, side: int, num_test: int = 0
) -> int:
    """Write the scenes of a miniature dataset, images (JPEG or PNG, as in the catalog) and 8-bit label PNGs.

    Scene i of a set depends on `seed` and i only. A complete set with the same parameters is kept, an
    interrupted one is completed.

    Args:
        row: The dataset.
        root: Root of the datasets.
        num_train: Training scenes, 0 for a set that is only tested on.
        num_val: Validation scenes, at least 1.
        seed: Seed of the set.
        side: Side (px) of a scene.
        num_test: Scenes of the test split, if the set has one.

    Returns:
        How many scenes were drawn.

    Raises:
        DatasetError: For impossible counts, and, changing nothing, if the folders hold a set with other
            parameters or files that this function did not write.
    """
    if num_val < 1 or (num_train < 1) == (row.train is not None):
        wanted = "at least one scene to train and one" if row.train else "no scene to train and at least one"
        raise DatasetError(f"{row.name}: {wanted} to validate expected; found {num_train} and {num_val}")
    if (num_test > 0) != (row.test is not None):
        wanted = "at least one scene" if row.test else "no scene"
        raise DatasetError(f"{row.name}: {wanted} to test expected; found {num_test}")
    root = Path(root)
    parameters: dict[str, str | int] = {
        "dataset": row.name, "generator": _GENERATOR, "seed": seed, "side": side,
        "num_train": num_train, "num_val": num_val,
    }  # fmt: skip
    if row.test:
        parameters["num_test"] = num_test
    parts = row.parts(num_train, num_val, num_test)
    manifest = root / drawn_manifest(row.name)
    _check_folders(manifest, parameters, root, parts)
    for folder in (folder for name in parts for folder in _folders(root, name)):
        folder.mkdir(parents=True, exist_ok=True)
    _write(manifest, json.dumps(parameters, indent=1).encode())
    stream = _STREAMS.index(row.name)
    scenes = range(num_train + num_val + num_test)
    missing = [i for i in scenes if not all(p.exists() for pair in _files(root, parts, i) for p in pair)]
    for index in tqdm(missing, desc=f"drawing {row.name}", unit="scene", disable=not missing):
        rng = np.random.default_rng([seed, index, stream])
        scene = render_scene(rng, side, row.style, row.concepts)
        _write_scene(scene.image, row.labels(scene), _files(root, parts, index))
    return len(missing)


def _folders(root: Path, name: str) -> tuple[Path, Path]:
    split = find_split(name)
    return root / split.images, root / split.labels


def _files(root: Path, parts: dict[str, range], index: int) -> list[tuple[Path, Path]]:
    """Return image and label of scene `index` in every split that holds it."""
    files = []
    for name, scenes in parts.items():
        if index in scenes:
            images, labels = _folders(root, name)
            extension = find_split(name).image_extensions[0]
            files.append((images / f"{_stem(index)}.{extension}", labels / f"{_stem(index)}.png"))
    return files


def _stem(index: int) -> str:
    return f"scene{index:05d}"


def _check_folders(
    manifest: Path, parameters: dict[str, str | int], root: Path, parts: dict[str, range]
) -> None:
    """Raise `DatasetError` if the folders hold another set or files of other origin."""
    if manifest.exists():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if found != parameters:
            raise DatasetError(
                f"{manifest} describes another set: {found}, asked for {parameters}; choose another root, "
                f"or delete that file and the folders beside it"
            )
    for name, scenes in parts.items():
        known = {_stem(index) for index in scenes} if manifest.exists() else set()
        for folder in _folders(root, name):
            stems = {p.stem for p in folder.glob("[!.]*")} if folder.is_dir() else set()
            if foreign := sorted(stems - known):
                raise DatasetError(
                    f"{folder} holds {len(foreign)} files that are not of this miniature set, {foreign[0]!r} "
                    f"the first; choose another root: nothing is overwritten"
                )


def _write_scene(image: np.ndarray, labels: np.ndarray, files: list[tuple[Path, Path]]) -> None:
    for pair in files:
        for array, path in zip((image, labels), pair, strict=True):
            kind, options = ("JPEG", _JPEG) if path.suffix.lower() == ".jpg" else ("PNG", {})
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, kind, **options)
            _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(data)
