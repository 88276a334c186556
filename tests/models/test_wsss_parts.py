"""Laws of the parts of the weakly supervised method: CAMs, refinement, prototypes, PAR and pseudo labels."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import initial_cam, normalised, stack_cams
from rskt_seg.models.wsss.par import ParOptions, pixel_weights, refine_pixels
from rskt_seg.models.wsss.prototypes import VisualPrototypes, cluster_texts, enrich, seeds
from rskt_seg.models.wsss.pseudo import complement_labels, dual_threshold_labels
from rskt_seg.models.wsss.relations import diffuse, joint_affinity, keep_maps, refine, transition

NUMBERS = st.integers(0, 10**6)
PAR = ParOptions(dilations=(1, 2), iterations=3)
LABELLERS = [
    complement_labels,
    lambda *args, **options: dual_threshold_labels(*args, high=0.6, low=0.3, **options),
]


def rand(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_present(seed, images, classes):
    """Image-level labels; the first image has every class, the last one none."""
    present = rand(seed, images, classes) < 0.5
    present[0], present[-1] = True, False
    return present


def draw_scene(seed=0, images=3, classes=4, tokens=25, maps=3):
    """Joint features, attention, CAMs and image-level labels."""
    present = draw_present(seed, images, classes)
    cams = initial_cam(randn(seed, images, 6, tokens), randn(seed + 1, classes, 6), present, 1.0)
    attention = randn(seed + 2, images, maps, tokens, tokens).softmax(dim=-1) * rand(seed, images, maps, 1, 1)
    return 0.4 * randn(seed + 3, images, 8, tokens), attention, cams, present


def permuted(stack, order):
    return stack[:, [0, *(1 + c for c in order)]]


# CAMs


@settings(max_examples=25, deadline=None)
@given(NUMBERS, st.floats(0.1, 100), st.floats(-50, 50))
def test_normalised_maps_reach_from_0_to_1_whatever_their_scale_and_offset(seed, scale, offset):
    maps = rand(seed, 2, 3, 12)
    found = normalised(maps)
    assert torch.equal(found.amin(dim=-1), torch.zeros(2, 3)) and torch.equal(
        found.amax(dim=-1), torch.ones(2, 3)
    )
    torch.testing.assert_close(normalised(maps * scale + offset), found, rtol=0, atol=2e-3)


def test_a_flat_map_becomes_zero():
    assert not normalised(torch.full((1, 2, 5), 0.3)).any()
    assert float(normalised(torch.tensor([0.0, 1e-7])).max()) == pytest.approx(0.1)


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


@settings(max_examples=15, deadline=None)
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
    scores, kept = keep_maps(affinity, affinity[:, None] + shift[..., None, None])
    torch.testing.assert_close(scores, 36 * shift.abs())
    assert kept.tolist() == [[False, True, True, False], [True, False, False, False]]


def test_a_map_at_the_mean_itself_is_not_kept():
    attention = torch.tensor([0.25, 0.5, 0.75])[None, :, None, None].expand(-1, -1, 4, 4)
    scores, kept = keep_maps(torch.zeros(1, 4, 4), attention)
    assert scores.tolist() == [[4, 8, 12]] and kept.tolist() == [[True, False, False]]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_maps_that_score_all_the_same_are_all_kept(count):
    affinity, one = rand(0, 2, 9, 9), rand(1, 2, 1, 9, 9)
    _, kept = keep_maps(affinity, one.expand(-1, count, -1, -1))
    assert kept.all() and kept.shape == (2, count)


def test_scores_of_half_precision_maps_do_not_overflow():
    affinity, attention = torch.ones(1, 300, 300).half(), torch.zeros(1, 2, 300, 300).half()
    scores, _ = keep_maps(affinity, attention)
    assert torch.equal(scores, torch.full((1, 2), 90000.0))


def test_transitions_are_symmetric_and_their_rows_sum_to_one():
    features, attention, _, _ = draw_scene()
    affinity = joint_affinity(features)
    found = transition(affinity, attention, keep_maps(affinity, attention)[1], 30)
    torch.testing.assert_close(found, found.transpose(1, 2))
    torch.testing.assert_close(found.sum(dim=2), torch.ones(3, 25))
    assert float(found.min()) >= 0


def test_transitions_use_the_kept_maps_alone_and_not_their_number_or_order():
    features, attention, _, _ = draw_scene()
    affinity = joint_affinity(features)
    kept = torch.tensor([[True, False, True]]).expand(3, -1)
    found = transition(affinity, attention, kept)
    spoilt = attention.clone()
    spoilt[:, 1] = 1e3
    torch.testing.assert_close(transition(affinity, spoilt, kept), found)
    twice = transition(affinity, attention[:, [2, 0, 2, 0]], torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(twice, found)


def test_a_token_that_nobody_attends_to_leaves_all_finite():
    features, attention, cams, present = draw_scene()
    attention[:, :, :, 4] = 0
    attention[:, :, 4] = 0
    found = refine(joint_affinity(features), attention, cams, present)
    assert found.transition.isfinite().all() and found.cams.isfinite().all()
    assert not found.transition[:, 4].any()


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_diffusion_equals_the_matrix_power(steps):
    matrix, cams = rand(0, 2, 9, 9) / 9, rand(1, 2, 4, 9)
    expected = torch.einsum("bij,bcj->bci", torch.linalg.matrix_power(matrix, steps), cams)
    torch.testing.assert_close(diffuse(matrix, cams, steps), expected)


@settings(max_examples=15, deadline=None)
@given(NUMBERS, st.permutations(range(4)), st.permutations(range(3)), st.booleans())
def test_refinement_follows_the_order_of_classes_and_of_images_and_not_that_of_maps(
    seed, order, maps, renorm
):
    features, attention, cams, present = draw_scene(seed)
    affinity, options = joint_affinity(features), {"power": 2.0, "renorm": renorm}
    found = refine(affinity, attention, cams, present, **options)
    other = refine(affinity, attention[:, maps], permuted(cams, order), present[:, order], **options)
    torch.testing.assert_close(other.cams, permuted(found.cams, order), rtol=0, atol=1e-3)
    assert torch.equal(other.kept, found.kept[:, maps])
    alone = refine(affinity[1:2], attention[1:2], cams[1:2], present[1:2], **options)
    torch.testing.assert_close(alone.cams, found.cams[1:2], rtol=0, atol=1e-3)


@pytest.mark.parametrize("renorm", [True, False])
def test_refinement_leaves_absent_classes_zero_and_unlabelled_images_background(renorm):
    features, attention, cams, present = draw_scene()
    affinity = joint_affinity(features.requires_grad_())
    found = refine(affinity, attention, cams, present, renorm=renorm)
    assert not found.cams[:, 1:][~present].any() and found.cams[:, 1:][present].any()
    torch.testing.assert_close(found.cams[-1, 0], torch.ones(25), rtol=0, atol=2e-2)
    assert not any(value.requires_grad for value in vars(found).values())


@pytest.mark.parametrize("renorm", [True, False])
def test_without_a_background_its_channel_stays_below_every_class(renorm):
    features, attention, cams, present = draw_scene()
    cams = stack_cams(cams[:, 1:], present, None)
    found = refine(joint_affinity(features), attention, cams, present, power=None, renorm=renorm)
    assert torch.equal(found.cams[:, 0], torch.full((3, 25), -1.0))
    assert float(found.cams[:, 1:].min()) >= 0


def test_maps_that_are_given_replace_those_that_pass_the_filter():
    features, attention, cams, present = draw_scene()
    affinity, everything = joint_affinity(features), torch.ones(3, 3, dtype=torch.bool)
    filtered = refine(affinity, attention, cams, present)
    found = refine(affinity, attention, cams, present, kept=everything)
    assert not filtered.kept.all() and found.kept.all()
    assert torch.equal(found.scores, filtered.scores)
    torch.testing.assert_close(found.transition, transition(affinity, attention, everything, rounds=3))
    torch.testing.assert_close(found.diffused, diffuse(found.transition, cams, 3))


# Prototypes of texts


def draw_texts(count=40, channels=12):
    return F.normalize(randn(5, count, channels), dim=1)


def test_clusters_are_the_same_in_every_run_and_means_of_their_texts():
    texts = draw_texts()
    found = cluster_texts(texts, 6)
    torch.manual_seed(1)
    assert found.dtype == torch.float32 and torch.equal(cluster_texts(texts, 6), found)
    nearest = torch.cdist(texts, found).argmin(dim=1)
    means = torch.stack([texts[nearest == cluster].mean(dim=0) for cluster in range(6)])
    torch.testing.assert_close(found, means)


def test_more_starts_are_never_worse():
    texts = draw_texts(120)
    costs = [torch.cdist(texts, cluster_texts(texts, 6, n)).amin(dim=1).square().sum() for n in (1, 3, 10)]
    assert costs[0] > costs[2] and costs[0] >= costs[1] >= costs[2]


@pytest.mark.parametrize("clusters", [0, 3, 5])
def test_too_few_different_texts_are_counted(clusters):
    texts = draw_texts(2).repeat(2, 1)
    with pytest.raises(ConfigError, match=rf"{clusters} clusters.*found 4, 2 of them different"):
        cluster_texts(texts, clusters)
    assert len(cluster_texts(texts, 2)) == 2


def test_texts_take_the_mean_of_their_nearest_centroids():
    base, centroids = draw_texts(3), draw_texts(7) * 0.6
    found = enrich(base, centroids, 3, 0.5)
    for text, order, weights, out in zip(base, found.order, found.weights, found.texts, strict=True):
        scores = centroids @ text
        assert torch.equal(order, scores.argsort(descending=True)[:3])
        torch.testing.assert_close(weights, scores[order].exp() / scores[order].exp().sum())
        torch.testing.assert_close(out, text + 0.5 * (weights @ centroids[order]))
    assert torch.equal(enrich(base, centroids, 3, 0.0).texts, base)


def test_equally_near_centroids_are_taken_in_their_order():
    centroids = draw_texts(1).repeat(20, 1)
    assert enrich(draw_texts(2), centroids, 5, 1.0).order.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("topk", [0, 8])
def test_more_centroids_than_there_are_cannot_be_near(topk):
    with pytest.raises(ConfigError, match=rf"1\.\.7 centroids; found {topk}"):
        enrich(draw_texts(3), draw_texts(7), topk, 1.0)


# Seeds and visual prototypes


def plain_seeds(cams, present, percent):
    """Token by token; Python's sort is stable."""
    found = torch.zeros(cams.shape[0], cams.shape[1] - 1, cams.shape[2], dtype=torch.bool)
    for image, (stack, row) in enumerate(zip(cams.tolist(), present.tolist(), strict=True)):
        channels = [0] + [1 + c for c, here in enumerate(row) if here]
        winner = [max(channels, key=lambda c: stack[c][i]) for i in range(len(stack[0]))]
        for c in channels[1:]:
            own = [i for i, w in enumerate(winner) if w == c and stack[c][i] > 0]
            own.sort(key=lambda i: -stack[c][i])
            keep = max(1, math.floor(len(own) * percent / 100))
            found[image, c - 1, own[:keep]] = True
    return found


