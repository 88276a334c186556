"""A segmenter of a model that knows its classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rskt_seg
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.patches import score_map
from rskt_seg.inference.views import VIEWS, average_views
from rskt_seg.segmenter import Segmenter
from rskt_seg.vocabulary import parse_vocabulary
from tests.inference.patch_stub import PatchStub, colours
from tests.stub_models import Colours, FixedColours

NAMES = ("red", "green", "blue")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()


def in_patches(side=24, **options) -> PatchStub:
    """The stub of FCtL with names for its classes."""
    model = colours(side, **options)
    model.class_names, model.spec = NAMES, FixedColours().spec
    return model


def tiny(name, **options):
    torch.manual_seed(0)
    return rskt_seg.create_model(name, class_names=NAMES, **options)


SMALL_PATCHES = {"patch_side": 64, "input_side": 64}


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_labels_are_those_of_the_model_pixel_by_pixel_whatever_the_tile(height, width, tile):
    image = noise(height, width)
    result = Segmenter(FixedColours(), tile=tile).predict(image)
    assert np.array_equal(result.labels, image.argmax(axis=2))
    assert result.class_names == NAMES and not result.notices
    assert result.score_map.shape == (3, height, width) and result.score_map.dtype == torch.float32
    np.testing.assert_allclose(result.scores.sum(axis=0), 1, rtol=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 23), st.sampled_from(["none", "dihedral"]))
def test_labels_are_those_of_the_model_pixel_by_pixel_whatever_the_patches(height, width, overlap, views):
    image = noise(height, width)
    result = Segmenter(in_patches(), patch_overlap=overlap, views=views).predict(image)
    assert np.array_equal(result.labels, image.argmax(axis=2))


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 64), (20, 101)])
def test_an_image_of_up_to_a_tile_gives_what_the_model_gives(size):
    model, image = tiny("bicor_tiny"), noise(*size)
    with torch.no_grad():
        expected = model(tensor(image), padding="aligned").logits[0].softmax(dim=0)
    torch.testing.assert_close(Segmenter(model).predict(image).score_map, expected)


@pytest.mark.parametrize("options", [{}, {"branch": "deepglobe", "gpe": True}])
def test_patches_of_a_real_model_give_the_published_labels(options):
    model, image = tiny("fctl_tiny", **SMALL_PATCHES, **options), noise(70, 150)
    with torch.no_grad():
        expected = score_map(model, image, overlap=16).argmax(dim=0).numpy()
    labels = Segmenter(model).predict(image).labels  # of 64 px, a quarter
    assert labels.shape == (70, 150) and np.array_equal(labels, expected)


def test_views_are_the_mean_of_the_logits():
    model, image = tiny("bicor_tiny"), noise(40, 68)
    with torch.no_grad():
        logits = average_views(
            lambda x: model(x, padding="aligned").logits, tensor(image), VIEWS["d4_loveda"]
        )
    averaged = Segmenter(model, views="d4_loveda").predict(image).score_map
    torch.testing.assert_close(averaged, logits[0].softmax(dim=0))
    assert not torch.allclose(averaged, Segmenter(model).predict(image).score_map, atol=1e-4)


def test_neighbouring_tiles_overlap_by_a_quarter_unless_asked_otherwise():
    for options, tiles in (({}, 3), ({"tile_overlap": 0}, 2), ({"tile_overlap": 12}, 5)):
        model = FixedColours()
        Segmenter(model, tile=16, **options).predict(noise(10, 32))
        assert [call["size"] for call in model.calls] == [(1, 3, 10, 16)] * tiles


def test_padding_is_aligned_unless_the_published_is_asked_for():
    model = FixedColours()
    Segmenter(model).predict(noise(4, 4))
    Segmenter(model, padding="published").predict(noise(4, 4))
    assert [call["padding"] for call in model.calls] == ["aligned", "published"]


@pytest.mark.parametrize("vocabulary", [None, NAMES, [" Red", "green ", "BLUE"], "red,green,blue"])
def test_the_vocabulary_is_that_of_the_model(vocabulary):
    given_names = parse_vocabulary(vocabulary) if isinstance(vocabulary, str) else vocabulary
    for model in (FixedColours(), in_patches()):
        segmenter = Segmenter(model, given_names)
        assert segmenter.vocabulary.names == segmenter.prompts == NAMES


@pytest.mark.parametrize(
    "vocabulary", [["green", "red", "blue"], ["red", "green"], ["red", "green", "blue, azure"], ["water"]]
)
@pytest.mark.parametrize("model", [FixedColours(), in_patches()])
def test_other_classes_cannot_be_asked_for(model, vocabulary):
    with pytest.raises(VocabularyError, match="fixed") as caught:
        Segmenter(model, vocabulary)
    assert "'red', 'green', 'blue'" in str(caught.value) and repr(vocabulary[-1]) in str(caught.value)


def test_a_model_that_does_not_know_its_names_is_told():
    assert Segmenter(FixedColours(None), ["a", "b", "c, d"]).vocabulary.names == ("a", "b", "c, d")
    with pytest.raises(VocabularyError, match="pass them in the order of ids"):
        Segmenter(FixedColours(None))
    with pytest.raises(VocabularyError, match="3 classes; found 2 names: 'a', 'b'"):
        Segmenter(FixedColours(None), ["a", "b"])


def test_an_open_vocabulary_model_needs_a_vocabulary():
    with pytest.raises(VocabularyError, match="open-vocabulary models need class names"):
        Segmenter(Colours())


BICOR, FCTL, RSKT = FixedColours, in_patches, Colours


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (BICOR, {"sliding": True}, "sliding=True has no effect on BiCoR-Seg.*RSKT-Seg"),
        (BICOR, {"short_side": 512}, "short_side=512 has no effect"),
        (BICOR, {"synonyms": "mean"}, "synonyms='mean' has no effect"),
        (BICOR, {"patch_overlap": 10}, "option of FCtL"),
        (FCTL, {"padding": "published"}, "FCtL models.*option of RSKT-Seg and BiCoR-Seg"),
        (FCTL, {"max_side": 100}, "has no effect on FCtL"),
        (FCTL, {"tile": 512}, "option of BiCoR-Seg"),
        (RSKT, {"tile": 512}, "has no effect on RSKT-Seg models"),
        (RSKT, {"views": "lr"}, "option of BiCoR-Seg and FCtL"),
        (BICOR, {"tiles": 512}, "did you mean 'tile'"),
        (BICOR, {"views": "d4"}, "lr, dihedral"),
        (BICOR, {"tile": 0}, "tile >= 1"),
        (BICOR, {"tile": 64, "tile_overlap": 64}, "tile_overlap < tile"),
        (BICOR, {"padding": "none"}, "aligned, published"),
        (FCTL, {"patch_overlap": 24}, "patch_overlap < 24"),
        (FCTL, {"views": "d4"}, "lr, dihedral"),
        (lambda: in_patches(whole=True), {"patch_overlap": 10}, "whole images"),
    ],
)
def test_options_that_the_model_does_not_read_are_refused(model, options, message):
    with pytest.raises(ConfigError, match=message):
        Segmenter(model(), None if model is not RSKT else NAMES, **options)


def test_options_of_other_models_may_have_their_defaults():
    Segmenter(FixedColours(), sliding=False, synonyms="first", patch_overlap=None)
    Segmenter(in_patches(), padding="aligned", tile=1024, tile_overlap=None)
    Segmenter(Colours(), NAMES, views="none")


@pytest.mark.parametrize(
    ("make", "options"),
    [(FixedColours, {}), (lambda: in_patches(factors={"large": 0.0}), {"patch_overlap": 5})],
)
def test_hidden_pixels_get_no_class_and_do_not_reach_the_model(tmp_path, make, options):
    results = []
    for hidden in (0, 255):
        array = np.dstack([noise(30, 40), np.full((30, 40), 255, np.uint8)])
        array[:7, :, :3], array[:7, :, 3] = hidden, 0
        Image.fromarray(array).save(tmp_path / "alpha.png")
        results.append(Segmenter(make(), **options).predict(tmp_path / "alpha.png"))
    black, white = results
    assert (black.labels[:7] == 255).all() and (black.labels[7:] < 3).all()
    assert torch.equal(black.score_map, white.score_map)


def test_only_a_model_of_whole_images_is_coarse():
    image = noise(90, 120)
    assert not Segmenter(FixedColours(), tile=16).predict(image).notices
    assert not Segmenter(in_patches(), patch_overlap=5).predict(image).notices
    (notice,) = Segmenter(in_patches(whole=True)).predict(image).notices
    assert "5 x 3.75 px" in notice and "model of patches" in notice
    assert not Segmenter(in_patches(whole=True)).predict(noise(40, 48)).notices


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_the_model_is_kept(mode):
    model = tiny("bicor_tiny").train(mode)
    Segmenter(model).predict(noise(40, 40))
    Segmenter(model).heatmaps(noise(40, 40))
    assert model.training == mode


@pytest.mark.parametrize(("size", "tile"), [((33, 50), 1024), ((20, 60), 32)])
def test_heatmaps_are_those_of_every_layer_on_one_grid(size, tile):
    model, image = tiny("bicor_tiny", num_layers=3), noise(*size)
    maps = Segmenter(model, tile=tile).heatmaps(image)
    cells = (-(-size[0] // 4), -(-size[1] // 4))
    assert maps.shape == (3, 3, *cells) and maps.dtype == np.float32 and 0 <= maps.min() <= maps.max() <= 1
    with torch.no_grad():
        seen = tensor(image)[..., : min(tile, size[1])]
        layers = model(seen, padding="aligned").heatmaps
    expected = torch.stack([layer[0].sigmoid() for layer in layers]).numpy()
    alone = min(24 if tile < size[1] else size[1], size[1]) // 4  # columns that only the first tile holds
    np.testing.assert_allclose(maps[..., :alone], expected[..., :alone], rtol=1e-4, atol=1e-5)


def test_context_maps_are_of_the_centre_or_the_pixel_asked_for():
    segmenter = Segmenter(tiny("fctl_tiny", **SMALL_PATCHES, ale="d"))
    assert segmenter.context_maps(noise(100, 150)).point == (50, 75)
    maps = segmenter.context_maps(noise(100, 150), at=(99, 149))
    assert (maps.patch.top, maps.patch.left) == (36, 86) and len(maps.enhancement) == 4
    with pytest.raises(ConfigError, match=r"columns 0\.\.149"):
        segmenter.context_maps(noise(100, 150), at=(0, 150))


BASELINE = {"contexts": (), "lcf": False}


@pytest.mark.parametrize(
    ("model", "maps", "message"),
    [
        (
            lambda: tiny("bicor_tiny"),
            "cost_maps",
            "shown by RSKT-Seg, CAT-Seg, OVRS and GSNet models; this model is of BiCoR-Seg",
        ),
        (lambda: tiny("bicor_tiny"), "context_maps", "context maps are shown by FCtL models"),
        (lambda: tiny("fctl_tiny"), "heatmaps", "heatmaps are shown by BiCoR-Seg models"),
        (RSKT, "heatmaps", "this model is of RSKT-Seg"),
        (lambda: tiny("bicor_tiny", interaction="cross_attention"), "heatmaps", "cross_attention"),
        (lambda: tiny("fctl_tiny", **BASELINE), "context_maps", "lcf=False"),
        (lambda: tiny("fctl_tiny", view="whole", patch_side=508, **BASELINE), "context_maps", "whole images"),
    ],
)
def test_pictures_that_a_model_cannot_give_are_refused_with_the_models_that_can(model, maps, message):
    segmenter = Segmenter(model(), NAMES)
    with pytest.raises(ConfigError, match=message):
        segmenter.check_explanation(maps)
    with pytest.raises(ConfigError, match=message):
        getattr(segmenter, maps)(noise(40, 40))
