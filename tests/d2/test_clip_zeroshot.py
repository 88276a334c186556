"""CLIP zero-shot behind Detectron2: evaluated without a checkpoint, and never trained."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.checkpoints.hub import locate
from rskt_seg.commands import segment, train
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.weights import check_trained, scored_files
from rskt_seg.data.catalog import find_split
from rskt_seg.errors import CheckpointError, ConfigError, WeightsNotFoundError
from rskt_seg.inference.predict import resized_scores
from rskt_seg.methods import find_preset
from rskt_seg.methods.export import export_model
from rskt_seg.methods.notices import model_notices
from rskt_seg.models.clip_zeroshot import ClipZeroShotSpec
from tests.d2.configurations import ROOT, configurations, name_of, repeated_keys
from tests.d2.conftest import tiny_config

ALL = configurations(ROOT / "clip_zeroshot")
SETS = ("DLRSD_val_sem_seg", "UDD5_all_sem_seg")
TINY = str(ROOT / "clip_zeroshot" / "tiny.yaml")


def config(*opts: str):
    return load_config(TINY, ["MODEL.DEVICE", "cpu", *opts])


@pytest.fixture
def clip_file(tmp_path):
    """The small CLIP as a file under OpenAI's names, as those of the full models are."""
    path = tmp_path / "CLIP.pt"
    torch.save(read_weights(locate("tiny")).state, path)
    return str(path)


@pytest.mark.parametrize("source", ALL, ids=name_of)
def test_every_configuration_loads_says_only_what_it_changes_and_is_a_preset(source):
    cfg = load_config(str(source))
    for name in cfg.DATASETS.TEST:
        find_split(name)
    assert repeated_keys(source) == set() and not cfg.DATASETS.TRAIN and not cfg.MODEL.WEIGHTS
    name = source.path.stem.removeprefix("bench_")
    preset = {} if name == "Base" else find_preset(f"clip_zeroshot_{name}")[1]
    assert model_spec(cfg) == ClipZeroShotSpec(**preset)
    assert (len(cfg.DATASETS.TEST) == 8) == source.path.stem.startswith("bench_")


def test_an_evaluation_needs_no_checkpoint_and_reports_the_digest_of_the_clip(data_root, tmp_path):
    out = tmp_path / "out"
    # What other files name as their training set is nothing that this method learns from.
    results = evaluate(
        config("OUTPUT_DIR", str(out), "DATASETS.TEST", str(SETS), "DATASETS.TRAIN", str(SETS[:1]))
    )
    assert tuple(results) == SETS
    report = json.loads((out / "benchmark.json").read_text())
    assert report["weights"] == {"path": "tiny", "sha256": sha256_of(locate("tiny"))}
    assert report["trained_on"] == [] and report["training_free"]
    for row in report["datasets"].values():
        assert row["seen"]["classes"] == 0 and row["unseen"]["mIoU"] == pytest.approx(row["mIoU"])
        assert not row["contains_training_images"]
    text = (out / "benchmark.txt").read_text()
    assert "among those of the training data: nothing (" in text and "), trained on: nothing\n" in text


def test_a_repeated_evaluation_takes_up_the_counts_of_the_same_clip_and_of_no_other(
    data_root, tmp_path, caplog
):
    caplog.set_level("INFO", "rskt_seg.d2.benchmark")
    opts = ("OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TEST", str(SETS[:1]))
    first = evaluate(config(*opts))
    assert evaluate(config(*opts)) == first and "counts restored" in caplog.text
    state = read_weights(locate("tiny")).state
    torch.save({key: tensor * 2 for key, tensor in state.items()}, tmp_path / "other.pt")
    evaluate(config(*opts, "MODEL.ENCODERS.CLIP", str(tmp_path / "other.pt")))
    assert "evaluated again, because of other weights" in caplog.text


def test_scores_are_computed_at_the_size_of_the_file_as_the_segmenter_does():
    cfg = config()
    segmentor, model = Trainer.build_model(cfg).eval(), build_model(cfg)
    segmentor.sem_seg_head.model = model
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    names = ("trees, buildings", "water")
    entry = {"image": torch.tensor(image).permute(2, 0, 1), "vocabulary": names, "height": 50, "width": 70}
    with torch.no_grad():
        scores = segmentor([entry])[0]["sem_seg"]
    assert scores.shape == (2, 50, 70)
    torch.testing.assert_close(scores, rskt_seg.Segmenter(model, names).predict(image).score_map)
    with torch.no_grad():
        larger = segmentor([{**entry, "height": 100, "width": 140}])[0]["sem_seg"]
        torch.testing.assert_close(
            larger, resized_scores(model, model(entry["image"][None], names), (100, 140))
        )


