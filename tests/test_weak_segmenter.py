"""A segmenter of a model that learns from image-level labels: tiles, each at several scales."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rskt_seg
from rskt_seg.errors import ConfigError, LabelError, VocabularyError
from rskt_seg.inference.crf import CRFParameters
from rskt_seg.inference.scales import SCALES, mean_logits, scaled_scores
from rskt_seg.inference.views import VIEWS
from rskt_seg.layers.images import enlarge
from rskt_seg.segmenter import Segmenter
from tests.inference.prior_stub import NAMES, PriorStub
from tests.stub_models import Colours, FixedColours


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def tiny():
    """The small model: CLIP that comes with the package, everything else at random."""
    torch.manual_seed(0)
    model = rskt_seg.create_model("prior_wsss_tiny", ["ship", "harbor", "bridge"])
    rskt_seg.load_encoder(model, "clip", "tiny")
    model.encode_classes()
    return model


@settings(max_examples=15)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["none", "lr"]), st.booleans())
def test_scores_are_those_of_scales_and_tiles(height, width, views, flip):
    image, model = noise(height, width), PriorStub()
    options = {"scales": (1.0, 1.5), "flip": flip}
    segmenter = Segmenter(model, tile=40, tile_overlap=10, views=views, **options)
    result = segmenter.predict(image)
    with torch.no_grad():
        expected = scaled_scores(model, tensor(image), tile=40, overlap=10, views=VIEWS[views], **options)
    torch.testing.assert_close(result.score_map, expected)
    assert result.class_names == segmenter.prompts == NAMES and not result.notices
    assert np.array_equal(result.labels, expected.argmax(dim=0)) and result.labels.shape == (height, width)


def test_a_published_tile_is_seen_as_a_whole_at_three_scales_and_mirrored():
    model = PriorStub(stride=16)
    Segmenter(model).predict(noise(512, 512))
    assert model.sizes == [(side, side) for side in (384, 512, 640) for _ in range(2)]
    model.sizes.clear()
    Segmenter(model, scales=(1,), flip=False).predict(noise(512, 1024))
    assert model.sizes == [(512, 512)] * 3  # they overlap by 128 px
    model.sizes.clear()
    Segmenter(model, scales=[1], flip=False, tile=256, tile_overlap=0).predict(noise(256, 1024))
    assert model.sizes == [(256, 256)] * 4


def test_large_areas_are_found_where_they_are():
    image = np.zeros((150, 200, 3), np.uint8)
    image[:75, :100, 0] = image[:75, 100:, 1] = image[75:, :80, 2] = 255
    truth = np.where(image.max(axis=2) > 0, image.argmax(axis=2) + 1, 0)
    result = Segmenter(PriorStub(), tile=64).predict(image)
    off_border = np.ones_like(truth, bool)
    off_border[63:87] = off_border[:, 68:112] = False
    assert np.array_equal(result.labels[off_border], truth[off_border])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (PriorStub, {"tile": 64, "tile_overlap": 64}, "tile_overlap < tile"),
        (PriorStub, {"tile": 0}, "tile >= 1"),
        (PriorStub, {"scales": ()}, "scales must be"),
        (PriorStub, {"scales": (1, 0)}, "scales must be"),
        (PriorStub, {"views": "d4"}, "lr, dihedral"),
        (PriorStub, {"crf": "yes"}, "CRFParameters"),
        (PriorStub, {"sliding": True}, "has no effect on prior WSSS models"),
        (PriorStub, {"padding": "published"}, "has no effect on prior WSSS models"),
        (PriorStub, {"patch_overlap": 10}, "has no effect on prior WSSS models"),
        (FixedColours, {"crf": True}, "has no effect on BiCoR-Seg.*option of prior WSSS"),
        (FixedColours, {"scales": (1,)}, "option of prior WSSS"),
        (FixedColours, {"flip": False}, "option of prior WSSS"),
        (Colours, {"crf": CRFParameters()}, "option of prior WSSS"),
        (PriorStub, {"scale": (1,)}, "did you mean 'scales'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(model, options, message):
    with pytest.raises(ConfigError, match=message):
        Segmenter(model(), None if model is not Colours else ["red"], **options)


def test_the_vocabulary_is_that_of_the_model():
    assert Segmenter(PriorStub(), [name.upper() for name in NAMES]).vocabulary.names == NAMES
    with pytest.raises(VocabularyError, match="fixed"):
        Segmenter(PriorStub(), NAMES[1:])


def test_cams_are_of_the_tile_asked_for():
    image = noise(60, 90)
    segmenter = Segmenter(PriorStub(), tile=32, scales=(1,), flip=False)
    view = segmenter.cams(image, ["Blue", "red"], at=(0, 89))
    assert view.window == (0, 58, 32, 32) and view.present == ("red", "blue")
    assert np.array_equal(view.pixels, image[:32, 58:])
    assert np.array_equal(view.prediction, segmenter.predict(image[:32, 58:]).labels)
    assert view.initial.shape == view.refined.shape == view.final.shape == (4, 4, 4)
    assert segmenter.cams(image).window == (14, 29, 32, 32)
    truth = np.zeros((60, 90), np.uint8)
    truth[30:, 45:] = 2
    assert segmenter.cams(image, truth=truth).present == ("green",)
    with pytest.raises(LabelError, match=r"\(60, 90\); found \(90, 60\)"):
        segmenter.cams(image, truth=truth.T)
    with pytest.raises(VocabularyError, match="'background'"):
        segmenter.cams(image, ["background"])
    with pytest.raises(VocabularyError, match="'scarlet'"):
        segmenter.check_explanation("cams", ["red", "scarlet"])
    with pytest.raises(ConfigError, match=r"rows 0\.\.59"):
        segmenter.cams(image, at=(60, 0))


@pytest.mark.parametrize("ask", ["check_explanation", "cams"])
@pytest.mark.parametrize("model", [FixedColours, Colours])
def test_other_models_have_no_cams(ask, model):
    segmenter = Segmenter(model(), ["red", "green", "blue"])
    argument = {"check_explanation": "cams", "cams": noise(8, 8)}[ask]
    with pytest.raises(ConfigError, match="CAMs are shown by prior WSSS models"):
        getattr(segmenter, ask)(argument)
    with pytest.raises(ConfigError, match="heatmaps are shown by BiCoR-Seg"):
        Segmenter(PriorStub()).heatmaps(noise(8, 8))


def test_hidden_pixels_reach_no_model_and_get_no_class(tmp_path):
    views = []
    for hidden in (0, 255):
        array = np.dstack([noise(40, 40), np.full((40, 40), 255, np.uint8)])
        array[:9, :, :3], array[:9, :, 3] = hidden, 0
        Image.fromarray(array).save(tmp_path / "alpha.png")
        views.append(Segmenter(PriorStub()).cams(tmp_path / "alpha.png"))
    black, white = views
    assert np.array_equal(black.final, white.final) and np.array_equal(black.prediction, white.prediction)
    assert (black.prediction[:9] == 255).all() and (black.pseudo_labels[:9] == 255).all()
    assert (black.prediction[9:] < 4).all()
    assert (black.pixels[:9] == 0).all() and (white.pixels[:9] == 255).all()
    assert np.array_equal(black.pixels[9:], white.pixels[9:]) and black.pixels[9:].std() > 50
    assert not black.valid[:9].any() and black.valid[9:].all()


def test_the_background_is_what_the_model_takes_for_it_whatever_its_name():
    assert Segmenter(PriorStub()).background == 0
    assert Segmenter(PriorStub(background=False)).background is None
    last = PriorStub()
    last.class_names, last.channel_ids = ("red", "green", "blue", "clutter"), (3, 0, 1, 2)
    assert Segmenter(last).background == 3
    closed = FixedColours()
    closed.class_names = ("background", "green", "blue")
    assert Segmenter(closed).background is None
    assert Segmenter(Colours(), ["background", "red"]).background is None


@pytest.mark.parametrize("size", [(48, 64), (37, 51), (5, 3)])
def test_the_real_model_is_averaged_over_scales_and_shows_its_stages(tiny, size):
    image, x = noise(*size), tensor(noise(*size))[None].float()
    segmenter = Segmenter(tiny)
    with torch.no_grad():
        logits = mean_logits(lambda seen: tiny(seen).logits, x, stride=tiny.stride, scales=SCALES)
        alone = tiny(x).logits
        stages = tiny.stages(x, torch.tensor([[True, False, True]]))
    expected = enlarge(logits, size, tiny.stride)[0].softmax(dim=0)
    torch.testing.assert_close(segmenter.predict(image).score_map, expected)
    assert logits.shape == alone.shape and not torch.allclose(logits, alone, rtol=1e-3)
    view = segmenter.cams(image, ["ship", "bridge"])
    assert view.class_names == tiny.class_names and view.foreground == ("ship", "harbor", "bridge")
    for name in ("initial", "refined", "final"):
        np.testing.assert_allclose(getattr(view, name), getattr(stages, name)[0], atol=1e-4)
        assert getattr(view, name).shape == (4, *alone.shape[2:])
    assert np.array_equal(view.pseudo_labels, stages.labels[0]) and set(np.unique(view.pseudo_labels)) <= {
        0,
        1,
        3,
    }
    assert view.refines and view.compares and segmenter.background == 0


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_the_model_and_what_it_learnt_are_kept(tiny, mode):
    state = {name: value.clone() for name, value in tiny.state_dict().items()}
    tiny.train(mode)
    Segmenter(tiny).predict(noise(16, 16))
    Segmenter(tiny).cams(noise(16, 16), ["ship"])
    assert tiny.training == mode and not tiny.clip.training
    tiny.eval()
    assert all(torch.equal(value, state[name]) for name, value in tiny.state_dict().items())
