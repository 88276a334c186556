"""A large image in tiles says what the model says of each tile."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.inference.tiles import tile_logits, tiled
from rskt_seg.inference.views import VIEWS
from rskt_seg.windows import window_grid
from tests.stub_models import FixedColours

SIDES = st.integers(1, 40)


def image(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


class Surroundings:
    """A model whose answer to a pixel depends on the whole tile that holds it, and on where in it."""

    device = torch.device("cpu")

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(tuple(images.shape))
        ramp = torch.arange(images.shape[3], dtype=torch.float32)
        return SimpleNamespace(logits=images[:, :2] + images.mean(dim=(1, 2, 3), keepdim=True) + ramp)


@settings(max_examples=60)
@given(SIDES, SIDES, st.integers(1, 50), st.data())
def test_a_pixelwise_model_gives_the_same_logits_whatever_the_tiles(height, width, tile, data):
    x = image(height, width)
    overlap = data.draw(st.integers(0, tile - 1))
    with torch.no_grad():
        logits = tile_logits(FixedColours(), x, tile=tile, overlap=overlap)
    torch.testing.assert_close(logits, x / 16, rtol=1e-5, atol=1e-5)


def test_an_image_of_up_to_a_tile_is_seen_as_a_whole_and_a_larger_one_in_tiles():
    for size, tile, seen in (((32, 32), 32, [(32, 32)]), ((20, 50), 32, [(20, 32), (20, 32)])):
        model = Surroundings()
        assert tile_logits(model, image(*size), tile=tile).shape == (2, *size)
        assert model.sizes == [(1, 3, *each) for each in seen]


@settings(max_examples=30)
@given(SIDES, SIDES, st.integers(2, 20), st.data())
def test_where_tiles_overlap_the_mean_of_their_logits_counts(height, width, tile, data):
    x, overlap = image(height, width), data.draw(st.integers(0, tile - 1))
    total, count = torch.zeros(2, height, width), torch.zeros(height, width)
    for window in window_grid(height, width, tile, tile - overlap):
        part = x[:, window.rows, window.columns]
        total[:, window.rows, window.columns] += Surroundings()(part[None]).logits[0]
        count[window.rows, window.columns] += 1
    logits = tile_logits(Surroundings(), x, tile=tile, overlap=overlap)
    torch.testing.assert_close(logits, total / count)


@pytest.mark.parametrize("name", ["lr", "dihedral"])
def test_views_are_averaged_in_every_tile(name):
    x, tile = image(12, 21), 12
    expected = torch.zeros(2, 12, 21)
    count = torch.zeros(21)
    for left in (0, 9):
        part = x[None, :, :, left : left + tile]
        for view in VIEWS[name]:
            seen = part.flip(3) if view.hflip else part
            seen = torch.rot90(seen.flip(2) if view.vflip else seen, view.turns, (2, 3))
            maps = torch.rot90(Surroundings()(seen).logits, -view.turns, (2, 3))
            maps = maps.flip(2) if view.vflip else maps
            expected[:, :, left : left + tile] += (maps.flip(3) if view.hflip else maps)[0] / len(VIEWS[name])
        count[left : left + tile] += 1
    logits = tile_logits(Surroundings(), x, tile=tile, views=VIEWS[name])
    torch.testing.assert_close(logits, expected / count)


@settings(max_examples=40)
@given(SIDES, SIDES, st.integers(1, 30), st.data())
def test_coarser_answers_of_all_tiles_lie_on_one_grid(height, width, tile, data):
    x, overlap = image(height, width), data.draw(st.integers(0, tile - 1))

    def cells(images):
        return F.avg_pool2d(images, 4, ceil_mode=True, count_include_pad=False)

    found = tiled(cells, x, tile=tile, overlap=overlap, stride=4)
    torch.testing.assert_close(found, cells(x[None])[0], rtol=1e-5, atol=1e-4)


def test_bytes_are_seen_as_numbers_and_logits_are_single_precision():
    x = image(9, 10).to(torch.uint8)
    model = FixedColours().to(torch.bfloat16)
    with torch.no_grad():
        assert tile_logits(model, x, tile=4).dtype == torch.float32
        torch.testing.assert_close(tile_logits(FixedColours(), x, tile=4), x / 16)


def test_options_reach_the_model():
    model = FixedColours()
    tile_logits(model, image(4, 4), padding="published")
    assert model.calls[0]["padding"] == "published"


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (8, 8), (8, -1)])
def test_tiles_that_would_leave_gaps_are_refused(tile, overlap):
    with pytest.raises(ConfigError, match="0 <= overlap < tile"):
        tile_logits(FixedColours(), image(20, 20), tile=tile, overlap=overlap)
