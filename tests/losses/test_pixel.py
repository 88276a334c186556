"""Losses equal slow formulas written down from their definitions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import LabelError
from rskt_seg.losses.pixel import check_target, one_hot_bce, one_hot_cross_entropy

shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))


def draw(shape, seed):
    rng = torch.Generator().manual_seed(seed)
    b, t, h, w = shape
    target = torch.randint(0, t + 1, (b, h, w), generator=rng)
    target[target == t] = 255
    return torch.randn(shape, generator=rng) * 3, target


def one_hot(target, classes):
    planes = [(target == k).float() for k in range(classes)]
    return torch.stack(planes, dim=1)


@settings(max_examples=25)
@given(shapes, st.integers(0, 10**6), st.booleans())
def test_bce_equals_binary_cross_entropy_against_one_hot_planes(shape, seed, masked):
    logits, target = draw(shape, seed)
    each = F.binary_cross_entropy_with_logits(logits, one_hot(target, shape[1]), reduction="none")
    keep = (target != 255)[:, None].expand_as(each) if masked else torch.ones_like(each, dtype=torch.bool)
    expected = each[keep].mean() if keep.any() else torch.tensor(0.0)
    torch.testing.assert_close(one_hot_bce(logits, target, 255, masked), expected)


@settings(max_examples=25)
@given(shapes, st.integers(0, 10**6), st.booleans())
def test_cross_entropy_equals_the_one_hot_sum(shape, seed, masked):
    logits, target = draw(shape, seed)
    per_pixel = -(one_hot(target, shape[1]) * logits.log_softmax(dim=1)).sum(dim=1)
    keep = target != 255 if masked else torch.ones_like(target, dtype=torch.bool)
    expected = per_pixel[keep].mean() if keep.any() else torch.tensor(0.0)
    torch.testing.assert_close(one_hot_cross_entropy(logits, target, 255, masked), expected)


@settings(max_examples=25)
@given(shapes, st.integers(0, 10**6), st.booleans(), st.floats(0, 0.9))
def test_label_smoothing_spreads_its_share_over_all_classes_of_labelled_pixels(shape, seed, masked, share):
    logits, target = draw(shape, seed)
    planes = one_hot(target, shape[1])
    soft = ((1 - share) * planes + share / shape[1]) * planes.sum(dim=1, keepdim=True)
    per_pixel = -(soft * logits.log_softmax(dim=1)).sum(dim=1)
    keep = target != 255 if masked else torch.ones_like(target, dtype=torch.bool)
    expected = per_pixel[keep].mean() if keep.any() else torch.tensor(0.0)
    torch.testing.assert_close(one_hot_cross_entropy(logits, target, 255, masked, share), expected)


def test_nothing_labelled_gives_zero_and_a_zero_gradient_when_ignored_pixels_are_masked():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = one_hot_bce(logits, torch.full((1, 2, 2), 255), 255, mask_ignored=True)
    loss.backward()
    assert float(loss.detach()) == 0 and float(logits.grad.abs().max()) == 0


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(LabelError, match=r"0\.\.2 or 255.*\[3, 7\]"):
        check_target(torch.tensor([[[0, 3], [7, 255]]]), 3, 255)


def test_the_ids_of_a_target_on_another_device_are_not_read():
    check_target(torch.zeros(1, 2, 2, dtype=torch.long, device="meta"), 3, 255)


@pytest.mark.parametrize("loss", [one_hot_bce, one_hot_cross_entropy])
def test_losses_of_half_precision_logits_are_computed_in_single_precision(loss):
    logits = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    target = torch.arange(64).view(1, 8, 8) % 3
    assert torch.equal(loss(logits, target), loss(logits.float(), target))
