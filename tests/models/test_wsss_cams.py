"""Laws of the CAMs of the weakly supervised method and of their refinement by relations."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import initial_cam, min_max_normalize, stack_cams, valid_cells
from rskt_seg.models.wsss.relations import (
    diffuse,
    joint_affinity,
    refine_cams,
    select_attention,
    transition_matrix,
)
from tests.models.wsss_draw import draw_present, draw_scene, permuted, rand, randn

NUMBERS = st.integers(0, 10**6)


# CAMs


def test_a_cell_may_be_a_seed_where_at_least_half_of_it_is_in_the_image_and_valid():
    valid = torch.ones(1, 20, 21, dtype=torch.bool)
    valid[:, 8:12, :8] = False  # half of the second cell of the first column
    valid[:, 8:13, 8:16] = False  # more than half of that of the second
    # The last row of cells has 4 of 8 rows in the image, the last column 5 of 8 columns.
    assert valid_cells(valid, 8).tolist() == [[[1, 1, 1, 1, 0, 1, 1, 1, 0]]]


@settings(max_examples=25)
@given(NUMBERS, st.floats(0.1, 100), st.floats(-50, 50))
def test_normalised_maps_reach_from_0_to_1_whatever_their_scale_and_offset(seed, scale, offset):
    maps = rand(seed, 2, 3, 12)
    found = min_max_normalize(maps)
    assert torch.equal(found.amin(dim=-1), torch.zeros(2, 3)) and torch.equal(
        found.amax(dim=-1), torch.ones(2, 3)
    )
    torch.testing.assert_close(min_max_normalize(maps * scale + offset), found, rtol=0, atol=2e-3)


def test_a_flat_map_becomes_zero():
    assert not min_max_normalize(torch.full((1, 2, 5), 0.3)).any()
    assert float(min_max_normalize(torch.tensor([0.0, 1e-7])).max()) == pytest.approx(0.1)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, None])
def test_absent_classes_are_zero_and_the_background_is_what_the_present_ones_leave(power):
    maps, present = rand(0, 3, 4, 9), draw_present(0, 3, 4)
    stack = stack_cams(maps.where(present[..., None], torch.nan), present, power)
    assert torch.equal(stack[:, 1:], maps * present[..., None])
    if power is None:
        assert torch.equal(stack[:, 0], torch.full((3, 9), -1.0))
    else:
        torch.testing.assert_close(stack[:, 0], (1 - stack[:, 1:].amax(dim=1)) ** power)
        assert torch.equal(stack[-1, 0], torch.ones(9))


@settings(max_examples=15)
@given(NUMBERS, st.permutations(range(4)), st.sampled_from([1e-8, 0.1, 30.0]))
def test_initial_cams_follow_the_order_of_the_classes_and_no_length(seed, order, length):
    features, text, present = randn(seed, 3, 6, 9), randn(seed + 1, 4, 6), draw_present(seed, 3, 4)
    found = initial_cam(features, text, present, 2.0)
    other = initial_cam(features * length, text[order] * length, present[:, order], 2.0)
    torch.testing.assert_close(other, permuted(found, order), rtol=0, atol=1e-4)


def test_half_precision_features_give_maps_in_single_precision():
    features, text, present = randn(0, 2, 6, 9).half(), randn(1, 4, 6).half(), draw_present(0, 2, 4)
    found = initial_cam(features, text, present, 1.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, initial_cam(features.float(), text.float(), present, 1.0))


# Refinement by relations


@pytest.mark.parametrize("kind", ["dot", "scaled", "cosine"])
def test_affinity_is_symmetric_between_0_and_1_and_keeps_its_gradient(kind):
    features = randn(0, 2, 16, 7).requires_grad_()
    affinity = joint_affinity(features, kind)
    affinity[:, 0, 1].sum().backward()
    torch.testing.assert_close(affinity, affinity.transpose(1, 2))
    assert float(affinity.detach().min()) > 0 and float(affinity.detach().max()) <= 1
    assert features.grad[:, :, :2].all() and features.grad.isfinite().all()
    product = features.transpose(1, 2) @ features
    cosine = F.cosine_similarity(features[:, :, :, None], features[:, :, None, :], dim=1)
    centred = torch.stack([3 * (image - image.mean()) for image in cosine])
    expected = {"dot": product, "scaled": product / math.sqrt(16), "cosine": centred}[kind]
    torch.testing.assert_close(affinity, expected.sigmoid())


def test_an_unknown_kind_of_affinity_is_named():
    with pytest.raises(ConfigError, match=r"dot, scaled, cosine.*'euclid'"):
        joint_affinity(torch.zeros(1, 2, 3), "euclid")


def test_attention_maps_nearer_to_the_affinity_than_the_mean_are_kept():
    affinity = rand(0, 2, 6, 6)
    shift = torch.tensor([[0.3, -0.1, 0.2, -0.4], [0.0, 0.9, 0.9, 0.9]])
    scores, kept = select_attention(affinity, affinity[:, None] + shift[..., None, None])
    torch.testing.assert_close(scores, 36 * shift.abs())
    assert kept.tolist() == [[False, True, True, False], [True, False, False, False]]


def test_a_map_at_the_mean_itself_is_not_kept():
    attention = torch.tensor([0.25, 0.5, 0.75])[None, :, None, None].expand(-1, -1, 4, 4)
    scores, kept = select_attention(torch.zeros(1, 4, 4), attention)
    assert scores.tolist() == [[4, 8, 12]] and kept.tolist() == [[True, False, False]]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_maps_that_score_all_the_same_are_all_kept(count):
    affinity, one = rand(0, 2, 9, 9), rand(1, 2, 1, 9, 9)
    _, kept = select_attention(affinity, one.expand(-1, count, -1, -1))
    assert kept.all() and kept.shape == (2, count)


def test_scores_of_half_precision_maps_do_not_overflow():
    affinity, attention = torch.ones(1, 300, 300).half(), torch.zeros(1, 2, 300, 300).half()
    scores, _ = select_attention(affinity, attention)
    assert torch.equal(scores, torch.full((1, 2), 90000.0))


def test_transitions_are_symmetric_and_their_rows_sum_to_one():
    features, attention, _, _ = draw_scene()
    affinity = joint_affinity(features)
    found = transition_matrix(affinity, attention, select_attention(affinity, attention)[1], 30)
    torch.testing.assert_close(found, found.transpose(1, 2))
    torch.testing.assert_close(found.sum(dim=2), torch.ones(3, 25))
    assert float(found.min()) >= 0


def test_transitions_use_the_kept_maps_alone_and_not_their_number_or_order():
    features, attention, _, _ = draw_scene()
    affinity = joint_affinity(features)
    kept = torch.tensor([[True, False, True]]).expand(3, -1)
    found = transition_matrix(affinity, attention, kept)
    spoilt = attention.clone()
    spoilt[:, 1] = 1e3
    torch.testing.assert_close(transition_matrix(affinity, spoilt, kept), found)
    twice = transition_matrix(affinity, attention[:, [2, 0, 2, 0]], torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(twice, found)


def test_a_token_that_nobody_attends_to_leaves_all_finite():
    features, attention, cams, present = draw_scene()
    attention[:, :, :, 4] = 0
    attention[:, :, 4] = 0
    found = refine_cams(joint_affinity(features), attention, cams, present)
    assert found.transition.isfinite().all() and found.cams.isfinite().all()
    assert not found.transition[:, 4].any()


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_diffusion_equals_the_matrix_power(steps):
    matrix, cams = rand(0, 2, 9, 9) / 9, rand(1, 2, 4, 9)
    expected = torch.einsum("bij,bcj->bci", torch.linalg.matrix_power(matrix, steps), cams)
    torch.testing.assert_close(diffuse(matrix, cams, steps), expected)


@settings(max_examples=15)
@given(NUMBERS, st.permutations(range(4)), st.permutations(range(3)), st.booleans())
def test_refinement_follows_the_order_of_classes_and_of_images_and_not_that_of_maps(
    seed, order, maps, renorm
):
    features, attention, cams, present = draw_scene(seed)
    affinity, options = joint_affinity(features), {"power": 2.0, "renorm": renorm}
    found = refine_cams(affinity, attention, cams, present, **options)
    other = refine_cams(affinity, attention[:, maps], permuted(cams, order), present[:, order], **options)
    torch.testing.assert_close(other.cams, permuted(found.cams, order), rtol=0, atol=1e-3)
    assert torch.equal(other.kept, found.kept[:, maps])
    alone = refine_cams(affinity[1:2], attention[1:2], cams[1:2], present[1:2], **options)
    torch.testing.assert_close(alone.cams, found.cams[1:2], rtol=0, atol=1e-3)


@pytest.mark.parametrize("renorm", [True, False])
def test_refinement_leaves_absent_classes_zero_and_unlabelled_images_background(renorm):
    features, attention, cams, present = draw_scene()
    affinity = joint_affinity(features.requires_grad_())
    found = refine_cams(affinity, attention, cams, present, renorm=renorm)
    assert not found.cams[:, 1:][~present].any() and found.cams[:, 1:][present].any()
    torch.testing.assert_close(found.cams[-1, 0], torch.ones(25), rtol=0, atol=2e-2)
    assert not any(value.requires_grad for value in vars(found).values())


@pytest.mark.parametrize("renorm", [True, False])
def test_without_a_background_its_channel_stays_below_every_class(renorm):
    features, attention, cams, present = draw_scene()
    cams = stack_cams(cams[:, 1:], present, None)
    found = refine_cams(joint_affinity(features), attention, cams, present, power=None, renorm=renorm)
    assert torch.equal(found.cams[:, 0], torch.full((3, 25), -1.0))
    assert float(found.cams[:, 1:].min()) >= 0


def test_maps_that_are_given_are_used_besides_those_that_pass_the_filter():
    features, attention, cams, present = draw_scene()
    affinity, everything = joint_affinity(features), torch.ones(3, 3, dtype=torch.bool)
    filtered = refine_cams(affinity, attention, cams, present)
    assert torch.equal(
        refine_cams(affinity, attention, cams, present, kept=torch.tensor(False)).kept, filtered.kept
    )
    found = refine_cams(affinity, attention, cams, present, kept=everything)
    assert not filtered.kept.all() and found.kept.all()
    assert torch.equal(found.scores, filtered.scores)
    torch.testing.assert_close(found.transition, transition_matrix(affinity, attention, everything, rounds=3))
    torch.testing.assert_close(found.diffused, diffuse(found.transition, cams, 3))