@settings(max_examples=40, deadline=None)
@given(NUMBERS, st.integers(1, 4), st.sampled_from([2, 5, 1000]), st.sampled_from([1, 20, 33.3, 50, 100]))
def test_seeds_equal_the_definition_token_by_token_ties_included(seed, classes, levels, percent):
    present = draw_present(seed, 3, classes)
    maps = (rand(seed, 3, 1 + classes, 30) * levels).floor() / levels
    assert torch.equal(seeds(maps, present, percent), plain_seeds(maps, present, percent))


def test_ties_go_to_the_lower_channel_and_the_lower_token():
    cams, present = torch.full((1, 3, 10), 0.5), torch.ones(1, 2, dtype=torch.bool)
    assert not seeds(cams, present, 50).any()
    cams[:, 0] = 0
    assert seeds(cams, present, 50).tolist() == [[[True] * 5 + [False] * 5, [False] * 10]]


def test_a_class_that_wins_with_nothing_has_no_seed():
    cams = torch.zeros(1, 3, 10)
    cams[:, 0] = -1  # data without a background
    cams[0, 1, :4] = 0.1
    assert seeds(cams, torch.ones(1, 2, dtype=torch.bool), 100).tolist() == [
        [[True] * 4 + [False] * 6, [False] * 10]
    ]


