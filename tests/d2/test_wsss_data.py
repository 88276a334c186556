"""Data of the weakly supervised method: image-level labels, and training images without label files."""

import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.d2 import load_config
from rskt_seg.d2.augmentation import FillTransform, RandomCropOrFill, RandomScaleBetween
from rskt_seg.d2.datasets import load_datasets, register_own, with_image_labels
from rskt_seg.d2.loaders import check_datasets, evaluation_loader, training_loader
from rskt_seg.d2.mapper import RSDatasetMapper, WeakDatasetMapper, training_mapper
from rskt_seg.d2.methods.wsss import SegmentorCams
from rskt_seg.data.catalog import find_split
from rskt_seg.errors import ConfigError, DatasetError, ImageReadError, LabelError
from tests.d2.conftest import CONFIGS, tiny_config

TINY = str(CONFIGS.parent / "wsss" / "tiny.yaml")
SIDE = 32
MEAN = (123, 117, 104)
STILL = (
    "INPUT.SCALE_RANGE",
    "(1.0,1.0)",
    "INPUT.ROTATE90",
    "0.0",
    "INPUT.HFLIP",
    "0.0",
    "INPUT.VFLIP",
    "0.0",
)
TRAIN, TEST = "iSAID_wsss_train_sem_seg", "iSAID_wsss_test_sem_seg"


def config(*opts: str):
    """The tiny configuration of the weakly supervised method, with crops of 32 px and batches of two."""
    small = ("MODEL.DEVICE", "cpu", "INPUT.CROP.SIZE", f"[{SIDE},{SIDE}]", "SOLVER.IMS_PER_BATCH", "2")
    return load_config(TINY, [*small, "DATALOADER.NUM_WORKERS", "0", *opts])


def noise(folder: Path, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, dict]:
    """An image of noise without any of the mean colour, and its dict with labels that are not there."""
    pixels = np.random.default_rng(seed).integers(0, 100, (height, width, 3), np.uint8)
    path = folder / f"noise{seed}.png"
    Image.fromarray(pixels).save(path)
    entry = {"file_name": str(path), "sem_seg_file_name": str(folder / "none.png"), "image_labels": (1, 4)}
    return pixels.transpose(2, 0, 1), entry | {"vocabulary": ("a", "b", "c", "d", "e"), "ignore": 255}


def mapped(mapper: RSDatasetMapper, entry: dict, seed: int) -> dict:
    np.random.seed(seed)  # noqa: NPY002  (Detectron2 draws from NumPy's global generator)
    return mapper(entry)


def symmetries(pixels: np.ndarray) -> list[np.ndarray]:
    """The eight flips and turns of (3, H, W): turned by 0, 90, 180, 270, then mirrored and turned."""
    return [np.rot90(view, k, axes=(1, 2)) for view in (pixels, pixels[..., ::-1]) for k in range(4)]


def views(folder: Path, *opts: str) -> set[int]:
    """Which symmetries of a whole image come out of the mapper where nothing is cut off."""
    pixels, entry = noise(folder, SIDE, SIDE)
    mapper = training_mapper(config(*STILL[:2], *opts), [entry])
    seen = set()
    for seed in range(60):
        image = mapped(mapper, entry, seed)["image"].numpy()
        seen.add([np.array_equal(image, view) for view in symmetries(pixels)].index(True))
    return seen


def test_a_sample_is_an_image_where_it_is_valid_and_its_classes_and_no_label_file_is_opened(tmp_path):
    _, entry = noise(tmp_path, 70, 50)
    mapper = training_mapper(config(), [entry])
    for seed in range(20):
        result = mapped(mapper, entry, seed)
        assert result["image"].shape == (3, SIDE, SIDE) and result["image"].dtype == torch.uint8
        assert result["valid"].shape == (SIDE, SIDE) and result["valid"].dtype == torch.bool
        assert "sem_seg" not in result and result["image_labels"] == (1, 4)
        assert (result["height"], result["width"]) == (70, 50)


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 99))
def test_a_small_image_is_filled_at_the_right_and_bottom_with_the_mean_colour(
    tmp_path_factory, height, width, seed
):
    pixels, entry = noise(tmp_path_factory.mktemp("small"), height, width)
    mapper = training_mapper(config(*STILL), [entry])
    result = mapped(mapper, entry, seed)
    tall, wide = min(height, SIDE), min(width, SIDE)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:tall, :wide] = True
    image = result["image"].numpy()
    assert np.array_equal(result["valid"].numpy(), inside)
    assert (image[:, ~inside] == np.array(MEAN)[:, None]).all()
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (tall, wide), axis=(1, 2))
    assert (windows == image[:, None, None, :tall, :wide]).all(axis=(0, 3, 4)).sum() == 1


