"""The stages of CAMs are those of the right tile, for the right classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.cams import foreground_named, tile_around, tile_cams
from tests.inference.prior_stub import PriorStub, cell_means

SIDES = st.integers(1, 60)
NAMES = ("ship", "Large Vehicle", "harbor")


@given(SIDES, SIDES, st.integers(1, 40), st.data())
def test_the_tile_holds_the_pixel_in_its_middle_as_far_as_the_image_allows(height, width, tile, data):
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = tile_around((height, width), (row, column), tile)
    for start, side, whole, place in zip(window[:2], window[2:], (height, width), (row, column), strict=True):
        assert side == min(tile, whole) and 0 <= start <= whole - side and start <= place < start + side
        assert start in (place - side // 2, 0, whole - side)
    assert tile_around((height, width), None, tile) == tile_around(
        (height, width), (height // 2, width // 2), tile
    )


@pytest.mark.parametrize("at", [(-1, 0), (30, 0), (0, 40), (5, -2)])
def test_a_pixel_outside_of_the_image_is_refused(at):
    with pytest.raises(ConfigError, match=r"rows 0\.\.29 and columns 0\.\.39"):
        tile_around((30, 40), at, 16)


def test_names_are_found_whatever_their_case_and_order():
    assert foreground_named(NAMES, [" HARBOR", "large vehicle "]).tolist() == [False, True, True]
    assert foreground_named(NAMES, []).tolist() == [False] * 3
    for names, message in ((["ship", "plane", "background"], "'plane', 'background'; it has 'ship'"),):
        with pytest.raises(VocabularyError, match=message):
            foreground_named(NAMES, names)
    with pytest.raises(VocabularyError, match="plain string"):
        foreground_named(NAMES, "ship")
    with pytest.raises(VocabularyError, match="twice"):
        foreground_named(NAMES, ["ship", "Ship"])


def stages(model, pixels, valid=None, tile=24, **options):
    """The view of the stub, whose prediction is the brightest channel of a pixel if above 100."""
    valid = np.ones(pixels.shape[:2], bool) if valid is None else valid

    def score_map(seen):
        scores = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1)
        return (
            torch.cat([torch.full_like(scores[:1], 100), scores]) if model.class_names[0] != "red" else scores
        )

    with torch.inference_mode():
        return tile_cams(model, score_map, pixels, valid, tile=tile, **options)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=30)
@given(SIDES, SIDES, st.sets(st.sampled_from(["red", "green", "blue"])), st.booleans())
def test_every_stage_is_that_of_the_tile_for_the_classes_asked_for(height, width, present, background):
    pixels, model = noise(height, width), PriorStub(background=background)
    view = stages(model, pixels, present=sorted(present), at=(height - 1, 0))
    top = max(height - 24, 0)
    assert view.window == (top, 0, min(24, height), min(24, width)) and view.chosen_by == "request"
    assert np.array_equal(view.pixels, pixels[top:, :24])
    assert view.valid.all() and view.valid.shape == view.prediction.shape
    assert view.present == tuple(name for name in ("red", "green", "blue") if name in present)
    assert view.class_names == model.class_names and view.foreground == ("red", "green", "blue")
    cells = cell_means(torch.from_numpy(view.pixels.copy()).permute(2, 0, 1)[None].float(), 8)[0] / 255
    named = np.array([name in present for name in view.foreground])[:, None, None]
    for power, maps in enumerate((view.initial, view.refined, view.final), start=1):
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps[1:], cells.numpy() ** power * named, rtol=1e-4)
        if not background:
            assert (maps[0] == -1).all()
    scores = view.pixels if not background else np.dstack([np.full(view.pixels.shape[:2], 100), view.pixels])
    assert np.array_equal(view.prediction, scores.argmax(axis=2)) and view.truth is None
    best = np.array(model.channel_ids)[view.final.argmax(axis=0)]
    expected = best.repeat(8, axis=0).repeat(8, axis=1)[: len(view.pixels), : view.pixels.shape[1]]
    assert np.array_equal(view.pseudo_labels, expected) and view.pseudo_labels.dtype == np.uint8


def coloured(*colours):
    """Stripes of 12 columns, each of one colour."""
    return np.repeat(np.array(colours, np.uint8)[None], 12, axis=1).repeat(20, axis=0)


RED, GREEN, BLUE, DARK = (200, 10, 10), (10, 220, 10), (10, 10, 210), (5, 5, 5)


def test_without_names_the_classes_are_those_predicted_in_the_tile():
    pixels = coloured(RED, DARK, GREEN, BLUE)
    view = stages(PriorStub(), pixels, at=(0, 0))
    assert view.present == ("red",) and view.chosen_by == "prediction"
    assert stages(PriorStub(), pixels, tile=48).present == ("red", "green", "blue")
    assert stages(PriorStub(), coloured(DARK, DARK)).present == ()
    assert stages(PriorStub(background=False), pixels, at=(0, 47)).present == ("green", "blue")


@pytest.mark.parametrize("background", [True, False])
def test_with_a_truth_they_are_those_it_has_in_the_tile(background):
    pixels, model = coloured(RED, DARK, GREEN, BLUE), PriorStub(background=background)
    ids = dict(zip(model.foreground, model.channel_ids[1:], strict=True))
    truth = np.full((20, 48), 255, np.uint8)
    truth[3, 5], truth[:, 30:40] = ids["blue"], ids["red"]
    view = stages(model, pixels, at=(0, 0), truth=truth)
    assert view.present == ("blue",) and view.chosen_by == "truth" and model.asked == [[False, False, True]]
    assert np.array_equal(view.truth, truth[:, :24])
    assert stages(model, pixels, at=(0, 47), truth=truth).present == ("red",)
    asked = stages(model, pixels, at=(0, 0), truth=truth, present=["green"])
    assert asked.present == ("green",) and asked.chosen_by == "request" and asked.truth is not None


def test_pixels_without_data_have_no_class_and_name_none():
    pixels, valid = coloured(RED, GREEN), np.ones((20, 24), bool)
    valid[:, 12:] = False
    truth = np.repeat(np.array([1, 2], np.uint8), 12)[None].repeat(20, axis=0)
    for options in ({}, {"truth": truth}):
        view = stages(PriorStub(), pixels, valid, **options)
        assert view.present == ("red",)
        assert all((labels[:, 12:] == 255).all() for labels in (view.prediction, view.pseudo_labels))
        assert (view.prediction[:, :12] == 1).all()
        assert np.array_equal(view.valid, valid)
    assert (view.truth[:, 12:] == 255).all()


def test_a_view_says_which_parts_the_model_has():
    view = stages(PriorStub(usr=False), noise(20, 20))
    assert not view.refines and view.compares and view.stride == 8