def test_shares_are_rounded_down_and_at_least_one_token():
    cams, present = torch.stack([torch.zeros(100), torch.ones(100)])[None], torch.ones(1, 1, dtype=torch.bool)
    counts = {percent: int(seeds(cams, present, percent).sum()) for percent in (0.1, 29, 29.9, 53, 59, 100)}
    assert counts == {0.1: 1, 29: 29, 29.9: 29, 53: 53, 59: 59, 100: 100}


def draw_seeds(seed=0, images=4, classes=5, tokens=20):
    """Features and seeds; the last class is never seen."""
    chosen = rand(seed, images, classes, tokens) < 0.2
    chosen[:, -1] = False
    return randn(seed + 1, images, 6, tokens), chosen


def plain_mean(features, chosen, c):
    return torch.cat([image[:, here[c]].T for image, here in zip(features, chosen, strict=True)]).mean(dim=0)


def test_the_first_observation_sets_a_prototype_and_the_next_ones_move_it_once_per_batch():
    module = VisualPrototypes(5, 6, 0.9)
    features, chosen = draw_seeds()
    module.update(features, chosen)
    first = torch.stack([plain_mean(features, chosen, c) for c in range(4)])
    torch.testing.assert_close(module.prototypes[:4], first)
    assert module.ready.tolist() == [True] * 4 + [False] and not module.prototypes[4].any()
    before = module.prototypes.clone()
    features, chosen = draw_seeds(7)
    chosen[:, 1] = False
    module.update(features.requires_grad_(), chosen)
    torch.testing.assert_close(module.prototypes[0], 0.9 * first[0] + 0.1 * plain_mean(features, chosen, 0))
    assert torch.equal(module.prototypes[1], before[1])
    assert not module.prototypes.requires_grad


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_images_does_not_matter_to_prototypes(order):
    features, chosen = draw_seeds()
    one, other = VisualPrototypes(5, 6, 0.9), VisualPrototypes(5, 6, 0.9)
    for module, images in ((one, list(range(4))), (other, order)):
        module.update(features[images], chosen[images])
        module.update(2 * features[images], chosen[images])
    torch.testing.assert_close(one.prototypes, other.prototypes)