def test_every_place_of_a_crop_is_drawn(tmp_path):
    pixels, entry = noise(tmp_path, SIDE + 2, SIDE + 1)
    mapper = training_mapper(config(*STILL), [entry])
    seen = set()
    for seed in range(60):
        image = mapped(mapper, entry, seed)["image"].numpy()
        cuts = {(y, x): pixels[:, y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(2)}
        seen |= {place for place, cut in cuts.items() if np.array_equal(cut, image)}
    assert len(seen) == 6


def test_all_eight_symmetries_occur(tmp_path):
    assert views(tmp_path) == set(range(8))


@pytest.mark.parametrize(
    ("horizontal", "vertical", "turn", "expected"),
    [
        ("0.0", "0.0", "0.0", {0}),
        ("1.0", "0.0", "0.0", {4}),
        ("0.0", "1.0", "0.0", {6}),
        ("0.0", "0.0", "1.0", {1, 2, 3}),
        ("1.0", "1.0", "0.0", {2}),
    ],
)
def test_probabilities_of_zero_and_one_are_exact(tmp_path, horizontal, vertical, turn, expected):
    opts = ("INPUT.HFLIP", horizontal, "INPUT.VFLIP", vertical, "INPUT.ROTATE90", turn)
    assert views(tmp_path, *opts) == expected


def test_the_least_scale_shows_the_whole_tile_and_never_needs_filling(tmp_path):
    _, entry = noise(tmp_path, 512, 512)
    cfg = load_config(str(TINY).replace("tiny", "vitb_isaid"))
    assert tuple(cfg.INPUT.SCALE_RANGE) == (0.625, 1.25) and tuple(cfg.INPUT.CROP.SIZE) == (320, 320)
    mapper = training_mapper(cfg, [entry])
    for seed in range(12):
        assert mapped(mapper, entry, seed)["valid"].all()
    mapper = training_mapper(
        config("INPUT.CROP.SIZE", "[320,320]", "INPUT.SCALE_RANGE", "(0.5,0.5)"), [entry]
    )
    assert mapped(mapper, entry, 0)["valid"].sum() == 256 * 256


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 2), st.floats(0, 2), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_scales_lie_between_their_bounds_and_keep_the_shape(low, more, height, width, seed):
    np.random.seed(seed)  # noqa: NPY002
    made = RandomScaleBetween(low, low + more).get_transform(np.zeros((height, width, 3), np.uint8))
    sides = ((made.new_h, height), (made.new_w, width))
    for new, old in sides:
        assert max(1, low * old - 0.51) <= new <= max(1, (low + more) * old + 0.51)
    # One factor for both sides: each side leaves an interval for it, and the intervals meet.
    bounds = [((new - 0.5) / old if new > 1 else 0, (new + 0.5) / old) for new, old in sides]
    assert max(b[0] for b in bounds) <= min(b[1] for b in bounds) + 1e-9


def test_scales_fill_the_range_evenly():
    np.random.seed(0)  # noqa: NPY002
    image = np.zeros((1000, 1000, 3), np.uint8)
    sides = [RandomScaleBetween(0.5, 1.5).get_transform(image).new_h for _ in range(2000)]
    counts = np.histogram(sides, bins=5, range=(500, 1500))[0]
    assert counts.sum() == 2000 and counts.min() > 330 and counts.max() < 470


def test_filling_can_be_undone_and_leaves_points_where_they_are():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    made = FillTransform(5, 7, (9, 8), MEAN, ignore=3)
    assert np.array_equal(made.inverse().apply_image(made.apply_image(image)), image)
    assert (made.apply_image(image)[5:] == MEAN).all() and (made.apply_image(image)[:, 7:] == MEAN).all()
    label = made.apply_segmentation(image[..., 0])
    assert label.shape == (9, 8) and (label[5:] == 3).all() and np.array_equal(label[:5, :7], image[..., 0])
    points = np.array([[0.0, 0.0], [6.5, 4.5]])
    assert np.array_equal(made.apply_coords(points), points)


