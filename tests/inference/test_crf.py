"""The dense CRF is that of its equations, up to the approximation of its filter."""

import sys

import numpy as np
import pytest
import torch

from rskt_seg.errors import ConfigError
from rskt_seg.inference.crf import (
    CRFParameters,
    check_crf_installed,
    refine_in_tiles,
    refine_probabilities,
)
from rskt_seg.inference.scales import scaled_scores
from rskt_seg.segmenter import Segmenter
from tests.inference.prior_stub import PriorStub


@pytest.fixture
def installed():
    return pytest.importorskip(
        "pydensecrf.densecrf", reason="the optional package pydensecrf2 is not installed"
    )


OTHER = CRFParameters(gaussian_sxy=3.0, gaussian_compat=3.0, bilateral_sxy=64.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def uncertain(classes, height, width, seed=0):
    """Random probabilities (K, H, W)."""
    return rng(seed).dirichlet(np.ones(classes), (height, width)).transpose(2, 0, 1)


def exact(probabilities, image, parameters):
    """Mean-field inference by all pairs of pixels: O(n^2), with symmetrically normalised kernels."""
    classes, height, width = probabilities.shape
    places = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float)
    colors = image.reshape(-1, 3).astype(float)

    def kernel(features):
        values = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(axis=-1))
        scale = 1 / np.sqrt(values.sum(axis=1))
        return scale[:, None] * values * scale

    both = np.hstack([places / parameters.bilateral_sxy, colors / parameters.bilateral_srgb])
    pairs = parameters.gaussian_compat * kernel(places / parameters.gaussian_sxy)
    pairs += parameters.bilateral_compat * kernel(both)
    evidence = np.log(np.clip(probabilities.reshape(classes, -1), 1e-5, 1))

    def softmax(values):
        values = np.exp(values - values.max(axis=0))
        return values / values.sum(axis=0)

    found = softmax(evidence)
    for _ in range(parameters.iterations):
        found = softmax(evidence + found @ pairs)  # Potts: what agrees is favoured
    return found.reshape(classes, height, width)


# The lattice of the library approximates the kernels; these bounds are about twice what was found, and every
# iteration adds to it.
@pytest.mark.parametrize(
    ("parameters", "most", "mean"),
    [
        (CRFParameters(iterations=1, bilateral_compat=0), 0.02, 0.003),
        (CRFParameters(iterations=1, gaussian_compat=0), 0.15, 0.003),
        (CRFParameters(iterations=1), 0.15, 0.004),
        (CRFParameters(2, 2.0, 3.0, 40.0, 60.0, 1.0), 0.05, 0.008),
        (CRFParameters(2, 2.0, 0.5, 40.0, 30.0, 3.0), 0.25, 0.03),
    ],
)
def test_it_is_mean_field_inference(installed, parameters, most, mean):
    probabilities = uncertain(3, 12, 13)
    image = rng(1).integers(0, 256, (12, 13, 3), dtype=np.uint8)
    found = refine_probabilities(probabilities, image, parameters)
    away = np.abs(found - exact(probabilities, image, parameters))
    assert found.dtype == np.float32 and found.shape == probabilities.shape
    assert away.max() < most and away.mean() < mean
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-5)
    assert np.abs(probabilities - exact(probabilities, image, parameters)).mean() > 2 * mean


