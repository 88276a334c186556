import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.losses.focal import focal_loss


def example(seed, classes=4):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, 5, 6, generator=generator)
    return logits, torch.randint(0, classes, (2, 5, 6), generator=generator)


def naive(logits, target, gamma, ignored):
    total, count = 0.0, 0
    for image, label in zip(logits.double(), target, strict=True):
        for y in range(label.shape[0]):
            for x in range(label.shape[1]):
                if int(label[y, x]) == ignored:
                    continue
                p = float(image[:, y, x].softmax(dim=0)[label[y, x]])
                p = min(max(p, 1e-7), 1 - 1e-7)
                total -= (1 - p) ** gamma * float(torch.tensor(p, dtype=torch.float64).log())
                count += 1
    return total / max(count, 1)


@given(st.integers(0, 50), st.sampled_from([0.0, 0.5, 2.0, 3.0]), st.sampled_from([255, 1]))
def test_it_is_the_formula_pixel_by_pixel(seed, gamma, ignored):
    logits, target = example(seed)
    assert float(focal_loss(logits, target, gamma, ignored)) == pytest.approx(
        naive(logits, target, gamma, ignored), rel=1e-5
    )


def test_gamma_0_is_cross_entropy():
    logits, target = example(1)
    torch.testing.assert_close(focal_loss(logits, target, 0.0), F.cross_entropy(logits, target))


def test_ignored_pixels_change_neither_the_loss_nor_any_gradient():
    logits, target = example(2)
    target[:, :2] = 255
    logits.requires_grad_()
    loss = focal_loss(logits, target)
    loss.backward()
    assert not logits.grad[:, :, :2].any() and logits.grad[:, :, 2:].any()
    other = logits.detach().clone()
    other[:, :, :2] += 5
    assert torch.equal(focal_loss(other, target), loss)
    cut = focal_loss(logits.detach()[:, :, 2:], target[:, 2:])
    torch.testing.assert_close(loss.detach(), cut)


def test_nothing_labelled_is_a_loss_of_0_with_a_gradient_of_0():
    logits, target = example(3)
    logits.requires_grad_()
    loss = focal_loss(logits, torch.full_like(target, 255))
    loss.backward()
    assert float(loss.detach()) == 0 and not logits.grad.any()


def test_pixels_that_are_certain_are_finite_and_without_gradient():
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0] = 100.0
    logits.requires_grad_()
    loss = focal_loss(logits, torch.tensor([[[0, 1]]]))
    loss.backward()
    assert torch.isfinite(loss) and not logits.grad.any()
    assert float(loss.detach()) == pytest.approx(0.5 * 16.118, rel=1e-3)


def test_hard_pixels_weigh_more_the_larger_gamma_is():
    logits = torch.tensor([2.0, -2.0]).view(1, 1, 1, 2)
    logits = torch.cat([logits, torch.zeros_like(logits)], dim=1)
    target = torch.zeros(1, 1, 2, dtype=torch.long)
    shares = []
    for gamma in (0.0, 2.0, 3.0):
        easy, hard = (focal_loss(logits[..., i : i + 1], target[..., i : i + 1], gamma) for i in (0, 1))
        shares.append(float(hard / (easy + hard)))
    assert shares == sorted(shares) and shares[2] > shares[0] + 0.05


def test_half_precision_is_computed_in_single():
    logits, target = example(4)
    half = focal_loss(logits.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, focal_loss(logits.bfloat16().float(), target))