def test_a_crop_and_the_points_in_it_move_together():
    np.random.seed(3)  # noqa: NPY002
    image = np.zeros((40, 20, 3), np.uint8)
    image[25, 11] = 255
    made = RandomCropOrFill((30, 24), MEAN, 255).get_transform(image)
    ((x, y),) = made.apply_coords(np.array([[11.0, 25.0]]))
    assert (made.apply_image(image)[int(y), int(x)] == 255).all()


def test_the_seed_alone_decides_and_a_copy_for_a_worker_process_does_the_same(tmp_path):
    _, entry = noise(tmp_path, 50, 60)
    mapper = training_mapper(config(), [entry])
    copied = pickle.loads(pickle.dumps(mapper))
    images = []
    for seed in range(8):
        first, again, other = (mapped(each, entry, seed) for each in (mapper, mapper, copied))
        assert torch.equal(first["image"], again["image"]) and torch.equal(first["image"], other["image"])
        assert torch.equal(first["valid"], other["valid"])
        images.append(first["image"])
    assert sum(torch.equal(images[0], image) for image in images) == 1


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"a\.png cannot be read"):
        training_mapper(config(), [])({"file_name": str(tmp_path / "a.png")})


def test_only_this_chain_has_samples_without_labels():
    assert type(training_mapper(config(), [])) is WeakDatasetMapper
    assert type(training_mapper(tiny_config(), [])) is RSDatasetMapper


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (("INPUT.SCALE_RANGE", "(1.25,0.625)"), r"INPUT\.SCALE_RANGE must be two factors above 0, ascending"),
        (("INPUT.SCALE_RANGE", "(0.0,1.0)"), r"INPUT\.SCALE_RANGE"),
        (("INPUT.SCALE_RANGE", "(1.0,)"), r"INPUT\.SCALE_RANGE"),
        (("INPUT.HFLIP", "1.5"), r"INPUT\.HFLIP must be a probability"),
        (("INPUT.VFLIP", "-1.0"), r"INPUT\.VFLIP must be a probability"),
        (("INPUT.ROTATE90", "2.0"), r"INPUT\.ROTATE90 must be a probability"),
        (("INPUT.COLOR_AUG_SSD", "True"), r"INPUT\.COLOR_AUG_SSD has no effect"),
        (("INPUT.SIZE_DIVISIBILITY", "16"), r"INPUT\.SIZE_DIVISIBILITY has no effect"),
        (("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", "0.75"), "SINGLE_CATEGORY_MAX_AREA has no effect"),
        (("INPUT.CROP.ENABLED", "False"), r"set INPUT\.CROP\.ENABLED True"),
        (("INPUT.CROP.TYPE", "relative_range"), r"AUGMENTATION wsss crops .*INPUT\.CROP\.TYPE absolute"),
        (("INPUT.CROP.SIZE", "[0.9,0.9]"), r"INPUT\.CROP\.SIZE"),
    ],
)
def test_a_chain_that_cannot_be_built_is_refused_with_its_key(opts, words):
    with pytest.raises(ConfigError, match=words):
        training_mapper(config(*opts), [])


def test_the_chain_and_the_head_go_together_and_the_threshold_is_at_least_one_pixel():
    with pytest.raises(ConfigError, match=r"goes with the head PriorWSSSHead alone.*wsss and RSKTSegHead"):
        tiny_config("INPUT.AUGMENTATION", "wsss")
    with pytest.raises(ConfigError, match="that head with nothing else; found ovrsis and PriorWSSSHead"):
        config("INPUT.AUGMENTATION", "ovrsis", "INPUT.SCALE_RANGE", "(0.625, 1.25)")
    with pytest.raises(ConfigError, match=r"DATASETS\.MIN_LABEL_PIXELS must be at least 1; found 0"):
        config("DATASETS.MIN_LABEL_PIXELS", "0")


