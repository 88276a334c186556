"""Training images of the weakly supervised method: augmented without label files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.d2 import load_config
from rskt_seg.d2.augmentation import FillTransform, RandomCropOrFill, RandomScaleBetween
from rskt_seg.d2.mapper import RSDatasetMapper, WeakDatasetMapper, training_mapper
from rskt_seg.errors import ConfigError, ImageReadError
from tests.d2.conftest import tiny_config
from tests.d2.wsss.tiny import FILE, config

SIDE = 32
MEAN = (123, 117, 104)
STILL = ("INPUT.SCALE_RANGE", "(1.0,1.0)", "INPUT.ROTATE90", "0.0", "INPUT.HFLIP", "0.0",
         "INPUT.VFLIP", "0.0")  # fmt: skip


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


@settings(max_examples=15)
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
    cfg = load_config(FILE.replace("tiny", "vitb_isaid"))
    assert tuple(cfg.INPUT.SCALE_RANGE) == (0.625, 1.25) and tuple(cfg.INPUT.CROP.SIZE) == (320, 320)
    mapper = training_mapper(cfg, [entry])
    for seed in range(12):
        assert mapped(mapper, entry, seed)["valid"].all()
    mapper = training_mapper(
        config("INPUT.CROP.SIZE", "[320,320]", "INPUT.SCALE_RANGE", "(0.5,0.5)"), [entry]
    )
    assert mapped(mapper, entry, 0)["valid"].sum() == 256 * 256


@settings(max_examples=40)
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
    with pytest.raises(ImageReadError, match=r"cannot read \S*a\.png"):
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
    words = r"RSKTSegHead learns from masks: INPUT\.AUGMENTATION must be ovrsis or geoseg or fctl; found wsss"
    with pytest.raises(ConfigError, match=words):
        tiny_config("INPUT.AUGMENTATION", "wsss", "INPUT.SIZE_DIVISIBILITY", "-1")
    words = r"PriorWSSSHead learns from image labels: INPUT\.AUGMENTATION must be wsss; found ovrsis"
    with pytest.raises(ConfigError, match=words):
        config("INPUT.AUGMENTATION", "ovrsis", "INPUT.SCALE_RANGE", "(0.625, 1.25)")
    with pytest.raises(ConfigError, match=r"DATASETS\.MIN_LABEL_PIXELS must be at least 1; found 0"):
        config("DATASETS.MIN_LABEL_PIXELS", "0")
