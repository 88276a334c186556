"""Maps of parts of scenes: what they show, and that parts agree to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import NotFiniteError
from rskt_seg.inference.cells import plan_windows
from rskt_seg.scenes import job, region
from rskt_seg.windows import Window
from tests.scenes.scenes import maps_of, scene, strategy, task
from tests.stub_models import Colours, Output


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that small scenes have many."""
    monkeypatch.setattr(region, "BLOCK", 32)
    monkeypatch.setattr(region, "_VALUES", 32 * 3 * 10)


class Blurred(Colours):
    """`Colours` seen through a small receptive field, at a quarter of the resolution."""

    def __init__(self):
        super().__init__(cells=12)

    def forward(self, images, vocabulary, padding=None, return_cost_maps=False):
        smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2, count_include_pad=False)
        return super().forward(smooth, vocabulary, padding, return_cost_maps)


@settings(max_examples=20)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(1, 70),
    st.sampled_from([0, 0.25, 1 / 3, 0.5, 0.75]),
    st.sampled_from(["hann", "mean"]),
    st.sampled_from([0, 0.3]),
)
def test_a_model_of_single_pixels_gives_the_map_of_the_whole_image(
    height, width, window, overlap, taper, nodata
):
    seen, image = strategy(), scene(height, width, nodata=nodata)
    ids, confidence, _, chosen = maps_of(seen, task(seen, image, min(window, 48), overlap, taper), chunk=64)
    best = image.pixels.argmax(axis=2)
    np.testing.assert_array_equal(ids, np.where(image.valid, best, 255))
    score = np.rint(image.pixels.max(axis=2) * np.float32(1 / 255) * np.float32(254))
    np.testing.assert_array_equal(confidence, np.where(image.valid, score, 255))
    np.testing.assert_array_equal(chosen, np.bincount(best[image.valid], minlength=3))


@settings(max_examples=10)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([1, 3]), st.data())
def test_chunks_and_parts_have_the_bytes_of_the_whole(height, width, batch, data):
    seen, image = strategy(Blurred()), scene(height, width, nodata=0.2)
    whole_task = task(seen, image, batch=1, keeps_scores=True)
    whole = maps_of(seen, whole_task)
    given_task = replace(whole_task, batch=batch)
    for chunk in (32, 64, 96):
        for found, expected in zip(maps_of(seen, given_task, chunk=chunk), whole, strict=True):
            np.testing.assert_array_equal(found, expected)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    area = Window(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    part = maps_of(seen, given_task, area, chunk=32)
    for found, expected in zip(part[:3], whole[:3], strict=True):
        np.testing.assert_array_equal(found, expected[..., area.rows, area.columns])


def test_a_small_receptive_field_leaves_no_seams():
    seen, image = strategy(Blurred()), scene(200, 260)
    tiled = maps_of(seen, task(seen, image))
    model = Blurred()
    model.cells, model.working_side = (50, 65), 260
    with torch.inference_mode():
        smooth = torch.nn.functional.avg_pool2d(
            torch.tensor(image.pixels).permute(2, 0, 1)[None].float(), 5, 1, 2, count_include_pad=False
        )
        cells = torch.nn.functional.avg_pool2d(smooth, 4)
        whole = torch.nn.functional.interpolate(cells, (200, 260), mode="bilinear")[0].argmax(dim=0)
    # Only cells at the border of a window see less, and count little.
    assert (tiled[0] != whole.numpy()).mean() < 0.002


def test_windows_without_data_are_not_seen_and_no_data_stays_no_data():
    seen, image = strategy(), scene(96, 300)
    image.valid[:, 60:] = False
    found = maps_of(seen, task(seen, image, overlap=0.0), chunk=32)
    np.testing.assert_array_equal(found[0] == 255, ~image.valid)
    np.testing.assert_array_equal(found[1] == 255, ~image.valid)
    columns = {call["size"][3] for call in seen.model.calls}
    assert columns == {48}
    # Of seven columns of windows, the two with data and the one within a cell of it.
    plan = task(seen, image, overlap=0.0).plan
    assert plan.window_cells == (48, 48)
    with_data = maps_of(strategy(), task(seen, image, overlap=0.0), chunk=4096)
    np.testing.assert_array_equal(found[0], with_data[0])


def test_models_see_the_fill_in_place_of_pixels_without_data():
    seen, image = strategy(), scene(48, 48)
    image.valid[10:20, 10:20] = False
    looked = []
    original = seen.model.forward
    seen.model.forward = lambda images, *args, **options: (
        looked.append(images.clone()),
        original(images, *args, **options),
    )[1]
    maps_of(seen, task(seen, image))
    inside = looked[0][0, :, 10:20, 10:20]
    assert torch.equal(inside, torch.tensor([90.0, 80.0, 70.0])[:, None, None].expand(3, 10, 10))


def test_a_scene_all_of_nodata_needs_no_model():
    seen, image = strategy(), scene(40, 40)
    image.valid[:] = False
    ids, confidence, _, chosen = maps_of(seen, task(seen, image))
    assert (ids == 255).all()
    assert (confidence == 255).all()
    assert chosen.sum() == 0
    assert not seen.model.calls


def test_scores_that_are_not_finite_are_refused_by_the_name_of_the_scene():
    class Broken(Colours):
        def scores(self, output: Output) -> torch.Tensor:
            return output.logits * torch.nan

    seen = strategy(Broken())
    with pytest.raises(NotFiniteError, match="a scene"):
        maps_of(seen, task(seen, scene(40, 40)))


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 30), st.sampled_from([0, 0.25, 1 / 3, 0.5]), st.integers(1, 3))
def test_the_share_of_windows_that_are_computed_again_is_that_of_chunks_inside(cell, cells, overlap, blocks):
    window, side = cell * cells, 32 * blocks
    stride = plan_windows((window, window), window, overlap, cell=cell).stride
    before = window // side + 1  # chunks, beyond which no window begins above the scene
    height = (before + stride) * side + 4 * window
    plan = plan_windows((height, window), window, overlap, cell=cell)
    count = sum(
        len(plan.windows(region._cells(plan, Window(number * side, 0, side, window))))
        for number in range(before, before + stride)
    )
    # In both directions as in one; of `stride` chunks, as many lie in each way to the windows.
    assert plan.repeated_share(side) == pytest.approx((count / side) ** 2 - 1)
    assert plan.repeated_share(side) >= 0


@pytest.mark.parametrize(
    "window, overlap, cell",
    [(384, 1 / 3, 4), (448, 1 / 3, 4), (1024, 1 / 4, 1), (512, 1 / 4, 1), (508, 50 / 508, 1)],
)
def test_usual_chunks_of_all_methods_compute_few_windows_again(monkeypatch, window, overlap, cell):
    monkeypatch.setattr(job, "BLOCK", 512)
    plan = plan_windows((60_000, 60_000), window, overlap, cell=cell)
    side = job.chunk_side(plan, 8)
    assert side % 512 == 0 and plan.repeated_share(side) <= 0.25


def test_many_classes_or_wide_windows_have_smaller_chunks(monkeypatch):
    monkeypatch.setattr(job, "BLOCK", 512)
    plan = plan_windows((60_000, 60_000), 384, 1 / 3, cell=4)
    assert job.chunk_side(plan, 8, scores=60) < job.chunk_side(plan, 8) == job.chunk_side(plan, 200)
    wide = plan_windows((60_000, 60_000), 20_000, 1 / 3, cell=208)
    assert job.chunk_side(wide, 8) == 512