def write_crops(root: Path, part: str, masks: dict[str, list[list[int]]]) -> None:
    split = find_split(f"iSAID_wsss_{part}_sem_seg")
    for folder in (split.images, split.labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (stem, rows) in enumerate(masks.items()):
        ids = np.array(rows, np.uint8).repeat(20, 0).repeat(20, 1)
        pixels = np.random.default_rng(number).integers(0, 256, (*ids.shape, 3), np.uint8)
        Image.fromarray(pixels).save(root / split.images / f"{stem}.png")
        Image.fromarray(ids).save(root / split.labels / f"{stem}.png")


MASKS = {"P1_0": [[0, 3], [3, 15]], "P1_1": [[255, 255], [0, 0]], "P2_5": [[7, 7], [7, 255]]}
SHOWN = {"P1_0": (0, 3, 15), "P1_1": (0,), "P2_5": (7,)}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Crops of 40 px to train and to test on, which the run's environment points to."""
    for part in ("train", "test"):
        write_crops(tmp_path / "data", part, MASKS)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    return tmp_path / "data"


def by_stem(entries) -> dict[str, tuple[int, ...]]:
    return {Path(entry["file_name"]).stem: entry["image_labels"] for entry in entries}


def batches(loader, count: int) -> list[dict]:
    iterator = iter(loader)
    return [entry for _ in range(count) for entry in next(iterator)]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_reads_masks_once_at_its_beginning_and_no_label_file_after_that(root, workers):
    loader = training_loader(config("DATALOADER.NUM_WORKERS", workers))
    shutil.rmtree(root / "iSAID_wsss/train/labels")
    entries = batches(loader, 8)
    assert by_stem(entries) == SHOWN
    for entry in entries:
        assert entry["image"].shape == (3, SIDE, SIDE) and entry["valid"].shape == (SIDE, SIDE)
        assert "sem_seg" not in entry


def test_a_class_of_too_few_pixels_is_not_in_the_label(root):
    loader = training_loader(config("DATASETS.MIN_LABEL_PIXELS", "401"))
    assert by_stem(batches(loader, 8)) == {"P1_0": (3,), "P1_1": (0,), "P2_5": (7,)}


def test_a_faulty_mask_stops_the_training_before_it_begins(root):
    mask = root / "iSAID_wsss/train/labels/P1_1.png"
    Image.fromarray(np.full((40, 40), 16, np.uint8)).save(mask)
    with pytest.raises(LabelError, match=r"P1_1\.png: found ids 16"):
        training_loader(config())


def test_a_training_with_masks_has_no_image_level_labels(root):
    cfg = tiny_config("DATASETS.TRAIN", f"('{TRAIN}',)", "INPUT.CROP.SIZE", "[32,32]")
    assert all(
        "image_labels" not in entry and "sem_seg" in entry for entry in batches(training_loader(cfg), 1)
    )


def test_where_cams_are_scored_each_image_takes_its_labels_from_its_mask(root):
    asked = []
    head = SimpleNamespace(cam_labels=lambda entry: asked.append(entry) or torch.zeros(1, 1))
    cams = SegmentorCams(head)
    for batch in evaluation_loader(config("TEST.CAM", "True"), TEST):
        assert all("image_labels" not in entry for entry in batch)
        cams(batch)
    assert len(asked) == 3 and by_stem(asked) == SHOWN


CLASSES = ("background", "road", "tree")


@pytest.fixture
def own(tmp_path):
    """A folder of own data: the split `weak` of its YAML file has a file of classes, `both` that file and
    masks, and `masks` masks alone. The datasets are forgotten afterwards."""
    before = set(DatasetCatalog.list())
    folder = tmp_path / "farm"
    for name in "xy":
        (folder / name).mkdir(parents=True)
    for number, stem in enumerate("abc"):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 44, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"x/{stem}.jpg")
        ids = np.full((40, 44), number % 2, np.uint8)
        ids[0] = 2
        Image.fromarray(ids).save(folder / f"y/{stem}.png")
    (folder / "labels.csv").write_text("a,tree\nb,road,tree\nc\n")
    weak, masks = "images: x, image_labels: labels.csv", "images: x, labels: y"
    (folder / "farm.yaml").write_text(
        f"name: farm\nclasses: [{', '.join(CLASSES)}]\nignore: 2\n"
        f"splits: {{weak: {{{weak}}}, both: {{{weak}, labels: y}}, masks: {{{masks}}}}}\n"
    )
    yield folder
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def farm(own: Path, train: str, test: str = "", make=config):
    names = [f"('farm_{part}_sem_seg',)" if part else "()" for part in (train, test)]
    opts = (
        "DATASETS.OWN",
        f"('{own / 'farm.yaml'}',)",
        "DATASETS.TRAIN",
        names[0],
        "DATASETS.TEST",
        names[1],
    )
    return make(*opts)


