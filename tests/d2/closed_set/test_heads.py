"""The closed-set heads answer as the plain models do, for their own classes and at the size of the source."""

import numpy as np
import pytest
import torch

from rskt_seg.d2 import build_model
from rskt_seg.d2.devices import peak_memory
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.tta import with_augmentation
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.inference.contexts import patch_grid
from rskt_seg.inference.patches import augmented_score_map, score_map
from rskt_seg.inference.views import VIEWS, average_views
from tests.d2.closed_set.tiny import METHODS, config, entry, labelled, names, segmentor


@torch.no_grad()
def maps(model, *entries) -> list[torch.Tensor]:
    return [output["sem_seg"] for output in model(list(entries))]


@pytest.mark.parametrize("method", METHODS)
def test_the_model_takes_its_classes_from_the_training_data(method):
    model = plain_model(segmentor(method, "DATASETS.TRAIN", "('UDD5_all_sem_seg',)"))
    assert model.class_names == ("Vegetation", "Building", "Road", "Vehicle", "Other")
    assert model.spec.num_classes == 5
    only_test = ("DATASETS.TRAIN", "()", "DATASETS.TEST", "('UDD5_all_sem_seg',)")
    assert plain_model(segmentor(method, *only_test)).class_names == model.class_names
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN is empty"):
        build_model(config(method, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"))


@pytest.mark.parametrize("method", METHODS)
def test_data_of_other_classes_or_of_another_order_are_refused(method):
    model = segmentor(method)
    for words in (names(method)[::-1], names(method)[:-1]):
        with pytest.raises(DatasetError, match="the classes of this model are fixed: airplane, bare soil"):
            model([entry(64, 64, vocabulary=words)])


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_source_size_and_are_probabilities(method):
    (scores,) = maps(segmentor(method), entry(100, 75, height=50, width=99))
    assert scores.shape == (17, 50, 99)
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(50, 99))


def test_an_image_up_to_a_tile_is_what_the_plain_model_says_and_a_larger_one_is_its_tiles():
    model, data = segmentor("bicor"), entry(45, 90)
    image = data["image"].float()
    with torch.no_grad():
        whole = plain_model(model)(image[None]).logits[0]
        tiles = [plain_model(model)(part[None]).logits[0] for part in image.split(45, dim=2)]
    torch.testing.assert_close(maps(model, data)[0], whole.softmax(dim=0), atol=1e-6, rtol=0)
    model.sem_seg_head.tile = 45
    found = maps(model, data)[0]
    torch.testing.assert_close(found, torch.cat(tiles, dim=2).softmax(dim=0), atol=1e-6, rtol=0)
    assert (found - whole.softmax(dim=0)).abs().max() > 1e-3


def test_patches_are_scored_as_the_published_way_through_an_image_says():
    model, data = segmentor("fctl"), entry(100, 130)
    pixels = data["image"].permute(1, 2, 0).numpy()
    with torch.inference_mode():
        summed = score_map(plain_model(model), pixels, overlap=16, batch_size=2)
    found = maps(model, data)[0]
    assert torch.equal(found.argmax(dim=0), summed.argmax(dim=0))
    torch.testing.assert_close(found, (summed / seen_by(100, 130)).softmax(dim=0), atol=1e-5, rtol=0)


def seen_by(height: int, width: int) -> torch.Tensor:
    """How many patches hold each pixel."""
    counts = torch.zeros(height, width)
    for patch in patch_grid(height, width, 64, 16):
        counts[patch.rows, patch.columns] += 1
    return counts


def test_the_overlap_of_patches_is_that_of_the_configuration():
    data = entry(100, 130)
    less, more = (maps(segmentor("fctl", "INPUT.PATCH_OVERLAP", n), data)[0] for n in ("16", "48"))
    assert (less - more).abs().max() > 1e-3


def test_augmentation_averages_the_logits_of_the_views_that_the_configuration_names():
    data = entry(64, 96)
    cfg = config("bicor", "TEST.AUG.VIEWS", "d4_loveda")
    model = segmentor("bicor", "TEST.AUG.VIEWS", "d4_loveda")
    plain = plain_model(model)
    with torch.inference_mode():
        logits = average_views(lambda x: plain(x).logits, data["image"][None].float(), VIEWS["d4_loveda"])
    (found,) = maps(with_augmentation(cfg, model), data)
    torch.testing.assert_close(found, logits[0].softmax(dim=0), atol=1e-6, rtol=0)
    assert (found - maps(model, data)[0]).abs().max() > 1e-4

    model = segmentor("fctl")
    with torch.inference_mode():
        pixels = data["image"].permute(1, 2, 0).numpy()
        logits = augmented_score_map(plain_model(model), pixels, VIEWS["dihedral"], overlap=16)
    (found,) = maps(with_augmentation(config("fctl"), model), data)
    expected = (logits / (8 * seen_by(64, 96))).softmax(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_several_sizes_are_refused(method):
    head = segmentor(method).sem_seg_head
    with pytest.raises(DatasetError, match="one size"):
        head.targets([labelled(64, 64), labelled(64, 65)])


def test_the_memory_of_a_run_is_that_of_its_process():
    before = peak_memory(torch.device("cpu"))
    block = np.ones(1 << 28, np.uint8)
    assert peak_memory(torch.device("cpu")) >= max(before, block.nbytes)
