"""`RSSegmentor` and its head: what goes in, what comes out, and at which size."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from rskt_seg.d2.segmentor import RSSegmentor, plain_model
from rskt_seg.d2.tta import SegmentorTTA
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, VocabularyError
from rskt_seg.inference.predict import sliding_scores
from rskt_seg.windows import sliding_sizes
from tests.d2.conftest import tiny_config

WORDS = ("grass", "water", "road")


@pytest.fixture(scope="module")
def segmentor() -> RSSegmentor:
    torch.manual_seed(0)
    return build_model(tiny_config()).eval()


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)


def entry(height: int, width: int, seed: int = 0, /, **rest) -> dict:
    return {"image": image(height, width, seed), "vocabulary": WORDS, **rest}


@torch.no_grad()
def maps(segmentor, *entries) -> list[torch.Tensor]:
    return [output["sem_seg"] for output in segmentor(list(entries))]


def test_score_maps_have_the_source_size_and_lie_in_0_to_1(segmentor):
    (scores,) = maps(segmentor, entry(96, 120, height=77, width=50))
    assert scores.shape == (3, 77, 50)
    assert scores.min() >= 0 and scores.max() <= 1


def test_without_a_source_size_the_map_has_that_of_the_image(segmentor):
    (scores,) = maps(segmentor, entry(100, 97))
    assert scores.shape == (3, 100, 97)


def test_a_batch_of_any_sizes_equals_its_images_one_by_one(segmentor):
    entries = [entry(96, 120, 1), entry(130, 96, 2, height=20, width=30), entry(96, 96, 3)]
    together = maps(segmentor, *entries)
    for scores, single in zip(together, entries, strict=True):
        torch.testing.assert_close(scores, maps(segmentor, single)[0], atol=1e-5, rtol=0)


def test_a_batch_of_several_vocabularies_equals_its_images_one_by_one(segmentor):
    entries = [entry(96, 96, i, vocabulary=words) for i, words in enumerate((WORDS, WORDS[:2], WORDS))]
    together = maps(segmentor, *entries)
    assert [len(scores) for scores in together] == [3, 2, 3]
    for scores, single in zip(together, entries, strict=True):
        torch.testing.assert_close(scores, maps(segmentor, single)[0], atol=1e-5, rtol=0)


def test_a_second_vocabulary_is_honoured_after_a_first(segmentor):
    maps(segmentor, entry(96, 96))
    backwards = maps(segmentor, entry(96, 96, vocabulary=WORDS[::-1]))[0]
    torch.testing.assert_close(maps(segmentor, entry(96, 96))[0].flip(0), backwards, atol=1e-5, rtol=0)


def test_a_vocabulary_may_be_that_of_the_segmentor_but_not_missing(segmentor):
    bare = {"image": image(96, 96)}
    with_default = RSSegmentor(sem_seg_head=segmentor.sem_seg_head, vocabulary=WORDS).eval()
    assert torch.equal(maps(with_default, bare)[0], maps(segmentor, entry(96, 96))[0])
    without = RSSegmentor(sem_seg_head=segmentor.sem_seg_head).eval()
    with pytest.raises(VocabularyError, match="no vocabulary"):
        maps(without, bare)


def test_the_default_vocabulary_of_a_configuration_is_that_of_its_first_test_set():
    segmentor = build_model(tiny_config("DATASETS.TEST", "('UDD5_all_sem_seg','DLRSD_val_sem_seg')"))
    assert segmentor.vocabulary == ("Vegetation", "Building", "Road", "Vehicle", "Other")
    assert build_model(tiny_config("DATASETS.TEST", "()")).vocabulary is None


def test_the_published_crop_cuts_the_map_where_a_side_is_shorter_than_it(segmentor):
    model = plain_model(segmentor)
    small = image(40, 96)
    with torch.no_grad():
        scores = model.scores(model([small], WORDS))
    side = scores.shape[-1]
    assert side > 40
    expected = F.interpolate(scores[:, :, :40], size=(80, 192), mode="bilinear", align_corners=False)[0]
    result = maps(segmentor, entry(40, 96, height=80, width=192))[0]
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_aligned_padding_leaves_the_map_whole():
    torch.manual_seed(0)
    segmentor = build_model(tiny_config("MODEL.RSKT.PADDING", "aligned")).eval()
    model = plain_model(segmentor)
    with torch.no_grad():
        scores = model.scores(model([image(40, 96)], WORDS))
    expected = F.interpolate(scores, size=(80, 192), mode="bilinear", align_corners=False)[0]
    result = maps(segmentor, entry(40, 96, height=80, width=192))[0]
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_the_sliding_key_evaluates_windows(segmentor):
    sliding = build_model(tiny_config("TEST.SLIDING_WINDOW", "True")).eval()
    sliding.load_state_dict(segmentor.state_dict())
    tile, square = sliding_sizes(plain_model(sliding).working_side)
    with torch.no_grad():
        whole = sliding_scores(plain_model(sliding), image(130, 150).float(), WORDS, tile=tile, square=square)
    expected = F.interpolate(whole[None], size=(65, 75), mode="bilinear", align_corners=False)[0]
    result = maps(sliding, entry(130, 150, height=65, width=75))[0]
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(result, maps(segmentor, entry(130, 150, height=65, width=75))[0], atol=1e-3)


def test_losses_are_those_of_the_plain_model(segmentor):
    target = torch.randint(0, 3, (2, 96, 96))
    target[0, :9] = 255
    batch = [entry(96, 96, i, sem_seg=target[i]) for i in range(2)]
    segmentor.train()
    losses = segmentor(batch)
    segmentor.eval()
    model = plain_model(segmentor)
    expected = model.losses(model([e["image"] for e in batch], WORDS), target, 255)
    assert losses.keys() == expected.keys() == {"loss_sem_seg"}
    torch.testing.assert_close(losses["loss_sem_seg"], expected["loss_sem_seg"])


def test_a_training_batch_needs_one_vocabulary_and_one_label_size(segmentor):
    label = torch.zeros(96, 96, dtype=torch.long)
    segmentor.train()
    try:
        with pytest.raises(DatasetError, match="one vocabulary"):
            segmentor([entry(96, 96, sem_seg=label), entry(96, 96, sem_seg=label, vocabulary=WORDS[:2])])
        with pytest.raises(DatasetError, match=r"one size.*INPUT\.CROP"):
            segmentor([entry(96, 96, sem_seg=label), entry(96, 96, sem_seg=label[:50])])
    finally:
        segmentor.eval()


def test_an_unknown_head_is_refused():
    with pytest.raises(ConfigError, match="RSKTSegHead"):
        build_model(tiny_config("MODEL.SEM_SEG_HEAD.NAME", "RSKT_Seg_Head"))


def test_all_weights_belong_to_the_plain_model_under_one_prefix(segmentor):
    names = {f"sem_seg_head.model.{name}" for name in plain_model(segmentor).state_dict()}
    assert segmentor.state_dict().keys() == names


@pytest.mark.parametrize("names", ["prefixed", "plain"])
def test_weights_load_under_either_name_and_change_the_answer(segmentor, names):
    other = build_model(tiny_config("SEED", "2")).eval()
    assert not torch.equal(maps(other, entry(96, 96))[0], maps(segmentor, entry(96, 96))[0])
    other.load_state_dict((segmentor if names == "prefixed" else plain_model(segmentor)).state_dict())
    assert torch.equal(maps(other, entry(96, 96))[0], maps(segmentor, entry(96, 96))[0])


def test_weights_that_lack_a_tensor_are_refused_even_when_strictness_is_waived(segmentor):
    state = segmentor.state_dict()
    state.popitem()
    with pytest.raises(CheckpointError, match="1 missing"):
        build_model(tiny_config()).load_state_dict(state, strict=False)


def test_the_predictor_of_detectron2_works_on_a_checkpoint(segmentor, tmp_path):
    torch.save({"model": segmentor.state_dict()}, tmp_path / "model.pth")
    cfg = tiny_config("MODEL.WEIGHTS", str(tmp_path / "model.pth"), "DATASETS.TEST", "('UDD5_all_sem_seg',)")
    picture = image(40, 50).permute(1, 2, 0).numpy()
    scores = DefaultPredictor(cfg)(picture[:, :, ::-1])["sem_seg"]
    assert scores.shape == (5, 40, 50)
    predictor = DefaultPredictor(cfg)
    resized = predictor.aug.get_transform(picture).apply_image(picture)
    words = predictor.model.vocabulary
    fed = {
        "image": torch.from_numpy(resized).permute(2, 0, 1),
        "vocabulary": words,
        "height": 40,
        "width": 50,
    }
    torch.testing.assert_close(scores, maps(segmentor, fed)[0], atol=1e-6, rtol=0)


def test_augmented_evaluation_is_the_mean_over_sizes_and_flips(segmentor):
    cfg = tiny_config("TEST.AUG.MIN_SIZES", "(64,128)", "TEST.AUG.MAX_SIZE", "512")
    source = entry(96, 120, height=48, width=60)
    with torch.no_grad():
        result = SegmentorTTA(cfg, segmentor)([source])[0]["sem_seg"]
    assert result.shape == (3, 48, 60)
    views = SegmentorTTA(cfg, segmentor).views(source)
    assert len(views) == 4
    parts = [maps(segmentor, view)[0] for view in views]
    expected = (parts[0] + parts[1].flip(2) + parts[2] + parts[3].flip(2)) / 4
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(views[1]["image"], views[0]["image"].flip(2))


def test_augmented_evaluation_of_a_mirrored_image_is_mirrored(segmentor):
    cfg = tiny_config("TEST.AUG.MIN_SIZES", "(96,)")
    tta = SegmentorTTA(cfg, segmentor)
    with torch.no_grad():
        straight = tta([entry(96, 96)])[0]["sem_seg"]
        mirrored = tta([{"image": image(96, 96).flip(2), "vocabulary": WORDS}])[0]["sem_seg"]
    torch.testing.assert_close(straight, mirrored.flip(2), atol=1e-6, rtol=0)
