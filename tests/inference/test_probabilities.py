"""FCtL's probabilities: the softmax of mean logits, with the published labels."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.inference.contexts import patch_counts, patch_grid
from rskt_seg.inference.patches import (
    augmented_score_map,
    patch_logits,
    probabilities,
    score_map,
)
from rskt_seg.inference.views import VIEWS
from tests.inference.patch_stub import PatchStub, colours

SIDE, OVERLAP = 24, 6


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def noisy(seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 3, 3, 3, generator=generator) / 500
    return PatchStub(weight, torch.randn(3, generator=generator), SIDE, factors={"medium": 2.0, "large": 0.0})


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, SIDE - 1))
def test_counts_are_the_number_of_patches_over_a_pixel(height, width, overlap):
    counts = np.zeros((max(height, SIDE), max(width, SIDE)))
    for window in patch_grid(height, width, SIDE, overlap):
        counts[window.rows, window.columns] += 1
    assert np.array_equal(patch_counts(height, width, SIDE, overlap).numpy(), counts[:height, :width])


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["none", "lr", "dihedral"]))
@torch.inference_mode()
def test_labels_are_those_of_the_published_sum(height, width, name):
    image, model = picture(height, width), noisy()
    scores = probabilities(model, image, VIEWS[name], overlap=OVERLAP)
    assert scores.shape == (3, height, width) and scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(height, width))
    summed = augmented_score_map(model, image, VIEWS[name], overlap=OVERLAP)
    assert torch.equal(scores.argmax(dim=0), summed.argmax(dim=0))
    if name == "none":
        assert torch.equal(scores.argmax(dim=0), score_map(model, image, overlap=OVERLAP).argmax(dim=0))


@torch.inference_mode()
def test_scores_are_the_softmax_of_the_mean_over_patches():
    image, model = picture(50, 31, 3), noisy(3)
    total, count = torch.zeros(3, 50, 31), torch.zeros(50, 31)
    for window, logits in patch_logits(model, image, overlap=OVERLAP):
        total[:, window.rows, window.columns] += logits
        count[window.rows, window.columns] += 1
    scores = probabilities(model, image, overlap=OVERLAP)
    assert count.max() > 1
    torch.testing.assert_close(scores, (total / count).softmax(dim=0))


@pytest.mark.parametrize("name", VIEWS)
@torch.inference_mode()
def test_a_pixelwise_model_is_as_sure_with_views_and_patches_as_without(name):
    flat = np.full((40, 61, 3), (3, 2, 1), np.uint8)
    scores = probabilities(colours(SIDE), flat, VIEWS[name], overlap=OVERLAP)
    expected = torch.tensor([3.0, 2.0, 1.0]).softmax(dim=0)[:, None, None].expand(3, 40, 61)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["none", "dihedral"])
@torch.inference_mode()
def test_a_model_of_whole_images_is_no_surer_for_more_views(name):
    flat = np.full((40, 61, 3), (3, 2, 1), np.uint8)
    scores = probabilities(colours(SIDE, whole=True), flat, VIEWS[name])
    expected = torch.tensor([3.0, 2.0, 1.0]).softmax(dim=0)[:, None, None].expand(3, 40, 61)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_memory_is_that_of_two_score_maps():
    code = """
import resource
import numpy as np
import torch
from rskt_seg.inference.patches import probabilities
from tests.inference.patch_stub import colours

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

model = colours(508, seen=32, factors={"medium": 2.0, "large": 3.0})
image = np.full((3000, 1500, 3), (1, 2, 3), np.uint8)
with torch.inference_mode():
    probabilities(model, image[:600, :600])
    before = peak()
    scores = probabilities(model, image)
assert int(scores[:, 2000, 1000].argmax()) == 2
size = scores.numel() * 4 / 2**20
# The scores, their sum over views, and the counts of patches, a third of either.
assert peak() - before < 2.8 * size, (peak() - before, size)
"""
    # Large blocks go back to the system at once, so that the peak is what was in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
