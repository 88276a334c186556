"""What a model says at several scales and mirrored is averaged where it belongs in the image."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.inference.scales import (
    SCALES,
    mean_logits,
    mean_maps,
    pass_size,
    passes,
    scaled_logits,
    scaled_scores,
)
from rskt_seg.inference.views import VIEWS
from rskt_seg.layers.images import enlarge
from rskt_seg.windows import window_grid
from tests.inference.prior_stub import PriorStub, cell_means

STRIDE = 8
SIDES = st.integers(1, 70)
SETS = st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.6]), min_size=1, max_size=3, unique=True)


def images(height, width, count=1, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def lopsided(seen):
    """A model that is neither symmetric nor blind to where in the image a cell lies."""
    maps = cell_means(seen, STRIDE)
    return torch.cat([maps * torch.arange(1.0, maps.shape[3] + 1), maps.cumsum(dim=2)], dim=1)


def positions(seen):
    """The mean of channels that are linear in the position, for every cell as if the image went on."""

    def line(values, cells):
        middle = len(values) // 2 - 1
        step = values[middle + 1] - values[middle]
        return values[middle] + step * ((torch.arange(cells) + 0.5) * STRIDE - 0.5 - middle)

    rows, columns = (-(-side // STRIDE) for side in seen.shape[2:])
    y, x = line(seen[0, 0, :, 0], rows), line(seen[0, 1, 0], columns)
    return torch.stack([y[:, None].expand(rows, columns), x.expand(rows, columns)])[None]


def ramps(height, width):
    """An image whose first two channels are the row and the column of the centre of a pixel."""
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    return torch.stack(torch.broadcast_tensors(rows[:, None], columns, torch.zeros(height, width)))[None]


@settings(max_examples=40)
@given(SIDES, SIDES)
def test_the_image_as_it_is_gives_what_the_model_gives(height, width):
    x = images(height, width, count=2)
    logits = mean_logits(lopsided, x, stride=STRIDE, scales=(1,), flip=False)
    assert torch.equal(logits, lopsided(x))
    maps = mean_maps(lopsided, x, stride=STRIDE, scales=(1,), flip=False)
    torch.testing.assert_close(maps, enlarge(logits, (height, width), STRIDE))


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), SETS, st.booleans())
def test_whole_cells_are_averaged_by_definition(rows, columns, scales, flip):
    x = images(rows * STRIDE, columns * STRIDE)
    resize = {"mode": "bilinear", "align_corners": False}
    grid, pixels = [], []
    for scale in scales:
        size = [max(1, round(scale * cells)) * STRIDE for cells in (rows, columns)]
        for mirrored in (False, True) if flip else (False,):
            seen = F.interpolate(x, size, **resize)
            maps = lopsided(seen.flip(3)).flip(3) if mirrored else lopsided(seen)
            grid.append(F.interpolate(maps, (rows, columns), **resize))
            pixels.append(F.interpolate(maps, x.shape[2:], **resize))
    options = {"stride": STRIDE, "scales": scales, "flip": flip}
    close = {"rtol": 1e-4, "atol": 0.05}  # values go up to 255 * 14
    torch.testing.assert_close(mean_logits(lopsided, x, **options), sum(grid) / len(grid), **close)
    torch.testing.assert_close(mean_maps(lopsided, x, **options), sum(pixels) / len(pixels), **close)


@settings(max_examples=60)
@given(st.integers(40, 90), st.integers(40, 90), SETS, st.booleans())
def test_every_pass_is_read_where_it_lies_in_the_image_also_where_cells_hang_over(
    height, width, scales, flip
):
    x, options = ramps(height, width), {"stride": STRIDE, "scales": scales, "flip": flip}
    logits = mean_logits(positions, x, **options)[0]
    maps = mean_maps(positions, x, **options)[0]
    rows, columns = ((torch.arange(-(-side // STRIDE)) + 0.5) * STRIDE for side in (height, width))
    # Cells of the smallest pass are that large; nothing is known beyond the centre of the outermost.
    edge = STRIDE / min(*scales, 1) * 1.4
    for found, y, x in (
        (logits, rows, columns),
        (maps, torch.arange(height) + 0.5, torch.arange(width) + 0.5),
    ):
        down, across = ((at > edge) & (at < side - edge) for at, side in ((y, height), (x, width)))
        inner = found[:, down][:, :, across]
        expected = torch.stack(torch.broadcast_tensors(y[down, None], x[across]))
        torch.testing.assert_close(inner, expected, rtol=0, atol=0.02)


@settings(max_examples=30)
@given(SIDES, st.integers(1, 9), SETS)
def test_a_mirrored_image_gives_mirrored_logits(height, columns, scales):
    x = images(height, columns * STRIDE)
    options = {"stride": STRIDE, "scales": scales}
    logits = mean_logits(lopsided, x, **options)
    torch.testing.assert_close(
        mean_logits(lopsided, x.flip(3), **options), logits.flip(3), rtol=1e-4, atol=0.05
    )


def test_without_mirrored_passes_it_does_not():
    x, options = images(40, 64), {"stride": STRIDE, "flip": False}
    logits = mean_logits(lopsided, x, **options)
    assert not torch.allclose(mean_logits(lopsided, x.flip(3), **options), logits.flip(3), rtol=0.05)


@settings(max_examples=60)
@given(SIDES, SIDES, st.integers(1, 16))
def test_enlarging_makes_cells_of_pixels_and_cuts_what_hangs_over(height, width, stride):
    cells = [-(-side // stride) for side in (height, width)]
    maps = np.random.default_rng(0).standard_normal((2, 3, *cells))
    expected = maps
    for axis, side in ((2, height), (3, width)):
        places = (np.arange(side) + 0.5) / stride - 0.5
        between = partial(np.interp, places, np.arange(maps.shape[axis]))
        expected = np.apply_along_axis(between, axis, expected)
    found = enlarge(torch.from_numpy(maps), (height, width), stride)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.1, 3), st.integers(1, 32))
def test_a_pass_has_whole_cells_and_at_least_one(height, width, scale, stride):
    size = pass_size((height, width), scale, stride)
    if scale == 1:
        assert size == (height, width)
        return
    for seen, side in zip(size, (height, width), strict=True):
        assert seen % stride == 0 and seen >= stride
        assert seen == stride or abs(seen - scale * side) <= stride / 2 + 1e-6


def test_the_published_tile_is_seen_at_384_512_and_640_px_each_also_mirrored():
    sizes = [pass_size((512, 512), each.scale, 16) for each in passes()]
    assert sizes == [(side, side) for side in (384, 384, 512, 512, 640, 640)]
    assert [each.flipped for each in passes()] == [False, True] * 3
    assert len(passes(flip=False)) == len(SCALES)


@pytest.mark.parametrize("scales", [(), (0,), (1, -0.5), (float("nan"),), (float("inf"),), "1"])
def test_scales_that_cannot_be_are_refused(scales):
    with pytest.raises(ConfigError, match="positive"):
        mean_logits(lopsided, images(8, 8), stride=STRIDE, scales=scales)


def test_a_model_of_another_stride_is_noticed():
    with pytest.raises(ValueError, match=r"\(5, 3\) cells at stride 8; found maps \(10, 5\)"):
        mean_logits(lambda x: cell_means(x, 4), images(40, 20), stride=STRIDE, scales=(1,))


@settings(max_examples=15)
@given(SIDES, SIDES, st.integers(8, 60), st.data())
def test_tiles_are_averaged_where_they_overlap(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    x, model = images(height, width)[0], PriorStub()
    total, count = torch.zeros(4, height, width), torch.zeros(height, width)
    with torch.no_grad():
        for window in window_grid(height, width, tile, tile - overlap):
            part = x[None, :, window.rows, window.columns]
            logits = mean_logits(lambda seen: model(seen).logits, part, stride=8)
            total[:, window.rows, window.columns] += enlarge(logits, part.shape[2:], 8)[0]
            count[window.rows, window.columns] += 1
        logits = scaled_logits(model, x, tile=tile, overlap=overlap)
        scores = scaled_scores(model, x, tile=tile, overlap=overlap)
    torch.testing.assert_close(logits, total / count, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, logits.softmax(dim=0))


def test_views_are_those_of_all_scales_together():
    x, seen = images(20, 33)[0], []

    class Model(SimpleNamespace):
        def __call__(self, batch):
            seen.append(batch)
            return SimpleNamespace(logits=lopsided(batch))

    model = Model(stride=8, device=torch.device("cpu"))
    one = {
        flips: scaled_logits(model, x.flip(flips), flip=False).flip(flips)
        for flips in ((), (2,), (1,), (1, 2))
    }
    seen.clear()
    found = scaled_logits(model, x.to(torch.float64), views=VIEWS["lr"], flip=False)
    assert len(seen) == 4 * len(SCALES) and found.dtype == torch.float32
    torch.testing.assert_close(found, sum(one.values()) / 4, rtol=1e-4, atol=0.05)


def test_images_may_have_any_type():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8))
    with torch.no_grad():
        torch.testing.assert_close(
            scaled_logits(PriorStub(), pixels), scaled_logits(PriorStub(), pixels.float())
        )
