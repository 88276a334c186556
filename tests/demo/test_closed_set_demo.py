"""The demo command with closed-set models: untrained tiny ones, every flag from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rskt_seg.commands.segment import main

ROOT = Path(__file__).resolve().parents[2]
# Classes of inria: 0 not building, 1 building.
BICOR = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: RSSegmentor
  DEVICE: cpu
  SEM_SEG_HEAD: {NAME: BiCoRHead}
  ENCODERS: {CONVNEXT: random}
  BICOR: {ENCODER: tiny, WIDTH: 32, STOCHASTIC_DEPTH: 0.0}
DATASETS: {TRAIN: [CLASSES]}
TEST: {TILE: 64}
"""
FCTL = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: RSSegmentor
  DEVICE: cpu
  SEM_SEG_HEAD: {NAME: FCtLHead}
  ENCODERS: {LOCAL: random, MEDIUM: random, LARGE: random}
  FCTL: {ENCODER: mit_tiny, PATCH_SIDE: 64, INPUT_SIDE: 64, GPE: True, ALE: d}
INPUT: {PATCH_OVERLAP: 16}
DATASETS: {TRAIN: [inria_train_sem_seg]}
"""
WHOLE = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: RSSegmentor
  DEVICE: cpu
  SEM_SEG_HEAD: {NAME: FCtLHead}
  ENCODERS: {LOCAL: random}
  FCTL: {ENCODER: vgg_tiny, CONTEXTS: [], LCF: False, VIEW: whole, INPUT_SIDE: 64}
DATASETS: {TRAIN: [inria_train_sem_seg]}
"""
RSKT = str(ROOT / "configs" / "ovrsis" / "tiny_dlrsd.yaml")
CONFIGS = {
    "bicor": BICOR.replace("CLASSES", "inria_train_sem_seg"),
    "bicor17": BICOR.replace("CLASSES", "DLRSD_train_sem_seg"),
    "fctl": FCTL,
    "whole": WHOLE,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Configuration and weights of each model, untrained."""
    from rskt_seg.d2 import build_model, load_config

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, text in CONFIGS.items():
        (folder / f"{name}.yaml").write_text(text)
        model = build_model(load_config(str(folder / f"{name}.yaml")))
        torch.save({"model": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def demo(models, image, tmp_path, monkeypatch):
    """`demo(model, *flags)` runs the command on the image; returns its status and the files it made."""
    output = tmp_path / "out"

    def call(name, *flags):
        config = RSKT if name == "rskt" else models / f"{name}.yaml"
        weights = [] if name == "rskt" else ["MODEL.WEIGHTS", models / f"{name}.pth"]
        words = ["--config-file", config, "--input", image, "--output", output, *flags]
        status = main([str(word) for word in (*words, "--opts", *weights)])
        return status, {file.name: file for file in output.iterdir()} if output.exists() else {}

    return call


def colours_in(file):
    return len(np.unique(np.asarray(Image.open(file)).reshape(-1, 3), axis=0))


STANDARD = {f"scene_{name}" for name in ("overlay.png", "labels.png", "legend.png", "ids.png", "area.csv")}


def test_bicor_segments_and_draws_its_heatmaps(demo):
    status, files = demo("bicor", "--heatmaps", "--tta", "lr")
    assert status == 0 and set(files) >= STANDARD | {"scene_heatmaps.png"}
    ids = np.asarray(Image.open(files["scene_ids.png"]))
    assert ids.shape == (70, 90) and set(np.unique(ids)) <= {0, 1}
    areas = json.loads(files["scene_area.json"].read_text())["classes"]
    assert [area["name"] for area in areas] == ["not building", "building"]
    assert colours_in(files["scene_heatmaps.png"]) > 500


def test_heatmaps_of_many_classes_take_several_pages(demo):
    status, files = demo("bicor17", "--heatmaps")
    pages = sorted(name for name in files if "heatmaps" in name)
    assert status == 0 and pages == [f"scene_heatmaps_{page}.png" for page in (1, 2, 3)]


def test_fctl_segments_and_draws_its_contexts(demo):
    status, files = demo("fctl", "--context-maps", "--at", "69,3")
    assert status == 0 and set(files) >= STANDARD and colours_in(files["scene_context_maps.png"]) > 500


def test_the_global_baseline_of_fctl_segments(demo):
    status, files = demo("whole", "--tta", "dihedral")
    assert status == 0 and Image.open(files["scene_ids.png"]).size == (90, 70)


@pytest.mark.parametrize("name", ["bicor", "fctl"])
def test_ground_truth_gives_the_errors(demo, tmp_path, name):
    truth = np.random.default_rng(1).integers(0, 2, (70, 90)).astype(np.uint8)
    Image.fromarray(truth).save(tmp_path / "truth.png")
    status, files = demo(name, "--gt", tmp_path / "truth.png")
    assert status == 0 and {"scene_truth.png", "scene_errors.png"} <= set(files)
    picture = np.asarray(Image.open(files["scene_errors.png"]))
    # About half of the pixels of a random truth are wrong; a map of one class has errors of one kind.
    wrong = [(picture == color).all(axis=2).mean() for color in ((214, 39, 40), (31, 80, 210))]
    assert sum(wrong) > 0.2


def test_the_vocabulary_may_be_repeated(demo):
    assert demo("bicor", "--vocabulary", "Not building, building")[0] == 0


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("bicor", ["--vocabulary", "road, tree"], "the classes of this model are fixed"),
        ("fctl", ["--vocabulary", "building, not building"], "the classes of this model are fixed"),
        ("bicor", ["--cost-maps"], "cost maps are shown by RSKT-Seg, CAT-Seg, OVRS and GSNet models"),
        ("bicor", ["--context-maps"], "context maps are shown by FCtL models"),
        ("fctl", ["--heatmaps"], "heatmaps are shown by BiCoR-Seg models"),
        ("whole", ["--context-maps"], "whole images"),
        ("fctl", ["--sliding"], "sliding=True has no effect on FCtL models"),
        ("fctl", ["--padding", "published"], "padding='published' has no effect on FCtL models"),
        ("bicor", ["--synonyms", "mean"], "synonyms='mean' has no effect"),
        ("bicor", ["--tta", "d4"], "views must be one of"),
        ("fctl", ["--context-maps", "--at", "3"], "--at expects ROW,COLUMN"),
        ("fctl", ["--at", "3,4"], "give both or neither"),
        ("rskt", [], "--vocabulary"),
    ],
)
def test_a_flag_that_the_model_cannot_serve_is_one_line(demo, capsys, name, flags, message):
    status, files = demo(name, *flags)
    (line,) = [line for line in capsys.readouterr().err.strip().splitlines() if "error:" in line]
    assert status == 2 and not files and message in line


def test_a_pixel_outside_of_an_image_fails_that_image_before_the_work(demo, caplog):
    status, files = demo("fctl", "--context-maps", "--at", "70,0")
    assert status == 1 and "rows 0..69" in caplog.text and not files