def test_evaluation_reads_prototypes_and_changes_nothing():
    module = VisualPrototypes(5, 6, 0.9)
    features, chosen = draw_seeds()
    module.update(features, chosen)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert set(before) == {"prototypes", "ready"}
    module.eval()
    module.update(3 + features, ~chosen)
    present = torch.ones(4, 5, dtype=torch.bool)
    found = module.cam(features, rand(0, 4, 6, 20), present, 1.0)
    assert found.shape == (4, 6, 20)
    assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())


def test_similarity_is_a_cosine_without_its_negative_half_and_one_for_a_class_never_seen():
    module = VisualPrototypes(5, 6, 0.9)
    features, chosen = draw_seeds()
    assert torch.equal(module.similarity(features), torch.ones(4, 5, 20))
    module.update(features, chosen)
    found = module.similarity(features)
    cosine = F.cosine_similarity(module.prototypes[None, :, :, None], features[:, None], dim=2)
    torch.testing.assert_close(found[:, :4], cosine[:, :4].clamp(min=0))
    assert float(cosine[:, :4].min()) < 0 and torch.equal(found[:, 4], torch.ones(4, 20))
    torch.testing.assert_close(module.similarity(70 * features), found)


def test_cams_are_weighed_by_the_squared_similarity():
    module, present = VisualPrototypes(5, 6, 0.9), draw_present(0, 4, 5)
    features, chosen = draw_seeds()
    module.update(features, chosen)
    cams = stack_cams(rand(0, 4, 5, 20), present, 1.0)
    expected = stack_cams(normalised(cams[:, 1:] * module.similarity(features) ** 2), present, 2.0)
    torch.testing.assert_close(module.cam(features, cams, present, 2.0), expected)
    assert not expected[:, 1:][~present].any()


