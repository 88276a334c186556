"""The Fisher loss equals a slow formula written down from its definition."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.losses.separation import fisher_loss


def draw(batch, classes, seed, width=4):
    return torch.randn(
        batch, classes, width, dtype=torch.double, generator=torch.Generator().manual_seed(seed)
    )


def scatters(embeddings):
    """Within, between to the centre, and between over pairs."""
    batch, classes, _ = embeddings.shape
    centers = [embeddings[:, n].mean(dim=0) for n in range(classes)]
    middle = sum(centers) / classes
    within = [(embeddings[b, n] - centers[n]).square().sum() for b in range(batch) for n in range(classes)]
    pairs = [(a - b).square().sum() for a, b in combinations(centers, 2)]
    return (
        sum(within) / (batch * classes),
        sum((c - middle).square().sum() for c in centers) / classes,
        sum(pairs) / len(pairs),
    )


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 10**6))
def test_both_forms_equal_their_sums(batch, classes, seed):
    embeddings = draw(batch, classes, seed)
    within, between, pairs = scatters(embeddings)
    torch.testing.assert_close(fisher_loss(embeddings), within / (pairs.clamp(min=1e-4) + 1e-6))
    torch.testing.assert_close(fisher_loss(embeddings, "center"), within / (between + 1e-6))


def test_the_published_form_is_the_papers_times_n_minus_1_over_2n():
    embeddings = draw(3, 4, 0)
    ratio = fisher_loss(embeddings) / fisher_loss(embeddings, "center")
    assert float(ratio) == pytest.approx(3 / 8, rel=1e-5)


def test_one_image_has_no_loss_and_no_gradient():
    embeddings = draw(1, 4, 0).requires_grad_()
    loss = fisher_loss(embeddings)
    loss.backward()
    assert float(loss.detach()) == 0 and not embeddings.grad.any()


def test_classes_that_coincide_are_not_divided_by_nothing():
    embeddings = draw(3, 1, 0).expand(-1, 4, -1)
    assert torch.isfinite(fisher_loss(embeddings)) and torch.isfinite(fisher_loss(embeddings, "center"))


def test_moving_classes_apart_lowers_the_loss_and_moving_all_of_them_does_not_change_it():
    embeddings = draw(3, 4, 1)
    apart = embeddings + torch.eye(4, dtype=torch.double) * 10
    assert fisher_loss(apart) < fisher_loss(embeddings)
    torch.testing.assert_close(fisher_loss(embeddings + 5), fisher_loss(embeddings))
