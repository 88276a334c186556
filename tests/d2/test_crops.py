"""Scale, crop, turn and mosaic move image and label together, by the published rules."""

import warnings
from collections import Counter

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.d2.augmentation import (
    MirrorTransform,
    QuarterTurnTransform,
    RandomQuarterTurn,
    RandomScale,
    UpsideDownTransform,
)
from rskt_seg.d2.crops import RandomMosaic, ScaledCrop, SmartCrop
from rskt_seg.d2.resizing import resize_window
from rskt_seg.windows import Window

IGNORE = 255
sides = st.integers(1, 70)
seeds = st.integers(0, 2**31 - 1)


def located(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that holds row, column and 1 at every pixel, and a label that follows from the place."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.ones_like(rows)], axis=2), class_at(rows, columns)


def class_at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return ((rows // 5 + 3 * (columns // 7)) % 4).astype(np.uint8)


def together(image: np.ndarray, label: np.ndarray) -> bool:
    """Whether every pixel is either padding in both, or has the label that belongs to its place."""
    real = image[..., 2] == 1
    padded = (image[~real] == 0).all() and (label[~real] == IGNORE).all()
    return padded and np.array_equal(label[real], class_at(image[..., 0], image[..., 1])[real])


def apply(augmentation, image: np.ndarray, label: np.ndarray, seed: int = 0):
    np.random.seed(seed)  # noqa: NPY002  (Detectron2 draws from NumPy's global generator)
    inputs = T.AugInput(image, sem_seg=label)
    transform = T.AugmentationList([augmentation])(inputs)
    return inputs.image, inputs.sem_seg, transform.transforms[0]


@settings(max_examples=80)
@given(sides, sides, st.integers(1, 60), st.integers(1, 60), seeds)
def test_a_crop_has_exactly_its_size_and_label_and_image_move_together(height, width, tall, wide, seed):
    image, label, _ = apply(SmartCrop((tall, wide), 0.75, IGNORE), *located(height, width), seed)
    assert image.shape == (tall, wide, 3) and label.shape == (tall, wide)
    assert image.dtype == label.dtype == np.uint8
    assert together(image, label)
    rows, columns = (image[..., i][image[..., 2] == 1].astype(int) for i in (0, 1))
    if len(rows):  # one piece of the image as it was: neither mirrored nor stretched
        assert np.array_equal(rows, np.repeat(np.unique(rows), len(np.unique(columns))))
        assert np.array_equal(columns, np.tile(np.unique(columns), len(np.unique(rows))))


@settings(max_examples=60)
@given(sides, sides, st.integers(1, 80), seeds)
def test_padding_is_half_of_what_is_missing_and_one_more_on_both_sides(height, width, side, seed):
    _, _, transform = apply(SmartCrop((side, side), 0.75, IGNORE), *located(height, width), seed)
    image = transform.apply_image(located(height, width)[0])  # the first of two is the padding
    for axis, length in enumerate((height, width)):
        lines = np.flatnonzero((image[..., 2] == 1).any(axis=1 - axis))
        margin = (side - length) // 2 + 1 if length < side else 0
        assert (lines[0], image.shape[axis] - 1 - lines[-1]) == (margin, margin)


def naive_crop(label: np.ndarray, side: int, limit: float) -> np.ndarray:
    """The published rule, spelt out: up to eleven windows, counted pixel by pixel."""
    for _ in range(11):
        top = np.random.randint(label.shape[0] - side + 1)  # noqa: NPY002
        left = np.random.randint(label.shape[1] - side + 1)  # noqa: NPY002
        crop = label[top : top + side, left : left + side]
        counts = Counter(value for value in crop.ravel().tolist() if value != IGNORE)
        if len(counts) > 1 and max(counts.values()) / sum(counts.values()) < limit:
            return crop
    return crop


@settings(max_examples=80)
@given(
    st.integers(12, 40), st.integers(12, 40), st.sampled_from([0.3, 0.5, 0.75, 0.99]), st.booleans(), seeds
)
def test_the_crop_is_the_first_of_eleven_in_which_no_class_rules(height, width, limit, holes, seed):
    rng = np.random.default_rng(seed)
    label = np.kron(rng.choice([0, 0, 0, 1, 2], (5, 5)), np.ones((8, 8))).astype(np.uint8)[:height, :width]
    if holes:
        label[rng.random(label.shape) < 0.6] = IGNORE
    image = np.zeros((*label.shape, 3), np.uint8)
    _, crop, _ = apply(SmartCrop((12, 12), limit, IGNORE), image, label, seed)
    state = np.random.get_state()[1:3]  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    assert np.array_equal(crop, naive_crop(label, 12, limit))
    # The generator stands at the same place: as many windows were drawn.
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state()[1:3], state, strict=True))  # noqa: NPY002


def test_a_share_of_exactly_the_limit_is_refused_and_a_limit_of_one_takes_anything():
    half = np.repeat(np.array([[0, 1]], np.uint8), 2, axis=0)
    assert not SmartCrop((2, 2), 0.5, IGNORE)._accepts(half)
    assert SmartCrop((2, 2), 0.51, IGNORE)._accepts(half)
    one, none = np.zeros((2, 2), np.uint8), np.full((2, 2), IGNORE, np.uint8)
    assert not SmartCrop((2, 2), 0.99, IGNORE)._accepts(one)
    assert not SmartCrop((2, 2), 0.99, IGNORE)._accepts(none)
    assert all(SmartCrop((2, 2), 1.0, IGNORE)._accepts(label) for label in (half, one, none))


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5]), seeds)
def test_a_scale_multiplies_each_side_and_rounds_down(height, width, factor, seed):
    label = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    image = np.repeat(label[..., None] * 50, 3, axis=2)
    scaled, target, _ = apply(RandomScale((factor,)), image, label, seed)
    size = max(1, int(width * factor)), max(1, int(height * factor))
    assert scaled.shape == (size[1], size[0], 3) and target.shape == (size[1], size[0])
    assert np.array_equal(scaled, np.asarray(Image.fromarray(image).resize(size, Image.BICUBIC)))
    assert np.array_equal(target, np.asarray(Image.fromarray(label).resize(size, Image.NEAREST)))


