"""CLIP zero-shot: windows, names, scores and threshold, for images of any size."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import rskt_seg
from rskt_seg.encoders.presets import CLIP_PRESETS
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.predict import resized_scores
from rskt_seg.inference.strategies import windowed
from rskt_seg.models.clip_zeroshot import ClipZeroShotOutput
from rskt_seg.vocabulary import parse_vocabulary
from rskt_seg.windows import window_grid

NAMES = ("trees", "water", "buildings", "cars")


def build(**options):
    model = rskt_seg.create_model("clip_zeroshot_tiny", **options)
    rskt_seg.load_encoder(model, "clip", "tiny")
    return model


@pytest.fixture(scope="module")
def model():
    return build()


def pixels(height, width, batch=1):
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height + width))


sides = st.integers(1, 200)


@settings(max_examples=40)
@given(height=sides, width=sides, window=st.integers(1, 60), share=st.floats(0.1, 1), names=st.integers(1, 4))
def test_every_pixel_of_an_image_of_any_size_gets_scores_that_sum_to_one(
    model, height, width, window, share, names
):
    spec = dataclasses.replace(model.spec, long_side=72, window=window, stride=max(1, int(window * share)))
    # As few windows as a test can pay for.
    if len(window_grid(72, 72, spec.window, spec.stride)) > 60:
        spec = dataclasses.replace(spec, stride=spec.window, window=spec.window, long_side=24)
    model.spec, kept = spec, model.spec
    try:
        output = model(pixels(height, width), NAMES[:names])
    finally:
        model.spec = kept
    factor = spec.long_side / max(height, width)
    size = tuple(max(1, int(side * factor + 0.5)) for side in (height, width))
    assert output.logits.shape == (1, names, *size) and max(size) == spec.long_side
    assert torch.isfinite(output.logits).all()
    scores = resized_scores(model, output, (height, width))
    assert scores.shape == (names, height, width) and (scores >= 0).all()
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(height, width))


@pytest.mark.parametrize("size", [(96, 96), (50, 96), (96, 20)])
def test_the_logits_are_the_mean_over_windows_each_seen_alone(model, size):
    images = pixels(*size, batch=2)
    text, resized = model.embed_text(NAMES), model.resize(images)
    total, count = torch.zeros(2, 4, *size), torch.zeros(size)
    for window in window_grid(*size, 32, 16):
        for k, image in enumerate(resized):
            total[k][:, window.rows, window.columns] += model.window_logits(
                image[None, :, window.rows, window.columns], text
            )[0]
        count[window.rows, window.columns] += 1
    assert count.min() >= 1
    torch.testing.assert_close(model(images, NAMES).logits, total / count, atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", ["vitb16", "vitb32", "vitl14"])
def test_the_full_models_take_windows_of_any_size(preset):
    with torch.device("meta"):  # shapes alone
        model = rskt_seg.create_model(f"clip_zeroshot_{preset}")
        text = torch.empty(4, CLIP_PRESETS[preset].embed_dim)
        for size in ((224, 224), (200, 224), (30, 336)):
            assert model.window_logits(torch.empty(2, 3, *size), text).shape == (2, 4, *size)


def test_a_window_that_is_no_multiple_of_the_patch_is_padded_evenly_and_cut(model):
    crop, text = model.resize(pixels(96, 96))[:, :, :29, :31], model.embed_text(NAMES)
    padded = F.pad(crop, (0, 1, 1, 2))
    expected = model.window_logits(padded, text)[:, :, 1:30, 0:31]
    torch.testing.assert_close(model.window_logits(crop, text), expected)


def test_the_global_bias_adds_one_number_for_each_class_and_window(model):
    crop, text = model.resize(pixels(32, 32))[:, :, :32, :32], model.embed_text(NAMES)
    plain, biased = (build(global_bias=value).window_logits(crop, text) for value in (0.0, -0.3))
    added = biased - plain
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), atol=1e-6, rtol=0)
    assert added.abs().max() > 0.01


def test_a_class_has_the_best_score_of_its_names_and_every_name_takes_its_share(model):
    image = pixels(40, 60)
    alone = model.scores(model(image, NAMES))
    merged = model.scores(model(image, ["trees, buildings", "water", "cars"]))
    torch.testing.assert_close(merged[:, 0], torch.maximum(alone[:, 0], alone[:, 2]))
    torch.testing.assert_close(merged[:, 1:], alone[:, [1, 3]])


def test_the_names_are_those_of_a_list_of_strings_or_of_a_vocabulary_file(model, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("trees,buildings\nwater\n")  # as SegEarth-OV's files, without blanks
    image = pixels(40, 60)
    expected = model(image, ["trees, buildings", "water"])
    found = model(image, parse_vocabulary(path))
    assert found.names == expected.names == (2, 1)
    torch.testing.assert_close(found.logits, expected.logits)


def test_templates_are_averaged_after_normalisation(model):
    both = ("A photo of a {} in the scene", "an aerial image of the {}")
    parts = [build(templates=(template,)).embed_text(NAMES) for template in both]
    torch.testing.assert_close(
        build(templates=both).embed_text(NAMES), F.normalize(parts[0] + parts[1], dim=-1)
    )


def test_what_scores_less_than_the_threshold_is_the_background():
    model = build(threshold=0.5, background=2)
    logits = torch.tensor([[9.0, 0, 0, 0], [1.0, 1.1, 1, 1], [0, 0, 9.0, 0], [1.0, 1.01, 1, 1]]) / 50
    output = ClipZeroShotOutput(logits.T[None, :, :, None], (1, 1, 1, 1))
    plain, scores = build().scores(output), model.scores(output)
    assert scores.argmax(dim=1).flatten().tolist() == [0, 2, 2, 2]
    assert plain.argmax(dim=1).flatten().tolist() == [0, 1, 2, 1]
    low = plain.amax(dim=1, keepdim=True) < 0.5
    assert low.flatten().tolist() == [False, True, False, True]
    torch.testing.assert_close(scores[:, [0, 1, 3]], plain[:, [0, 1, 3]])
    torch.testing.assert_close(scores[:, 2], torch.where(low[:, 0], 0.5, plain[:, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last_block": "kk"}, "last_block must be one of qq\\+kk\\+vv"),
        ({"stride": 40}, "stride must be at most window=32"),
        ({"background": 2}, "background=2 has no effect with threshold=0"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1"),
        ({"encoder": "vith14"}, "encoder must be one of vitb16, vitb32, vitl14, tiny"),
        ({"templates": ("a {} of {}",)}, "exactly one {}"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        rskt_seg.create_model("clip_zeroshot_tiny", **options)


def test_a_background_outside_the_vocabulary_is_refused_before_anything_is_computed():
    model = build(threshold=0.1, background=5)
    with pytest.raises(VocabularyError, match=r"class 5 is to be the label .* has the classes 0\.\.3"):
        rskt_seg.Segmenter(model, NAMES)
    assert rskt_seg.Segmenter(build(threshold=0.1, background=3), NAMES).background == 3
    assert rskt_seg.Segmenter(build(), NAMES).background is None


def test_a_name_of_two_classes_and_a_training_are_refused(model):
    with pytest.raises(VocabularyError, match="appears twice"):
        model(pixels(20, 20), ["trees, water", "water"])
    with pytest.raises(VocabularyError, match="appears twice"):  # before there is an image
        rskt_seg.Segmenter(model, ["trees, water", "water"])
    output = model(pixels(20, 20), NAMES)
    with pytest.raises(ConfigError, match="nothing to train"):
        model.losses(output, torch.zeros(1, 20, 20, dtype=torch.int64))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_segmenter_scores_at_the_size_of_the_image_and_asks_for_every_name(model):
    image = pixels(150, 70)[0].permute(1, 2, 0).to(torch.uint8).numpy()
    segmenter = rskt_seg.Segmenter(model, ["trees, buildings", "water"])
    assert segmenter.prompts == ("trees", "buildings", "water")
    result = segmenter.predict(image)
    output = model(torch.tensor(image).permute(2, 0, 1)[None], ["trees, buildings", "water"])
    torch.testing.assert_close(result.score_map, resized_scores(model, output, (150, 70)))
    assert (result.labels == result.score_map.argmax(dim=0).numpy()).all()


def test_a_large_scene_is_reduced_first_and_still_labelled_at_its_size(model, monkeypatch):
    image = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8), 40, 0), 40, 1)
    monkeypatch.setattr(windowed, "MOST_PIXELS", 120 * 180)
    result = rskt_seg.Segmenter(model, NAMES).predict(image)
    assert result.score_map.shape == (4, 120, 180) and result.labels.shape == (240, 360)
    assert any("more than twice the 96 px that the model works at" in notice for notice in result.notices)


def test_antialiasing_changes_only_images_that_shrink():
    plain, filtered = build(), build(antialias=True)
    for size, same in (((48, 48), True), ((96, 96), True), ((300, 200), False)):
        assert torch.allclose(plain.resize(pixels(*size)), filtered.resize(pixels(*size)), atol=1e-5) == same


def test_scores_do_not_depend_on_how_many_are_computed_at_a_time(model, monkeypatch):
    output = model(pixels(96, 50, batch=2), ["trees, buildings", "water", "cars"])
    together = model.scores(output)
    assert together.shape == (2, 3, 96, 50)
    for values in (1, 5 * 50 * 2 * 4):
        monkeypatch.setattr("rskt_seg.models.clip_zeroshot.model._VALUES", values)
        torch.testing.assert_close(model.scores(output), together, atol=1e-6, rtol=0)


def test_many_names_reduce_a_scene_so_that_memory_is_bounded(model, monkeypatch):
    monkeypatch.setattr(windowed, "MOST_SCORES", 4 * 60 * 60)
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    result = rskt_seg.Segmenter(model, NAMES).predict(image)
    assert result.score_map.shape == (4, 60, 60) and result.labels.shape == (120, 120)
    assert rskt_seg.Segmenter(model, NAMES[:1]).predict(image).score_map.shape == (1, 120, 120)
