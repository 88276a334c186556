"""What the library of the dense CRF is told, by a stand-in that notes it: no library is needed."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from rskt_seg.inference.crf import CRFParameters, refine_in_tiles, refine_probabilities
from rskt_seg.inference.scales import scaled_scores
from tests.inference.prior_stub import PriorStub
from tests.inference.test_crf import rng, uncertain


@pytest.fixture
def told(monkeypatch):
    """A library that notes what it is told, and answers the evidence squared and brought to sum 1."""
    calls = []

    class Field:
        def __init__(self, width, height, classes):
            calls.append({"size": (width, height, classes)})

        def setUnaryEnergy(self, energy):
            calls[-1]["energy"] = energy

        def addPairwiseGaussian(self, **kernel):
            calls[-1]["gaussian"] = kernel

        def addPairwiseBilateral(self, **kernel):
            calls[-1]["bilateral"] = kernel

        def inference(self, iterations):
            calls[-1]["iterations"] = iterations
            squared = np.exp(-2 * calls[-1]["energy"])
            return squared / squared.sum(axis=0)

    package, library = ModuleType("pydensecrf"), ModuleType("pydensecrf.densecrf")
    package.densecrf, library.DenseCRF2D = library, Field
    monkeypatch.setitem(sys.modules, "pydensecrf", package)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", library)
    return calls


def squared(probabilities):
    return probabilities**2 / (probabilities**2).sum(axis=0)


def test_the_library_is_told_the_evidence_the_image_and_every_parameter_in_its_place(told):
    probabilities = uncertain(3, 4, 6)
    probabilities[0, 1, 2] = 0  # at least 1e-5 is taken
    image = rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    found = refine_probabilities(probabilities, image, CRFParameters(7, 1.5, 2.5, 30.0, 6.0, 5.0))
    (call,) = told
    assert call["size"] == (6, 4, 3) and call["iterations"] == 7
    expected = -np.log(np.maximum(probabilities, 1e-5)).reshape(3, 24)
    np.testing.assert_allclose(call["energy"], expected, rtol=1e-5, atol=1e-6)
    assert call["energy"].dtype == np.float32 and call["energy"].flags.c_contiguous
    assert call["gaussian"] == {"sxy": 1.5, "compat": 2.5}
    seen = call["bilateral"].pop("rgbim")
    assert np.array_equal(seen, image) and seen.flags.c_contiguous
    assert call["bilateral"] == {"sxy": 30.0, "srgb": 6.0, "compat": 5.0}
    np.testing.assert_allclose(found, squared(np.maximum(probabilities, 1e-5)), rtol=1e-4)


def test_every_tile_is_refined_with_its_own_pixels_and_the_parameters_asked_for(told):
    probabilities, image = uncertain(2, 20, 50), rng(1).integers(0, 256, (20, 50, 3), dtype=np.uint8)
    options = CRFParameters(iterations=3)
    found = refine_in_tiles(torch.from_numpy(probabilities), image, tile=30, overlap=10, parameters=options)
    assert [call["size"] for call in told] == [(30, 20, 2)] * 2
    for call, left in zip(told, (0, 20), strict=True):
        assert np.array_equal(call["bilateral"]["rgbim"], image[:, left : left + 30])
        assert call["iterations"] == 3
    np.testing.assert_allclose(found.numpy(), squared(probabilities), rtol=1e-4, atol=1e-6)


def test_scores_are_refined_with_the_image_they_are_of(told):
    pixels = torch.from_numpy(rng().integers(0, 256, (3, 24, 40), dtype=np.uint8))
    with torch.no_grad():
        plain = scaled_scores(PriorStub(), pixels, tile=40, overlap=8).numpy()
        found = scaled_scores(PriorStub(), pixels, tile=40, overlap=8, crf=True).numpy()
    assert np.array_equal(told[0]["bilateral"]["rgbim"], pixels.permute(1, 2, 0).numpy())
    np.testing.assert_allclose(found, squared(np.maximum(plain, 1e-5)), rtol=1e-3, atol=1e-6)
