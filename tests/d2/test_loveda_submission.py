"""`rskt-seg loveda-submission` as a user runs it, with the smallest models."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rskt_seg.commands.loveda_submission import main
from rskt_seg.d2 import load_config
from rskt_seg.d2.methods.registry import detectron_methods
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.weights import build_model
from rskt_seg.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
CONFIG = """
MODEL:
  META_ARCHITECTURE: RSSegmentor
  DEVICE: cpu
  SEM_SEG_HEAD: {NAME: BiCoRHead}
  BICOR: {ENCODER: tiny, WIDTH: 16, NUM_LAYERS: 1}
INPUT: {FORMAT: RGB, MIN_SIZE_TEST: 0}
DATASETS: {TRAIN: ["LoveDA_geoseg_train_sem_seg"], TEST: ["LoveDA_geoseg_val_sem_seg"]}
"""


@pytest.fixture
def call(tmp_path, capsys):
    """Run the tool on one test image: further arguments -> exit status, standard output, standard error."""
    (tmp_path / "Test").mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((1024, 1024)).save(tmp_path / "Test" / "4191.png")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    torch.manual_seed(0)
    weights = tmp_path / "model.safetensors"
    save_file(Trainer.build_model(load_config(str(config))).state_dict(), weights)

    def run_tool(*flags: str, opts=("MODEL.WEIGHTS", str(weights)), output="out.zip"):
        paths = ("--config-file", config, "--images", tmp_path / "Test", "--output", tmp_path / output)
        status = main([str(word) for word in (*paths, *flags, *opts)])
        return status, *capsys.readouterr()

    return run_tool


def packed(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {name: np.asarray(Image.open(BytesIO(archive.read(name)))) for name in archive.namelist()}


def test_the_file_holds_what_the_model_says_of_each_image(call, tmp_path):
    status, out, _ = call("--part")
    assert status == 0 and "1 of 1796 images" in out
    cfg = load_config(str(tmp_path / "config.yaml"), ["MODEL.WEIGHTS", str(tmp_path / "model.safetensors")])
    segmenter = Segmenter(build_model(cfg))
    found = packed(tmp_path / "out.zip")
    assert list(found) == ["4191.png"]
    expected = segmenter.predict(tmp_path / "Test" / "4191.png").labels
    np.testing.assert_array_equal(found["4191.png"], expected)
    assert len(np.unique(expected)) > 1


def test_a_missing_image_an_existing_file_and_other_views_are_handled(call, tmp_path):
    status, _, error = call()
    assert status == 2 and "1795 of 1796 test images are missing" in error
    assert call("--part")[0] == 0
    status, _, error = call("--part")
    assert status == 2 and "out.zip exists and is not overwritten" in error
    parts = ("--work", str(tmp_path / "out_parts"), "--part")
    status, _, error = call(*parts, "--tta", "lr", output="lr.zip")
    assert status == 2 and "predictions of other weights or settings" in error
    assert call(*parts, output="again.zip")[0] == 0
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "out.zip").read_bytes()


def test_a_model_of_other_classes_is_refused_before_it_predicts(call, tmp_path):
    opts = ("DATASETS.TRAIN", "()", "DATASETS.TEST", "('deepglobe_fctl_test_sem_seg',)")
    config = load_config(str(tmp_path / "config.yaml"), list(opts))
    weights = tmp_path / "other.safetensors"
    save_file(Trainer.build_model(config).state_dict(), weights)
    status, _, error = call("--part", opts=(*opts, "MODEL.WEIGHTS", str(weights)))
    assert status == 2 and "needs a model of the classes Background" in error
    assert not (tmp_path / "out_parts").exists()


def test_models_see_the_images_as_in_an_evaluation(call, tmp_path):
    cfg = load_config(str(tmp_path / "config.yaml"), ["TEST.TILE", "512", "TEST.TILE_OVERLAP", "64"])
    options = {name: record.evaluation_options(cfg) for name, record in detectron_methods().items()}
    assert options["BiCoRHead"] == {"tile": 512, "tile_overlap": 64, "padding": "published"}
    assert options["FCtLHead"] == {"patch_overlap": 50}
    assert options["RSKTSegHead"]["short_side"] == cfg.INPUT.MIN_SIZE_TEST
    tiled = ("TEST.TILE", "512", "MODEL.WEIGHTS", str(tmp_path / "model.safetensors"))
    assert call("--part")[0] == 0
    assert call("--part", opts=tiled, output="tiled.zip")[0] == 0
    whole, parts = packed(tmp_path / "out.zip"), packed(tmp_path / "tiled.zip")
    assert (whole["4191.png"] != parts["4191.png"]).any()
