"""The Dice loss equals a slow formula written down from its definition."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.losses.dice import dice_loss
from tests.losses.test_pixel import draw, shapes


def slow_dice(logits, target, ignore_value, smoothing=0.05):
    probabilities = logits.softmax(dim=1).permute(0, 2, 3, 1)[target != ignore_value]
    labelled = target[target != ignore_value]
    losses = []
    for k in range(logits.shape[1]):
        own = labelled == k
        if own.any():
            overlap, mass = probabilities[own, k].sum(), probabilities[:, k].sum()
            losses.append(1 - (2 * overlap + smoothing) / (mass + own.sum() + smoothing))
        else:
            losses.append(torch.tensor(0.0))
    return torch.stack(losses).mean()


@settings(max_examples=40)
@given(shapes, st.integers(0, 10**6), st.sampled_from([255, 0]), st.sampled_from([0.05, 1.0]))
def test_dice_equals_the_sums_over_labelled_pixels(shape, seed, ignore_value, smoothing):
    logits, target = draw(shape, seed)
    target = target.where(target != 255, ignore_value)
    expected = slow_dice(logits, target, ignore_value, smoothing)
    torch.testing.assert_close(dice_loss(logits, target, ignore_value, smoothing), expected)


def test_a_perfect_prediction_has_no_loss_and_a_wholly_wrong_one_almost_one():
    target = torch.tensor([[[0, 1], [2, 255]]])
    right = 50 * torch.eye(3)[target.where(target < 3, 0)].permute(0, 3, 1, 2)
    assert float(dice_loss(right, target)) < 1e-6
    assert float(dice_loss(right.roll(1, dims=1), target)) > 0.97


def test_classes_without_a_label_count_as_zero_in_the_mean():
    logits, target = draw((2, 3, 4, 4), 0)
    alone = dice_loss(logits, torch.zeros_like(target))
    widened = torch.cat([logits, torch.full_like(logits, -60.0)], dim=1)
    torch.testing.assert_close(dice_loss(widened, torch.zeros_like(target)), alone / 2)


def test_ignored_pixels_have_no_gradient():
    logits, target = draw((2, 3, 4, 4), 1)
    logits.requires_grad_()
    dice_loss(logits, target).backward()
    ignored = (target == 255)[:, None].expand_as(logits)
    assert ignored.any() and not logits.grad[ignored].any() and logits.grad[~ignored].any()


def test_half_precision_logits_are_summed_in_single_precision():
    logits, target = draw((1, 3, 64, 64), 2)
    reference = dice_loss(logits.bfloat16().float(), target)
    torch.testing.assert_close(dice_loss(logits.bfloat16(), target), reference)
