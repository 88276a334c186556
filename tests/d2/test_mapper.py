"""What the mapper makes of an image and its label."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.d2.augmentation import (
    PadToMultiple,
    RandomPhotometricDistortion,
    change_colour,
    scale_and_shift,
)
from rskt_seg.d2.mapper import RSDatasetMapper
from rskt_seg.errors import ConfigError, ImageReadError, LabelError
from tests.d2.conftest import tiny_config

CLASSES = ("roof", "road", "tree")
SIDE = 96
PLAIN = ("INPUT.COLOR_AUG_SSD", "False", "INPUT.MIN_SIZE_TRAIN", f"({SIDE},)")
SQUARE = (*PLAIN, "INPUT.CROP.SIZE", f"[{SIDE},{SIDE}]", "INPUT.SIZE_DIVISIBILITY", str(SIDE))


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)  # noqa: NPY002  (Detectron2 draws from NumPy's global generator)


def write_pair(folder, image, label) -> dict:
    Image.fromarray(image).save(folder / "image.png")
    Image.fromarray(label).save(folder / "label.png")
    return {
        "file_name": str(folder / "image.png"),
        "sem_seg_file_name": str(folder / "label.png"),
        "vocabulary": CLASSES,
    }


def blocks(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Ids in large blocks, so that most pixels are far from a border."""
    ids = np.random.default_rng(seed).integers(0, len(CLASSES), (3, 3), dtype=np.uint8)
    rows, columns = (np.arange(n) * 3 // n for n in (height, width))
    return ids[rows[:, None], columns]


def painted(label: np.ndarray) -> np.ndarray:
    """An image that shows the label: class k has the value 60 k in every channel."""
    return np.repeat((label * 60)[..., None], 3, axis=2)


@settings(max_examples=15)
@given(st.integers(8, 200), st.integers(8, 200), st.integers(0, 2**31 - 1))
def test_training_pairs_have_the_side_of_the_crop_and_stay_aligned(tmp_path_factory, height, width, seed):
    label = blocks(height, width, seed)
    entry = write_pair(tmp_path_factory.mktemp("pair"), painted(label), label)
    np.random.seed(seed)  # noqa: NPY002
    result = RSDatasetMapper(tiny_config(*SQUARE), is_train=True)(entry)
    image, target = result["image"], result["sem_seg"]
    assert image.shape == (3, SIDE, SIDE) and image.dtype == torch.uint8
    assert target.shape == (SIDE, SIDE) and target.dtype == torch.uint8
    padded = target == 255
    assert (image[:, padded] == 128).all()
    assert set(target[~padded].tolist()) <= {0, 1, 2}
    agree = (image[0].long() - 60 * target).abs() <= 30
    assert agree[~padded].double().mean() > 0.8


def test_padding_is_at_the_right_and_the_bottom_and_ignored(tmp_path):
    label = blocks(40, 80)
    cfg = tiny_config(*PLAIN, "INPUT.MIN_SIZE_TRAIN", "(40,)", "INPUT.RANDOM_FLIP", "none",
                      "INPUT.CROP.SIZE", "[96,96]", "INPUT.SIZE_DIVISIBILITY", "96")  # fmt: skip
    result = RSDatasetMapper(cfg, is_train=True)(write_pair(tmp_path, painted(label), label))
    assert torch.equal(result["sem_seg"][:40, :80], torch.from_numpy(label).long())
    assert (result["sem_seg"][40:] == 255).all() and (result["sem_seg"][:, 80:] == 255).all()
    assert (result["image"][:, 40:] == 128).all() and (result["image"][:, :, 80:] == 128).all()


def test_padding_goes_to_the_next_multiple():
    image = np.zeros((100, 97, 3), np.uint8)
    assert PadToMultiple(32, 255).get_transform(image).apply_image(image).shape == (128, 128, 3)
    exact = np.zeros((64, 32, 3), np.uint8)
    assert PadToMultiple(32, 255).get_transform(exact).apply_image(exact).shape == (64, 32, 3)


def test_without_crop_and_padding_the_short_side_is_the_size(tmp_path):
    label = blocks(50, 100)
    cfg = tiny_config(*PLAIN, "INPUT.CROP.ENABLED", "False", "INPUT.SIZE_DIVISIBILITY", "-1")
    result = RSDatasetMapper(cfg, is_train=True)(write_pair(tmp_path, painted(label), label))
    assert result["sem_seg"].shape == result["image"].shape[1:] == (SIDE, 2 * SIDE)


def test_the_flip_is_the_one_asked_for(tmp_path):
    label = np.array([[0, 1], [2, 1]], np.uint8).repeat(48, 0).repeat(48, 1)
    entry = write_pair(tmp_path, painted(label), label)
    expected = {"none": [label], "horizontal": [label, label[:, ::-1]], "vertical": [label, label[::-1]]}
    for kind, possible in expected.items():
        mapper = RSDatasetMapper(tiny_config(*SQUARE, "INPUT.RANDOM_FLIP", kind), is_train=True)
        seen = {mapper(entry)["sem_seg"].numpy().astype(np.uint8).tobytes() for _ in range(24)}
        assert seen == {np.ascontiguousarray(p).tobytes() for p in possible}


def test_a_crop_ruled_by_one_class_is_avoided_where_it_can_be(tmp_path):
    label = np.zeros((96, 288), np.uint8)
    label[:, 240:] = 1
    entry = write_pair(tmp_path, painted(label), label)

    def shares(limit: str) -> list[float]:
        area = ("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", limit)
        mapper = RSDatasetMapper(tiny_config(*SQUARE, *area), is_train=True)
        return [(mapper(entry)["sem_seg"] == 0).double().mean().item() for _ in range(20)]

    assert np.mean([share == 1.0 for share in shares("1.0")]) > 0.3
    assert np.mean([share == 1.0 for share in shares("0.95")]) < 0.3


@settings(max_examples=15)
@given(st.integers(4, 300), st.integers(4, 300))
def test_test_images_are_resized_as_published_and_remember_their_size(tmp_path_factory, height, width):
    label = np.zeros((height, width), np.uint8)
    entry = write_pair(tmp_path_factory.mktemp("pair"), painted(label), label)
    cfg = tiny_config("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "256")
    result = RSDatasetMapper(cfg, is_train=False)(entry)
    resize = T.ResizeShortestEdge(64, 256).get_transform(painted(label))
    assert result["image"].shape == (3, resize.new_h, resize.new_w)
    assert (result["height"], result["width"]) == (height, width)
    assert result["vocabulary"] == CLASSES
    assert "sem_seg" not in result


def test_the_given_dict_is_left_as_it_is(tmp_path):
    label = blocks(30, 30)
    entry = write_pair(tmp_path, painted(label), label)
    before = dict(entry)
    RSDatasetMapper(tiny_config(*SQUARE), is_train=True)(entry)
    assert entry == before


def test_an_id_out_of_range_is_told_with_its_file(tmp_path):
    label = blocks(30, 30)
    label[3, 4] = len(CLASSES)
    entry = write_pair(tmp_path, painted(blocks(30, 30)), label)
    with pytest.raises(LabelError, match=r"label\.png.*3 \(1 px\)"):
        RSDatasetMapper(tiny_config(*SQUARE), is_train=True)(entry)


def test_a_label_of_another_size_is_told_with_both_sizes(tmp_path):
    entry = write_pair(tmp_path, painted(blocks(30, 40)), blocks(40, 30))
    with pytest.raises(LabelError, match=r"40x30.*30x40"):
        RSDatasetMapper(tiny_config(*SQUARE), is_train=True)(entry)


@pytest.mark.parametrize("damage", ["truncated", "text", "missing"])
def test_an_image_that_cannot_be_read_is_told_with_its_file(tmp_path, damage):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    entry = write_pair(tmp_path, noise, blocks(60, 60))
    path = tmp_path / "image.png"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    elif damage == "text":
        path.write_text("no image")
    else:
        path.unlink()
    with pytest.raises(ImageReadError, match=r"image\.png"):
        RSDatasetMapper(tiny_config(), is_train=False)(entry)


def test_a_channel_order_that_the_encoders_do_not_expect_is_refused():
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT must be RGB"):
        RSDatasetMapper(tiny_config("INPUT.FORMAT", "BGR"), is_train=False)


def test_colour_distortion_changes_colours_alone():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    label = blocks(20, 30)
    changed = 0
    for _ in range(40):
        inputs = T.AugInput(image.copy(), sem_seg=label)
        T.AugmentationList([RandomPhotometricDistortion()])(inputs)
        assert inputs.image.shape == image.shape and inputs.image.dtype == np.uint8
        assert inputs.sem_seg is label or np.array_equal(inputs.sem_seg, label)
        changed += not np.array_equal(inputs.image, image)
    # All four changes are left out one time in sixteen.
    assert 20 < changed <= 40


def test_colour_distortion_keeps_grey_grey_and_its_order():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for _ in range(40):
        result = RandomPhotometricDistortion().get_transform(ramp).apply_image(ramp).astype(int)
        assert (result == result[..., :1]).all()
        assert (np.diff(result[0, :, 0]) >= 0).all()


@pytest.mark.parametrize(("scale", "shift"), [(1.37, 0.0), (0.5, 0.0), (1.0, -31.6), (1.0, 17.25)])
def test_contrast_and_brightness_are_computed_in_single_precision_and_cut_off(scale, shift):
    image = np.arange(256 * 3, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8)[:, ::-1]
    expected = np.clip(image.astype(np.float32) * scale + shift, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(scale_and_shift(image, scale, shift), expected)


@settings(max_examples=40)
@given(
    st.integers(1, 200), st.integers(1, 200), st.floats(0.5, 1.5), st.floats(-36, 36), st.integers(0, 2**31)
)
def test_saturation_and_hue_are_changed_in_single_precision(height, width, saturation, hue, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + hue) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    expected = (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(change_colour(saturation, hue, image[::-1])[::-1], expected)


def test_colour_distortion_stays_within_its_limits():
    middle = np.full((1, 1, 3), 100, np.uint8)
    values = {
        int(RandomPhotometricDistortion().get_transform(middle).apply_image(middle)[0, 0, 0])
        for _ in range(300)
    }
    assert min(values) >= (100 - 32) // 2 and max(values) <= (100 + 32) * 3 // 2
    assert min(values) < 60 and max(values) > 150


def test_the_colour_key_decides_whether_colours_change(tmp_path):
    image = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    entry = write_pair(tmp_path, image, blocks(SIDE, SIDE))
    still = (*SQUARE, "INPUT.RANDOM_FLIP", "none")
    same = RSDatasetMapper(tiny_config(*still), is_train=True)
    assert all(np.array_equal(same(entry)["image"].numpy(), image.transpose(2, 0, 1)) for _ in range(5))
    other = RSDatasetMapper(tiny_config(*still, "INPUT.COLOR_AUG_SSD", "True"), is_train=True)
    assert not all(np.array_equal(other(entry)["image"].numpy(), image.transpose(2, 0, 1)) for _ in range(12))
