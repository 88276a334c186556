"""The losses of the weakly supervised method equal slow formulas and stay finite where groups are empty."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.losses.pixel import balanced_cross_entropy


def plain_target(labels, grid, radius, ignored):
    """One pair after the other."""
    (height, width), (rows, columns) = labels.shape, grid
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    named = [int(labels[i * height // rows, j * width // columns]) for i, j in cells]
    target = torch.full((len(cells), len(cells)), 255, dtype=torch.uint8)
    for a, (ya, xa) in enumerate(cells):
        for b, (yb, xb) in enumerate(cells):
            near = max(abs(ya - yb), abs(xa - xb)) <= radius
            if near and ignored not in (named[a], named[b]):
                target[a, b] = named[a] == named[b]
    return target


def draw_labels(seed, height, width, ignored=255):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, height, width), generator=rng)
    return labels.where(labels < 3, ignored)


@settings(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(0, 4),
    st.sampled_from([255, 7]),
)
def test_targets_equal_the_definition_pair_by_pair(seed, grid, more, radius, ignored):
    labels = draw_labels(seed, grid[0] + more[0], grid[1] + more[1], ignored)
    found = affinity_target(labels, grid, radius, ignored)
    assert found.dtype == torch.uint8
    for image, target in zip(labels, found, strict=True):
        assert torch.equal(target, plain_target(image, grid, radius, ignored))


def test_a_radius_beyond_the_grid_counts_every_labelled_pair():
    target = affinity_target(draw_labels(0, 6, 8), (3, 4), 100)
    tokens = draw_labels(0, 6, 8)[:, ::2, ::2].flatten(1)
    labelled = tokens != 255
    assert torch.equal(target != 255, labelled[:, :, None] & labelled[:, None, :])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_affinity_loss_is_that_of_all_counted_pairs_of_the_batch(seed):
    rng = torch.Generator().manual_seed(seed)
    target = affinity_target(draw_labels(seed, 3, 3), (3, 3), 1)
    affinity = torch.rand(target.shape, generator=rng)
    pairs = list(zip(affinity.flatten().tolist(), target.flatten().tolist(), strict=True))
    same, different = [1 - a for a, t in pairs if t == 1], [a for a, t in pairs if t == 0]
    expected = (sum(same) / (len(same) + 1) + sum(different) / (len(different) + 1)) / 2
    assert float(affinity_loss(affinity, target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_kind_of_pair_that_is_missing_has_no_part_in_the_affinity_loss(value):
    affinity = torch.rand(1, 4, 4, requires_grad=True)
    loss = affinity_loss(affinity, torch.full((1, 4, 4), value, dtype=torch.uint8))
    loss.backward()
    expected = {0: affinity.sum() / 34, 1: (1 - affinity).sum() / 34, 255: torch.tensor(0.0)}[value]
    torch.testing.assert_close(loss, expected)
    assert torch.equal(affinity.grad, torch.full_like(affinity, {0: 1 / 34, 1: -1 / 34, 255: 0.0}[value]))


def test_the_affinity_loss_of_half_precision_maps_sums_in_single_precision():
    affinity = torch.full((1, 300, 300), 0.75, dtype=torch.float16)
    loss = affinity_loss(affinity, torch.zeros(affinity.shape, dtype=torch.uint8))
    assert loss.dtype == torch.float32 and float(loss) == pytest.approx(0.375, rel=1e-4)


def draw_logits(seed):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((2, 3, 4, 5), generator=rng) * 3


def mean_over(logits, target, counted):
    chosen = F.cross_entropy(logits, target.clamp(max=2), reduction="none")[counted]
    return chosen.mean() if len(chosen) else torch.tensor(0.0)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2, None]))
def test_each_group_of_pixels_has_half_the_loss(seed, background):
    logits, target = draw_logits(seed), draw_labels(seed, 4, 5)
    behind = target == (-1 if background is None else background)
    expected = mean_over(logits, target, behind) + mean_over(logits, target, ~behind & (target != 255))
    found = balanced_cross_entropy(logits, target, 255, background)
    torch.testing.assert_close(found, expected / 2)


@pytest.mark.parametrize("background", [0, None])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_group_without_pixels_gives_zero_and_a_zero_gradient(value, background):
    logits = draw_logits(0).requires_grad_()
    target = torch.full((2, 4, 5), value)
    loss = balanced_cross_entropy(logits, target, 255, background)
    loss.backward()
    if value == 255:
        assert float(loss.detach()) == 0 and not logits.grad.any()
    else:
        torch.testing.assert_close(loss, F.cross_entropy(logits, target) / 2)
        assert logits.grad.isfinite().all() and logits.grad.any()


def test_ignored_pixels_move_nothing():
    logits, target = draw_logits(1), draw_labels(1, 4, 5)
    ignored = (target == 255)[:, None].expand_as(logits)
    assert ignored.any()
    moved = logits.where(~ignored, 50.0)
    assert torch.equal(balanced_cross_entropy(moved, target), balanced_cross_entropy(logits, target))
    other = target.where(target != 255, 9)
    assert torch.equal(balanced_cross_entropy(logits, other, 9), balanced_cross_entropy(logits, target))
