"""Laws of the prototypes of the weakly supervised method: of texts, and of what images show."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import min_max_normalize, stack_cams
from rskt_seg.models.wsss.prototypes import VisualPrototypes, cluster_texts, enrich_texts, select_seeds
from tests.models.wsss_draw import draw_present, rand, randn

NUMBERS = st.integers(0, 10**6)


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
    found = enrich_texts(base, centroids, 3, 0.5)
    for text, order, weights, out in zip(base, found.order, found.weights, found.texts, strict=True):
        scores = centroids @ text
        assert torch.equal(order, scores.argsort(descending=True)[:3])
        torch.testing.assert_close(weights, scores[order].exp() / scores[order].exp().sum())
        torch.testing.assert_close(out, text + 0.5 * (weights @ centroids[order]))
    assert torch.equal(enrich_texts(base, centroids, 3, 0.0).texts, base)


def test_equally_near_centroids_are_taken_in_their_order():
    centroids = draw_texts(1).repeat(20, 1)
    assert enrich_texts(draw_texts(2), centroids, 5, 1.0).order.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("topk", [0, 8])
def test_more_centroids_than_there_are_cannot_be_near(topk):
    with pytest.raises(ConfigError, match=rf"between 1 and the number of centroids 7; found {topk}"):
        enrich_texts(draw_texts(3), draw_texts(7), topk, 1.0)


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


@settings(max_examples=40)
@given(NUMBERS, st.integers(1, 4), st.sampled_from([2, 5, 1000]), st.sampled_from([1, 20, 33.3, 50, 100]))
def test_seeds_equal_the_definition_token_by_token_ties_included(seed, classes, levels, percent):
    present = draw_present(seed, 3, classes)
    maps = (rand(seed, 3, 1 + classes, 30) * levels).floor() / levels
    assert torch.equal(select_seeds(maps, present, percent), plain_seeds(maps, present, percent))


def test_ties_go_to_the_lower_channel_and_the_lower_token():
    cams, present = torch.full((1, 3, 10), 0.5), torch.ones(1, 2, dtype=torch.bool)
    assert not select_seeds(cams, present, 50).any()
    cams[:, 0] = 0
    assert select_seeds(cams, present, 50).tolist() == [[[True] * 5 + [False] * 5, [False] * 10]]


def test_a_class_that_wins_with_nothing_has_no_seed():
    cams = torch.zeros(1, 3, 10)
    cams[:, 0] = -1  # data without a background
    cams[0, 1, :4] = 0.1
    assert select_seeds(cams, torch.ones(1, 2, dtype=torch.bool), 100).tolist() == [
        [[True] * 4 + [False] * 6, [False] * 10]
    ]


def test_shares_are_rounded_down_and_at_least_one_token():
    cams, present = torch.stack([torch.zeros(100), torch.ones(100)])[None], torch.ones(1, 1, dtype=torch.bool)
    counts = {
        percent: int(select_seeds(cams, present, percent).sum()) for percent in (0.1, 29, 29.9, 53, 59, 100)
    }
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


@settings(max_examples=15)
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
    expected = stack_cams(min_max_normalize(cams[:, 1:] * module.similarity(features) ** 2), present, 2.0)
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