def two_regions(height=30, width=40):
    """An image of two flat colours, and probabilities that say which, seldom sure and often wrong."""
    truth = np.zeros((height, width), int)
    truth[:, width // 2 :] = 1
    image = np.where(truth[..., None] == 1, (200, 60, 60), (60, 90, 160)).astype(np.uint8)
    right = np.where(rng().random((height, width)) < 0.3, 0.4, 0.6)
    first = np.where(truth == 0, right, 1 - right)
    return truth, image, np.stack([first, 1 - first])


@pytest.mark.parametrize("parameters", [None, OTHER])
def test_labels_follow_the_edge_of_two_regions(installed, parameters):
    truth, image, probabilities = two_regions()
    assert (probabilities.argmax(axis=0) != truth).mean() > 0.2
    assert np.array_equal(refine_probabilities(probabilities, image, parameters).argmax(axis=0), truth)


def test_what_is_certain_and_what_has_one_class_stays(installed):
    truth, image, _ = two_regions()
    sure = np.stack([truth == 0, truth == 1]).astype(float)
    assert np.array_equal(refine_probabilities(sure, image).argmax(axis=0), truth)
    assert (refine_probabilities(np.ones((1, 30, 40)), image) == 1).all()


def test_the_layout_of_the_arrays_does_not_count(installed):
    _, image, probabilities = two_regions()
    expected = refine_probabilities(probabilities, image)
    turned = np.asfortranarray(probabilities.astype(np.float32))
    assert np.array_equal(refine_probabilities(turned, np.asfortranarray(image)), expected)
    flipped = refine_probabilities(probabilities[:, ::-1, ::-1], image[::-1, ::-1])
    np.testing.assert_allclose(flipped[:, ::-1, ::-1], expected, atol=0.02)  # the lattice lies elsewhere


def test_tiles_are_refined_each_and_averaged_where_they_overlap(installed):
    _, image, probabilities = two_regions()
    whole = torch.from_numpy(probabilities)
    one = refine_in_tiles(whole, image, tile=40, overlap=10)
    np.testing.assert_array_equal(one.numpy(), refine_probabilities(probabilities, image))
    found = refine_in_tiles(whole, image, tile=30, overlap=20, parameters=OTHER).numpy()
    left = refine_probabilities(probabilities[:, :, :30], image[:, :30], OTHER)
    right = refine_probabilities(probabilities[:, :, 10:], image[:, 10:], OTHER)
    np.testing.assert_allclose(found[:, :, :10], left[:, :, :10], rtol=1e-5)
    np.testing.assert_allclose(found[:, :, 10:30], (left[:, :, 10:] + right[:, :, :20]) / 2, rtol=1e-5)


def test_scores_of_a_model_are_refined_with_its_image(installed):
    pixels = torch.from_numpy(rng().integers(0, 256, (3, 24, 40), dtype=np.uint8))
    with torch.no_grad():
        plain = scaled_scores(PriorStub(), pixels, tile=40, overlap=8)
        found = {
            crf: scaled_scores(PriorStub(), pixels, tile=40, overlap=8, crf=crf) for crf in (True, OTHER)
        }
    image = pixels.permute(1, 2, 0).numpy()
    for crf, scores in found.items():
        expected = refine_probabilities(plain.numpy(), image, None if crf is True else crf)
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5)
    labels = Segmenter(PriorStub(), tile=40, tile_overlap=8, crf=True).predict(image).labels
    assert np.array_equal(labels, found[True].argmax(dim=0).numpy())


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    for ask in (check_crf_installed, lambda: Segmenter(PriorStub(), crf=True)):
        with pytest.raises(ConfigError, match=r"pip install 'pydensecrf2>=1\.1'") as caught:
            ask()
        assert len(str(caught.value).splitlines()) == 1
    Segmenter(PriorStub())  # nothing is missing unless it is asked for


@pytest.mark.parametrize(
    ("shape", "kind"), [((12, 13, 3), np.float32), ((13, 12, 3), np.uint8), ((12, 13), np.uint8)]
)
def test_an_image_that_does_not_belong_is_refused(shape, kind):
    with pytest.raises(ValueError, match=r"\(12, 13, 3\) uint8"):
        refine_probabilities(uncertain(2, 12, 13), np.zeros(shape, kind))


@pytest.mark.parametrize(
    "options",
    [
        {"iterations": 0},
        {"iterations": 1.5},
        {"gaussian_sxy": 0},
        {"bilateral_compat": -1},
        {"bilateral_srgb": np.nan},
    ],
)
def test_parameters_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        CRFParameters(**options)


def test_the_default_is_that_for_remote_sensing():
    assert CRFParameters() == CRFParameters(10, 1, 1, 121, 5, 4)
