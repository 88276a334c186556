from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.inference.predict import (
    evaluating,
    merge_sliding,
    predict_scores,
    predict_sliding_scores,
    sliding_crops,
    sliding_scores,
)


@dataclass(frozen=True)
class Output:
    logits: Tensor


class Channels(nn.Module):
    """Class t is channel t % 3 of the image, averaged to an 8 x 8 map; keeps what it was called with."""

    working_side = 24

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout()
        self.frozen = nn.BatchNorm2d(3).eval()
        self.calls: list[tuple[tuple[int, ...], tuple[str, ...], str | None, bool]] = []

    @property
    def device(self) -> torch.device:
        return self.scale.device

    def forward(self, images, vocabulary, padding=None):
        self.calls.append((tuple(images.shape), tuple(vocabulary), padding, self.training))
        maps = F.adaptive_avg_pool2d(self.dropout(images) * self.scale / 255, 8)
        return Output(torch.logit(maps[:, [t % 3 for t in range(len(vocabulary))]], eps=1e-4))

    def scores(self, output):
        return output.logits.sigmoid()


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_model_sees_the_short_side_at_640_and_its_padding():
    model = Channels()
    with evaluating(model):
        scores = predict_scores(model, [image(100, 150)], ("a", "b"), padding="aligned")[0]
    assert model.calls == [((1, 3, 640, 960), ("a", "b"), "aligned", False)]
    assert scores.shape == (2, 8, 8) and scores.min() >= 0 and scores.max() <= 1


def test_a_large_image_is_shrunk_without_skipping_pixels():
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::4] = 255  # every tenth pixel would be all 255 or all 0
    model = Channels()
    with evaluating(model):
        scores = predict_scores(model, [stripes], ("a",), short_side=24)[0]
    assert (scores - 0.25).abs().max() < 0.02


def test_evaluation_mode_is_left_as_it_was_found_even_after_an_error():
    model = Channels().train()
    model.frozen.eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError, match="stop"), evaluating(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
        raise RuntimeError("stop")
    assert [module.training for module in model.modules()] == before == [True, True, False]


def test_a_model_that_is_evaluating_already_is_not_switched():
    class Watched(Channels):
        def train(self, mode=True):
            raise AssertionError("would empty the model's caches")

    model = Watched()
    for module in model.modules():
        module.training = False
    with evaluating(model):
        pass


def test_sliding_crops_are_the_windows_of_the_square_and_the_whole_image():
    x = torch.from_numpy(image(50, 70).transpose(2, 0, 1)).float()
    crops = sliding_crops(x)
    square = F.interpolate(x[None], (640, 640), mode="bilinear")[0]
    assert crops.shape == (5, 3, 384, 384)
    assert torch.equal(crops[1], square[:, :384, 256:]) and torch.equal(crops[2], square[:, 256:, :384])
    assert torch.equal(crops[4], F.interpolate(x[None], (384, 384), mode="bilinear")[0])


def test_merged_scores_equal_the_published_fold():
    """Sum of the windows over their number, by torch's own fold, and the mean of that and the whole."""
    torch.manual_seed(0)
    scores = torch.rand(5, 3, 24, 24)
    columns = scores[:4].reshape(4, -1).T[None]
    folded = F.fold(columns, (40, 40), 24, stride=16)
    count = F.fold(torch.ones_like(columns), (40, 40), 24, stride=16)
    whole = F.interpolate(scores[4:], (40, 40), mode="bilinear", align_corners=False)
    expected = ((folded / count + whole) / 2)[0]
    torch.testing.assert_close(merge_sliding(scores, 24, 40), expected, rtol=0, atol=1e-6)


def test_sliding_scores_resize_logits_before_the_sigmoid_and_batch_size_changes_nothing():
    model = Channels().eval()
    x = torch.from_numpy(image(50, 70).transpose(2, 0, 1)).float()
    with torch.no_grad():
        whole = sliding_scores(model, x, ("a", "b"), tile=24, square=40)
        one_by_one = sliding_scores(model, x, ("a", "b"), tile=24, square=40, batch_size=1)
        logits = model(sliding_crops(x, 24, 40), ("a", "b")).logits
        upsampled = F.interpolate(logits, (24, 24), mode="bilinear", align_corners=False).sigmoid()
    assert whole.shape == (2, 40, 40)
    torch.testing.assert_close(whole, merge_sliding(upsampled, 24, 40), rtol=0, atol=1e-6)
    torch.testing.assert_close(whole, one_by_one, rtol=0, atol=1e-6)


def test_a_uniform_image_scores_the_same_everywhere_in_sliding_mode():
    flat = np.full((90, 33, 3), (200, 100, 50), np.uint8)
    model = Channels()
    with evaluating(model):
        scores = predict_sliding_scores(model, flat, ("a", "b", "c"), tile=24, square=40, short_side=40)
    expected = torch.tensor([200, 100, 50]).view(3, 1, 1) / 255
    torch.testing.assert_close(scores, expected.expand(3, 40, 40), rtol=0, atol=1e-3)


def test_sliding_sees_finer_than_the_whole_image():
    dot = np.zeros((640, 640, 3), np.uint8)
    dot[48:96, 48:96] = 255  # one cell of 48 px in a window, part of a cell of 80 px in the whole
    model = Channels()
    with evaluating(model):
        whole = predict_scores(model, [dot], ("a",))[0]
        sliding = predict_sliding_scores(model, dot, ("a",), tile=384, square=640)
    assert sliding.max() > whole.max() + 0.2


@pytest.mark.parametrize(("padding", "filtered"), [("aligned", True), ("published", False)])
def test_sliding_shrinks_with_a_filter_unless_published_numbers_are_asked_for(padding, filtered):
    stripes = np.zeros((40, 400, 3), np.uint8)
    stripes[:, 5::10] = 255  # an unfiltered tenfold reduction hits one column in ten, all of them black
    model = Channels()
    with evaluating(model):
        scores = predict_sliding_scores(
            model, stripes, ("a",), tile=24, square=40, short_side=40, max_side=400, padding=padding
        )
    assert (abs(scores.mean().item() - 0.1) < 0.01) == filtered
