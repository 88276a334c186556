import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rskt_seg.inference.resize import (
    image_tensor,
    label_map,
    resize_image,
    short_side_shape,
    upsample,
    upsample_bands,
)
from rskt_seg.labels import ignore_label

SOURCE, TARGET = st.integers(1, 24), st.integers(1, 150)


@st.composite
def score_maps(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    shape = draw(st.integers(1, 6)), draw(SOURCE), draw(SOURCE)
    # Sixteenths: ties are frequent, and must be decided alike.
    return (torch.rand(shape, generator=generator) * 16).round() / 16, (draw(TARGET), draw(TARGET))


@given(score_maps(), st.integers(1, 50))
def test_labels_are_the_argmax_of_the_upsampled_scores_whatever_the_band_height(maps, rows):
    scores, size = maps
    assert np.array_equal(label_map(scores, size, rows), upsample(scores, size).argmax(axis=0))


@given(score_maps())
def test_upsampling_equals_pytorchs_bilinear_up_to_rounding(maps):
    scores, size = maps
    expected = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.from_numpy(upsample(scores, size)), expected, rtol=0, atol=1e-6)


@given(score_maps())
def test_labels_equal_the_argmax_of_pytorchs_upsampling_beyond_rounding(maps):
    scores, size = maps
    full = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    best, second = full.topk(min(2, len(full)), dim=0).values[[0, -1]]
    clear = ((best - second) > 1e-6).numpy() if len(full) > 1 else np.ones(size, bool)
    assert np.array_equal(label_map(scores, size)[clear], full.argmax(dim=0).numpy()[clear])


def test_only_a_band_of_the_upsampled_scores_exists_at_a_time():
    bands = list(upsample_bands(torch.rand(3, 8, 8), (100, 70), band_rows=16))
    assert [start for start, _ in bands] == list(range(0, 100, 16))
    assert [tuple(band.shape) for _, band in bands] == [(3, 16, 70)] * 6 + [(3, 4, 70)]
    tall = next(upsample_bands(torch.rand(20, 4, 4), (5000, 50000)))[1]
    assert tall.numel() <= 2**20


def test_of_equal_scores_the_first_class_wins():
    assert label_map(torch.full((4, 3, 3), 0.5), (7, 9)).max() == 0


@pytest.mark.parametrize(
    ("classes", "dtype", "ignore"), [(1, "uint8", 255), (255, "uint8", 255), (256, "uint16", 65535)]
)
def test_ids_are_8_bit_while_255_stays_free(classes, dtype, ignore):
    scores = torch.arange(classes, dtype=torch.float32).view(-1, 1, 1)
    labels = label_map(scores, (2, 2))
    assert labels.dtype == dtype and labels.max() == classes - 1 and ignore_label(classes) == ignore


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (640, 640)),
        ((3000, 4000), (640, 853)),
        ((4000, 3000), (853, 640)),
        ((2475, 71), (2560, 73)),
        ((1, 6000), (1, 2560)),
        ((1, 1), (640, 640)),
        ((500, 333), (961, 640)),
    ],
)
def test_the_short_side_becomes_640_unless_the_long_one_passes_2560(size, expected):
    assert short_side_shape(*size, 640, 2560) == expected


def test_the_short_side_rule_is_that_of_detectron2():
    compat = pytest.importorskip("rskt_seg.d2.compat")
    compat.prepare()
    from detectron2.data.transforms import ResizeShortestEdge

    rng = np.random.default_rng(0)
    for height, width in [*rng.integers(1, 5000, (300, 2)).tolist(), (1, 1), (640, 2560), (639, 2561)]:
        theirs = ResizeShortestEdge(640, 2560).get_transform(np.empty((height, width, 3), np.uint8))
        ours = short_side_shape(height, width, 640, 2560)
        assert ours == (max(1, theirs.new_h), max(1, theirs.new_w))


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, (40, 40))
    assert abs(small[5:-5, 5:-5].astype(int) - 127).max() <= 2


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    assert np.array_equal(resize_image(image, (7, 5)), image)
    assert np.array_equal(image_tensor(image).numpy(), image.transpose(2, 0, 1))
    assert image_tensor(image).dtype == torch.float32


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest new tensor had."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.values = max(self.values, result.numel())
        return result


@pytest.mark.parametrize("classes", [2, 300])
def test_labels_of_any_number_of_classes_need_the_scores_of_a_band_of_one(classes):
    scores, size = torch.rand(classes, 5, 5), (1000, 500)
    with LargestTensor() as largest:
        labels = label_map(scores, size)
    assert labels.shape == size and largest.values <= 2**18