def test_training_is_refused_in_one_line_with_the_command_that_evaluates(data_root, tmp_path, capsys):
    status = train.main(["--config-file", "clip_zeroshot/tiny.yaml", "OUTPUT_DIR", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip()
    assert status == 2 and error.count("\n") == 0
    assert "CLIP zero-shot has nothing to train; evaluate it: rskt-seg eval --config-file " in error
    assert error.endswith("clip_zeroshot/tiny.yaml")
    segmentor = Trainer.build_model(config()).train()
    with pytest.raises(ConfigError, match="nothing to train"):
        segmentor([{"image": torch.zeros(3, 8, 8), "vocabulary": ("a", "b")}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", r"MODEL\.ENCODERS\.CLIP is empty.*ViT-B-16/openai"),
        ("gone.pt", r"the file gone\.pt does not exist"),
        ("random", "has nothing but its pretrained weights"),
    ],
)
def test_an_evaluation_without_a_clip_is_refused(source, message):
    with pytest.raises(WeightsNotFoundError, match=message):
        check_trained(config("MODEL.ENCODERS.CLIP", source))


def test_a_background_that_a_test_set_lacks_is_refused_before_the_first_set_is_evaluated(data_root):
    opts = ("MODEL.CLIP_ZEROSHOT.THRESHOLD", "0.1", "MODEL.CLIP_ZEROSHOT.BACKGROUND", "5")
    with pytest.raises(ConfigError, match=r"UDD5_all_sem_seg: class 5 is to be the label .* 0\.\.4"):
        check_datasets(config(*opts, "DATASETS.TEST", str(SETS)), training=False)


def test_methods_that_are_trained_still_need_a_checkpoint():
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.WEIGHTS is empty"):
        check_trained(tiny_config())


def test_the_files_that_scores_depend_on_are_the_checkpoint_or_the_encoders(clip_file):
    assert scored_files(config(), "") == {"tiny": locate("tiny")}
    cfg = config("MODEL.WEIGHTS", clip_file)
    assert scored_files(cfg, clip_file) == {clip_file: clip_file}


def test_a_clip_file_is_a_whole_checkpoint_of_this_method(clip_file, data_root, tmp_path):
    expected = build_model(config()).state_dict()
    loaded = rskt_seg.load(clip_file, "clip_zeroshot_tiny").model
    filled = rskt_seg.create_model("clip_zeroshot_tiny")
    assert "load_encoder(model, 'clip', FILE)" in model_notices(filled)[0]
    rskt_seg.load_checkpoint(filled, clip_file)
    built = build_model(config("MODEL.ENCODERS.CLIP", "", "MODEL.WEIGHTS", clip_file))
    export_model(rskt_seg.create_model("clip_zeroshot_tiny"), clip_file, tmp_path / "own.safetensors")
    exported = rskt_seg.load(tmp_path / "own.safetensors").model  # which states its options
    wrapped = rskt_seg.create_model("clip_zeroshot_tiny")
    rskt_seg.load_checkpoint(wrapped, {f"model.{k}": t for k, t in read_weights(clip_file).state.items()})
    for model in (loaded, filled, built, exported, wrapped):
        assert not model_notices(model) and model.spec == loaded.spec
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    results = evaluate(
        config("MODEL.WEIGHTS", clip_file, "OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TEST", str(SETS))
    )
    assert tuple(results) == SETS


def test_a_clip_of_another_size_and_a_checkpoint_of_another_method_are_refused(clip_file):
    with torch.device("meta"):
        larger = rskt_seg.create_model("clip_zeroshot_vitb32")
    with pytest.raises(CheckpointError, match="another architecture"):
        rskt_seg.load_checkpoint(larger, clip_file)
    with pytest.raises(CheckpointError, match=r"does not fit this model|is a checkpoint of RSKT-Seg"):
        rskt_seg.load_checkpoint(
            rskt_seg.create_model("clip_zeroshot_tiny"), rskt_seg.create_model("rskt_tiny").state_dict()
        )


@pytest.mark.parametrize("how", ["weights", "config"])
def test_images_are_segmented_from_a_clip_file_or_a_configuration(how, clip_file, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "scene.png")
    source = {
        "weights": ("--weights", clip_file, "--preset", "clip_zeroshot_tiny", "--device", "cpu"),
        "config": ("--config-file", "clip_zeroshot/tiny.yaml"),
    }[how]
    opts = ("--opts", "MODEL.DEVICE", "cpu") if how == "config" else ()
    arguments = ["--input", str(tmp_path / "scene.png"), "--vocabulary", "trees, water", "--output"]
    assert segment.main([*source, *arguments, str(tmp_path / "out"), *opts]) == 0
    ids = np.asarray(Image.open(tmp_path / "out" / "scene_ids.png"))
    model = build_model(config())
    assert (ids == rskt_seg.Segmenter(model, ["trees", "water"]).predict(image).labels).all()


def test_a_flag_of_another_method_is_refused(clip_file, tmp_path, capsys):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "scene.png")
    arguments = ["--weights", clip_file, "--preset", "clip_zeroshot_tiny", "--synonyms", "mean"]
    where = ["--input", str(tmp_path / "scene.png"), "--vocabulary", "trees, water"]
    assert segment.main([*arguments, *where, "--output", str(tmp_path / "out")]) == 2
    assert "has no effect on CLIP zero-shot models" in capsys.readouterr().err


def test_with_exchanged_names_the_small_clip_asks_for_other_classes(data_root, tmp_path):
    opts = ("OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TEST", str(SETS[:1]))
    evaluate(config(*opts, "TEST.ROTATE_NAMES", "1"))
    assert json.loads((tmp_path / "out/benchmark_rotated1.json").read_text())["rotated_names"] == 1