def _update_half(rank, folder):
    """One of two processes: its half of both batches."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    module, half = VisualPrototypes(5, 6, 0.9), slice(2 * rank, 2 * rank + 2)
    for features, chosen in _batches():
        module.update(features[half], chosen[half])
    torch.save(module.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _batches():
    """Two batches; a class that one half alone sees, and a half that sees nothing at all."""
    batches = [draw_seeds(), draw_seeds(7)]
    batches[0][1][:2, 0] = False
    batches[1][1][2:] = False
    return batches


def test_two_processes_with_half_a_batch_each_hold_the_prototypes_of_one_with_all_of_it(tmp_path):
    torch.multiprocessing.spawn(_update_half, (str(tmp_path),), nprocs=2)
    module = VisualPrototypes(5, 6, 0.9)
    for features, chosen in _batches():
        module.update(features, chosen)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first["prototypes"], second["prototypes"])
    assert torch.equal(first["ready"], second["ready"]) and torch.equal(first["ready"], module.ready)
    torch.testing.assert_close(first["prototypes"], module.prototypes)


# Pixel-adaptive refinement


def around(plane, y, x, dilation):
    """The eight neighbours of a pixel with repeated edges, row by row."""
    height, width = plane.shape
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    places = [
        (min(max(y + dy * dilation, 0), height - 1), min(max(x + dx * dilation, 0), width - 1))
        for dy, dx in steps
    ]
    return torch.stack([plane[place] for place in places])


def plain_weights(image, y, x, dilations, w1, w2):
    """The weights of one pixel, from the definition."""
    likeness = 0
    for plane in image:
        near = torch.cat([around(plane, y, x, d) for d in dilations])
        likeness = likeness - ((near - plane[y, x]) / near.std() / w1) ** 2 / 3
    far = torch.tensor([d * s for d in dilations for s in (2**0.5, 1, 2**0.5, 1, 1, 2**0.5, 1, 2**0.5)])
    place = -((far / far.std() / w1) ** 2)
    return likeness.softmax(dim=0) + w2 * place.softmax(dim=0)


@pytest.mark.parametrize("dilations", [(1,), (3, 1), (1, 2, 9)])
def test_weights_and_refined_maps_equal_the_definition_pixel_by_pixel(dilations):
    image, maps = rand(0, 3, 5, 7), rand(1, 2, 5, 7)
    weights = pixel_weights(image, dilations, 0.4, 0.05)
    found = refine_pixels(image, maps, dilations=dilations, iterations=1, w1=0.4, w2=0.05)
    for y in range(5):
        for x in range(7):
            expected = plain_weights(image, y, x, dilations, 0.4, 0.05)
            torch.testing.assert_close(weights[:, y, x], expected, rtol=1e-4, atol=1e-5)
            near = torch.stack([torch.cat([around(plane, y, x, d) for d in dilations]) for plane in maps])
            torch.testing.assert_close(found[:, y, x], near @ expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(NUMBERS, st.floats(0.01, 300), st.floats(-3, 3), st.floats(0, 0.5))
def test_weights_sum_to_one_and_w2_and_know_no_scale_or_offset(seed, scale, offset, w2):
    image = rand(seed, 3, 9, 11)
    weights = pixel_weights(image, (1, 2, 24), 0.3, w2)
    torch.testing.assert_close(weights.sum(dim=0), torch.full((9, 11), 1 + w2))
    other = pixel_weights(scale * (image + offset), (1, 2, 24), 0.3, w2)
    torch.testing.assert_close(other, weights, rtol=0, atol=1e-3)


def test_a_flat_image_averages_all_neighbours_alike_and_whole_numbers_are_read_as_such():
    weights = pixel_weights(torch.full((3, 4, 4), 200, dtype=torch.uint8), (1, 2), 0.3, 0.0)
    torch.testing.assert_close(weights, torch.full((16, 4, 4), 1 / 16))
    image = (rand(0, 3, 6, 6) * 255).to(torch.uint8)
    assert torch.equal(pixel_weights(image, (1, 2), 0.3, 0.0), pixel_weights(image.float(), (1, 2), 0.3, 0.0))


@settings(max_examples=15, deadline=None)
@given(NUMBERS, st.sampled_from([(1,), (2,), (1, 2)]), st.integers(0, 4))
def test_maps_turn_with_the_image_and_are_refined_each_for_itself(seed, axes, iterations):
    image, maps = rand(seed, 3, 8, 13), rand(seed + 1, 3, 8, 13)
    options = {"dilations": (1, 3), "iterations": iterations, "w1": 0.3, "w2": 0.02}
    found = refine_pixels(image, maps, **options)
    turned = refine_pixels(image.flip(axes), maps.flip(axes), **options)
    torch.testing.assert_close(turned, found.flip(axes))
    torch.testing.assert_close(refine_pixels(image, maps[1:2], **options), found[1:2])
    grown = refine_pixels(image, torch.ones(1, 8, 13), **options)
    torch.testing.assert_close(grown, torch.full((1, 8, 13), 1.02**iterations))
    assert iterations or torch.equal(found, maps)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return out


def test_neighbours_of_many_maps_are_never_held_at_once():
    with Largest() as largest:
        refine_pixels(
            rand(0, 3, 30, 30), rand(1, 20, 30, 30), iterations=2, dilations=(1, 2), w1=0.3, w2=0.01
        )
    # The maps with their margin; the neighbours of all of them would be 16 times the maps.
    assert 20 * 30 * 30 < largest.elements <= 20 * 34 * 34


def test_the_options_are_those_of_the_published_method():
    assert ParOptions() == ParOptions(dilations=(1, 2, 4, 8, 12, 24), iterations=20, w1=0.3, w2=0.01)


@pytest.mark.parametrize(
    "options", [{"dilations": ()}, {"dilations": (1, 0)}, {"iterations": -1}, {"w1": 0.0}, {"w2": -0.1}]
)
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(ConfigError, match=r"PAR needs .*found"):
        ParOptions(**options)


# Pseudo labels


def draw_images(seed=0, size=(24, 33), grid=(4, 5)):
    present = draw_present(seed, 3, 4)
    cams = stack_cams(normalised(rand(seed, 3, 4, math.prod(grid))), present, 1.0).unflatten(2, grid)
    return rand(seed + 1, 3, 3, *size), cams, present


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize("background", [True, False])
def test_only_labelled_classes_are_found_and_padding_is_ignored(labels, background):
    images, cams, present = draw_images()
    valid = torch.ones(3, 24, 33, dtype=torch.bool)
    valid[:, 20:] = valid[:, :, 30:] = False
    found = labels(images, cams, present, par=PAR, valid=valid, background=background)
    whole = labels(images, cams, present, par=PAR, background=background)
    assert found.dtype == torch.int64 and found.shape == (3, 24, 33)
    assert (found[~valid] == 255).all() and torch.equal(found[valid], whole[valid])
    for label, row in zip(whole, present, strict=True):
        allowed = {1 + c for c in row.nonzero().flatten().tolist()} | ({0} if background else set())
        assert set(label.unique().tolist()) - {255} <= allowed
    assert len(whole[0].unique()) > 2


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize(("background", "ignored"), [(True, 255), (False, 255), (False, 200)])
def test_an_image_without_a_labelled_class_is_background_or_ignored(labels, background, ignored):
    images, cams, present = draw_images()
    options = {"par": PAR, "background": background, "ignore_value": ignored}
    found = labels(images, cams, present, **options)
    assert (found[-1] == (0 if background else ignored)).all()
    nothing = labels(images, cams, torch.zeros_like(present), **options)
    assert (nothing == (0 if background else ignored)).all()


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize("order", [[3, 0, 1, 2], [1, 0, 3, 2]])
def test_labels_follow_the_order_of_the_classes_and_of_the_images(labels, order):
    images, cams, present = draw_images()
    found = labels(images, cams, present, par=PAR)
    table = torch.full((256,), 255)
    table[0] = 0
    table[[1 + c for c in order]] = torch.arange(1, 5)
    other = labels(images, permuted(cams, order), present[:, order], par=PAR)
    assert torch.equal(other, table[found])
    assert torch.equal(labels(images[1:2], cams[1:2], present[1:2], par=PAR), found[1:2])


@pytest.mark.parametrize("labels", LABELLERS)
def test_cams_may_come_at_the_size_of_the_image(labels):
    images, cams, present = draw_images()
    enlarged = F.interpolate(cams, (24, 33), mode="bilinear", align_corners=False)
    assert torch.equal(labels(images, cams, present, par=PAR), labels(images, enlarged, present, par=PAR))


def test_a_single_class_without_background_takes_every_pixel():
    images, cams, _ = draw_images()
    present = torch.tensor([[False, True, False, False]]).expand(3, -1)
    found = complement_labels(images, cams, present, par=PAR, background=False)
    assert (found == 2).all()


def test_complement_labels_follow_the_edges_of_the_image():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 9:] = 1
    maps = torch.tensor([[1.0, 0.0]]).expand(2, -1)[None, None]
    cams = torch.cat([1 - maps, maps], dim=1)
    present = torch.ones(1, 1, dtype=torch.bool)
    plain = complement_labels(images, cams, present, par=ParOptions(iterations=0))
    assert torch.equal(plain[0, 0], torch.tensor([1] * 8 + [0] * 8))
    found = complement_labels(images, cams, present, par=ParOptions(dilations=(1, 2, 4), iterations=20))
    assert torch.equal(found, (images[:, 0] == 0).long())


def test_certain_pixels_are_labelled_and_the_band_between_the_thresholds_is_ignored():
    images, cams, present = draw_images(size=(20, 25), grid=(10, 12))
    par = ParOptions(dilations=(1,), iterations=0)
    found = dual_threshold_labels(images, cams, present, par=par, high=0.8, low=0.4, down=1)
    maps = F.interpolate(cams[:, 1:], (20, 25), mode="bilinear", align_corners=False)
    strongest = maps.amax(dim=1)
    expected = torch.where(strongest > 0.8, 1 + maps.argmax(dim=1), 255).where(strongest > 0.4, 0)
    assert torch.equal(found, expected) and set(found[0].unique().tolist()) == {0, 1, 2, 3, 4, 255}
    bare = dual_threshold_labels(images, cams, present, par=par, high=0.8, low=0.4, down=1, background=False)
    assert torch.equal(bare, expected.where(expected > 0, 255))


def test_equal_thresholds_leave_nothing_between_them():
    images, cams, present = draw_images()
    found = dual_threshold_labels(images, cams, present, par=PAR, high=0.5, low=0.5)
    assert (found != 255).all() and 0 in found[0]


@pytest.mark.parametrize("down", [1, 2, 3, 50])
def test_any_size_of_image_has_its_labels(down):
    images, cams, present = draw_images(size=(7, 23))
    found = dual_threshold_labels(images, cams, present, par=PAR, high=0.6, low=0.3, down=down)
    assert found.shape == (3, 7, 23)