def test_somebody_without_masks_can_train(own):
    cfg = farm(own, "weak")
    shutil.rmtree(own / "y")
    (own / "farm.yaml").write_text((own / "farm.yaml").read_text().replace(", labels: y", ""))
    with pytest.raises(DatasetError, match=r"splits\.masks: missing key labels"):
        check_datasets(cfg, training=True)
    text = (own / "farm.yaml").read_text()
    (own / "farm.yaml").write_text(text[: text.index(", masks:")] + "}\n")
    check_datasets(cfg, training=True)
    entries = batches(training_loader(cfg), 8)
    assert by_stem(entries) == {"a": (2,), "b": (1, 2), "c": ()}
    assert {entry["vocabulary"] for entry in entries} == {CLASSES}


def test_a_file_comes_before_masks_and_what_masks_ignore_is_in_no_label(own):
    register_own([str(own / "farm.yaml")])
    both, masks = (
        with_image_labels(load_datasets([f"farm_{part}_sem_seg"]), 1) for part in ("both", "masks")
    )
    assert by_stem(both) == {"a": (2,), "b": (1, 2), "c": ()}
    assert by_stem(masks) == {"a": (0,), "b": (1,), "c": (0,)}
    assert all("sem_seg_file_name" in entry for entry in both)
    check_datasets(farm(own, "both", "both"), training=True)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_can_be_scored_on_image_level_labels(own, training):
    words = r"farm_weak_sem_seg: .*a\.jpg has no mask: nothing can be scored without .*out of DATASETS\.TEST"
    with pytest.raises(DatasetError, match=words):
        check_datasets(farm(own, "weak", "weak"), training=training)


def test_another_head_cannot_be_trained_on_image_level_labels(own):
    cfg = farm(own, "weak", "masks", make=tiny_config)
    with pytest.raises(DatasetError, match=r"farm_weak_sem_seg: .*a\.jpg has no mask: .*PriorWSSSHead"):
        check_datasets(cfg, training=True)
    with pytest.raises(DatasetError, match=r"[abc]\.jpg has no mask"):
        next(iter(training_loader(cfg)))
    check_datasets(farm(own, "both", "masks", make=tiny_config), training=True)


def test_a_faulty_file_or_a_broken_image_stops_the_run_and_is_named(own):
    cfg = farm(own, "weak")
    good = (own / "x/b.jpg").read_bytes()
    (own / "x/b.jpg").write_bytes(b"no image")
    with pytest.raises(
        DatasetError, match=r"image cannot be read: \S*b\.jpg .*check\.py \S*farm\.yaml` gives"
    ):
        check_datasets(cfg, training=True)
    (own / "x/b.jpg").write_bytes(good)
    (own / "labels.csv").write_text("a,tre\nb\nc\n")
    with pytest.raises(DatasetError, match=r"labels\.csv, line 1: unknown class 'tre'; did you mean tree\?"):
        check_datasets(cfg, training=True)


@pytest.mark.parametrize(("part", "make"), [("weak", config), ("masks", tiny_config)])
@pytest.mark.parametrize("training", [True, False])
def test_images_of_more_than_8_bits_stop_a_run_of_any_method(own, part, make, training):
    (own / "x/b.jpg").unlink()
    Image.fromarray(np.full((40, 44), 9000, np.uint16)).save(own / "x/b.png")
    cfg = farm(own, part, "" if training else "masks", make=make)
    words = r"more than 8 bits a sample: \S*b\.png \(16 bits\) .*gdal_translate .*check\.py \S*farm\.yaml`"
    with pytest.raises(DatasetError, match=words):
        check_datasets(cfg, training=training)


def test_a_foreign_dataset_may_bring_image_level_labels_itself():
    DatasetCatalog.register("foreign_weak", lambda: [{"file_name": "a.png", "image_labels": (1,)}])
    DatasetCatalog.register("foreign_bare", lambda: [{"file_name": "a.png"}])
    try:
        for name in ("foreign_weak", "foreign_bare"):
            MetadataCatalog.get(name).set(stuff_classes=["roof", "road"])
        assert with_image_labels(load_datasets(["foreign_weak"]), 1)[0]["image_labels"] == (1,)
        with pytest.raises(DatasetError, match=r"a\.png has neither a mask nor image-level labels"):
            with_image_labels(load_datasets(["foreign_bare"]), 1)
    finally:
        for name in ("foreign_weak", "foreign_bare"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