def test_every_scale_of_the_list_is_drawn_and_no_other():
    augmentation = RandomScale((0.75, 1.0, 1.25, 1.5))
    sizes = {apply(augmentation, *located(40, 20), seed)[0].shape[:2] for seed in range(60)}
    assert sizes == {(30, 15), (40, 20), (50, 25), (60, 30)}


@settings(max_examples=150)
@given(st.integers(1, 150), st.integers(1, 150), st.floats(0.2, 2.5), st.data(), seeds)
def test_a_window_of_a_resized_image_has_the_bytes_of_the_whole(height, width, factor, data, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = max(1, int(height * factor)), max(1, int(width * factor))
    tops, lefts = (sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in size)
    window = Window(tops[0], lefts[0], tops[1] - tops[0], lefts[1] - lefts[0])
    whole = np.asarray(Image.fromarray(image).resize(size[::-1], Image.BICUBIC))
    assert np.array_equal(resize_window(image, size, window), whole[window.slices])


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 80), seeds)
def test_scaling_and_cropping_at_once_is_scaling_then_cropping(height, width, side, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = rng.integers(0, 3, (height, width), dtype=np.uint8)
    scale, crop = RandomScale((0.75, 1.0, 1.25, 1.5)), SmartCrop((side, side), 0.4, IGNORE)
    np.random.seed(seed)  # noqa: NPY002
    inputs = T.AugInput(image, sem_seg=label)
    transform = T.AugmentationList([ScaledCrop(scale, crop)])(inputs)
    scaled, target, _ = apply(T.AugmentationList([scale, crop]), image, label, seed)
    assert np.array_equal(inputs.image, scaled) and np.array_equal(inputs.sem_seg, target)
    assert np.array_equal(transform.apply_image(image), scaled)
    assert np.array_equal(transform.apply_segmentation(label), target)


@settings(max_examples=40)
@given(sides, sides)
def test_mirroring_exchanges_left_and_right(height, width):
    image, label = located(height, width)
    mirror = MirrorTransform(width)
    assert np.array_equal(mirror.apply_image(image), image[:, ::-1])
    assert np.array_equal(mirror.apply_segmentation(label[::-1]), label[::-1, ::-1])


@settings(max_examples=40)
@given(sides, sides)
def test_mirroring_exchanges_top_and_bottom_without_a_word_on_images_of_pillow(height, width):
    image, label = located(height, width)
    image.setflags(write=False)  # as Pillow hands over what it has resized
    mirror = UpsideDownTransform(height)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(mirror.apply_image(image), image[::-1])
    assert np.array_equal(mirror.apply_segmentation(label[:, ::-1]), label[::-1, ::-1])


@settings(max_examples=40)
@given(sides, sides, st.integers(-5, 5))
def test_a_quarter_turn_moves_pixels_counter_clockwise_and_can_be_undone(height, width, turns):
    image, label = located(height, width)
    turn = QuarterTurnTransform(turns, height, width)
    turned, target = turn.apply_image(image), turn.apply_segmentation(label)
    assert together(turned, target)
    rows, columns = (turned[..., i].astype(int) for i in (0, 1))
    y, x = np.mgrid[: turned.shape[0], : turned.shape[1]]
    came_from = {
        0: (y, x),
        1: (x, width - 1 - y),
        2: (height - 1 - y, width - 1 - x),
        3: (height - 1 - x, y),
    }
    assert all(np.array_equal(*pair) for pair in zip((rows, columns), came_from[turns % 4], strict=True))
    assert np.array_equal(turn.inverse().apply_image(turned), image)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    moved = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    assert np.allclose(turn.apply_coords(centres), moved)


@pytest.mark.parametrize("turns", [(1, 2, 3), (0, 1, 2, 3)])
def test_turns_are_the_listed_ones_with_probability_one_and_none_with_zero(turns):
    image, label = located(6, 9)
    drawn = Counter()
    for seed in range(80):
        turned = apply(RandomQuarterTurn(1.0, turns), image, label, seed)[0]
        drawn[next(k for k in range(4) if np.array_equal(turned, np.rot90(image, k)))] += 1
        assert np.array_equal(apply(RandomQuarterTurn(0.0, turns), image, label, seed)[0], image)
    assert set(drawn) == set(turns) and min(drawn.values()) > 8


def sources(sizes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Samples of which number k is k + 1 everywhere, label and image."""
    return [
        (np.full((*size, 3), k + 1, np.uint8), np.full(size, k + 1, np.uint8)) for k, size in enumerate(sizes)
    ]


def mosaic_of(side: int, samples: list, probability: float = 1.0) -> RandomMosaic:
    dicts = [{"number": k} for k in range(len(samples))]
    return RandomMosaic(probability, side, IGNORE, dicts, lambda entry: samples[entry["number"]])


@settings(max_examples=60)
@given(st.integers(4, 90), seeds)
def test_a_mosaic_has_the_image_at_the_upper_left_and_whole_parts_of_samples_elsewhere(side, seed):
    samples = sources([(side, side + 3)] * 5)
    image, label, _ = apply(mosaic_of(side, samples), *(np.zeros_like(part) for part in samples[0]), seed)
    assert image.shape == (side, side, 3) and label.shape == (side, side)
    assert np.array_equal(image, np.repeat(label[..., None], 3, axis=2))
    row, column = (label[:, 0] == 0).sum(), (label[0] == 0).sum()
    assert all(side // 4 <= meeting <= 3 * side // 4 for meeting in (row, column))
    quadrants = label[:row, :column], label[:row, column:], label[row:, :column], label[row:, column:]
    numbers = [np.unique(quadrant).tolist() for quadrant in quadrants]
    assert numbers[0] == [0] and all(len(n) == 1 and 1 <= n[0] <= 5 for n in numbers[1:])


def test_every_meeting_point_and_every_sample_is_drawn():
    samples = sources([(8, 8)] * 3)
    seen, numbers = set(), set()
    for seed in range(200):
        label = apply(mosaic_of(8, samples), *(np.zeros_like(part) for part in samples[0]), seed)[1]
        seen.add(((label[:, 0] == 0).sum(), (label[0] == 0).sum()))
        numbers.add((label[0, -1], label[-1, 0], label[-1, -1]))
    assert seen == {(row, column) for row in range(2, 7) for column in range(2, 7)}
    assert numbers == {(a, b, c) for a in (1, 2, 3) for b in (1, 2, 3) for c in (1, 2, 3)}


@settings(max_examples=40)
@given(st.integers(4, 60), st.lists(st.tuples(sides, sides), min_size=1, max_size=4), sides, sides, seeds)
def test_parts_of_a_mosaic_keep_image_and_label_together_and_pad_what_is_too_small(
    side, sizes, height, width, seed
):
    samples = [located(*size) for size in sizes]
    image, label, transform = apply(mosaic_of(side, samples), *located(height, width), seed)
    assert image.shape == (side, side, 3) and label.shape == (side, side)
    assert together(image, label)
    # A corner of a pixel of the first image is where its coordinates say.
    rows, columns = np.nonzero(image[..., 2])
    own = (rows < transform.part.transforms[1].h) & (columns < transform.part.transforms[1].w)
    for row, column in list(zip(rows[own], columns[own], strict=True))[:5]:
        place = np.array([[image[row, column, 1], image[row, column, 0]]], np.float64)
        assert transform.apply_coords(place).tolist() == [[column, row]]


def test_a_mosaic_happens_with_its_probability():
    samples = sources([(16, 16)])
    image, label = (np.zeros_like(part) for part in samples[0])
    shares = {
        probability: np.mean(
            [apply(mosaic_of(16, samples, probability), image, label, seed)[1].any() for seed in range(200)]
        )
        for probability in (0.0, 0.25, 1.0)
    }
    assert shares[0.0] == 0 and shares[1.0] == 1 and 0.15 < shares[0.25] < 0.35


@settings(max_examples=20)
@given(seeds)
def test_the_same_seed_gives_the_same_result(seed):
    image, label = located(50, 60)
    chain = [
        mosaic_of(40, [located(30, 30), located(45, 20)], 0.5),
        RandomScale((0.75, 1.5)),
        SmartCrop((24, 24), 0.75, IGNORE),
        RandomQuarterTurn(0.5),
    ]
    first, second = (apply(T.AugmentationList(chain), image, label, seed) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
