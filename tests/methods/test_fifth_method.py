"""A fifth method, defined in this file alone, goes everywhere that the four of the package go.

It is a closed-set model that scores every pixel by its colour. `train_net.py` finds it by an entry point, as
that of any installed package.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import rskt_seg.d2  # prepares Detectron2 for the imports below

# isort: split
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from PIL import Image
from torch import Tensor, nn

import rskt_seg
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.d2.heads import ClosedSetHead
from rskt_seg.d2.methods import DetectronMethod
from rskt_seg.errors import CheckpointError, ConfigError
from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.strategies import Strategy, channels_first
from rskt_seg.inference.views import VIEWS
from rskt_seg.methods import CheckpointLayout, EncoderRole, Explanation, Method, unregister_method
from rskt_seg.methods.layout import OTHER_ENCODER
from rskt_seg.metrics.results import Reference
from rskt_seg.models import Spec, check_options

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ColourSpec(Spec):
    """Options of `ColourModel`."""

    num_classes: int
    width: int = 8
    power: float = 1.0

    def __post_init__(self) -> None:
        check_options(self, {}, {"num_classes": (1, None), "width": (1, 64), "power": (0.5, 2.0)})


@dataclass(frozen=True)
class ColourOutput:
    logits: Tensor


class ColourModel(nn.Module):
    """Logits (B, K, H, W) of images (B, 3, H, W) in 0..255: a perceptron over the colour of each pixel."""

    def __init__(self, spec: ColourSpec, class_names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.spec, self.class_names = spec, None if class_names is None else tuple(class_names)
        self.stem = nn.Conv2d(3, spec.width, 1)
        self.classify = nn.Conv2d(spec.width, spec.num_classes, 1)

    @property
    def device(self) -> torch.device:
        return self.classify.weight.device

    def forward(self, images: Tensor) -> ColourOutput:
        return ColourOutput(self.classify(F.relu(self.stem((images / 255) ** self.spec.power))))

    def scores(self, output: ColourOutput) -> Tensor:
        return output.logits.softmax(dim=1)

    def losses(self, output: ColourOutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        return {"loss_pixel": F.cross_entropy(output.logits, target, ignore_index=ignore_value)}


@dataclass(frozen=True)
class PixelStrategy(Strategy):
    """Every pixel on its own; `sharpen` multiplies the logits."""

    sharpen: float = 1.0

    def score_map(self, pixels: np.ndarray) -> Tensor:
        logits = self.model(channels_first(pixels)[None].float().to(self.model.device)).logits[0]
        return (self.sharpen * logits).softmax(dim=0).cpu()

    def plan_scene(self, size, window, overlap, taper) -> WindowPlan:
        return plan_windows(size, window or 16, 0.25 if overlap is None else overlap, taper=taper)

    def window_maps(self, images, windows, plan, shared) -> Tensor:
        return (self.sharpen * self.model(images).logits).cpu()

    def map_scores(self, maps) -> Tensor:
        return maps.softmax(dim=0)


class ColourLayout(CheckpointLayout):
    training_only = ()
    output_key = "classify.weight"
    class_axes: ClassVar = {"classify.weight": 1, "classify.bias": 1}

    def is_published(self, keys) -> bool:
        return "toy.head.weight" in keys

    def published_rules(self, model, state, source) -> Sequence[Rule]:
        return [Rule(r"toy\.head\.", "classify."), Rule(r"toy\.stem\.", "stem.")]


def load_stem(model: ColourModel, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.stem, convert(state, [], report), source, OTHER_ENCODER)
    return report


def reference(spec: ColourSpec, test_set: str) -> Reference | None:
    return Reference("the toy paper, table 1", 12.5, None, None) if test_set == "DLRSD_val_sem_seg" else None


COLOUR = Method(
    name="colour",
    title="Colour",
    model=ColourModel,
    spec=ColourSpec,
    presets={"colour_small": {"width": 4}, "colour_large": {"width": 16}},
    vocabulary="closed",
    strategy=PixelStrategy,
    checkpoint=ColourLayout(),
    encoders={"stem": EncoderRole(load_stem, "the stem: a state dict of weight and bias", frozen=True)},
    explanations={
        "hidden_maps": Explanation(
            label="hidden maps",
            help="Colour: draw the hidden units",
            compute=lambda strategy, request: request.pixels.mean(axis=2).astype(np.uint8),
            draw=lambda maps, picture: [np.repeat(maps[:, :, None], 3, axis=2)],
            report=lambda maps: (f"hidden maps of {maps.size} px", False),
        )
    },
    reference=reference,
    detectron2=f"{__name__}:COLOUR_D2",
)


class ColourHead(ClosedSetHead):
    @configurable
    def __init__(self, *, model, ignore_value=255, views=VIEWS["lr"], sharpen=1.0) -> None:
        super().__init__(model, ignore_value, views)
        self.sharpen = sharpen

    @classmethod
    def from_config(cls, cfg, input_shape=None) -> dict:
        return super().from_config(cfg, input_shape) | {"sharpen": cfg.TEST.SHARPEN}

    def losses(self, entries, vocabulary):
        self.check_classes(vocabulary)
        images, targets = torch.stack(self.images(entries)), self.targets(entries)
        return self.model.losses(self.model(images), targets, self.ignore_value)

    def probabilities(self, entry, views):
        images = self.images([entry])[0][None]
        return (self.sharpen * self.model(images).logits[0]).softmax(dim=0)


if "ColourHead" not in SEM_SEG_HEADS_REGISTRY:
    SEM_SEG_HEADS_REGISTRY.register(ColourHead)


@dataclass(frozen=True)
class _ColourMethod(DetectronMethod):
    def check_config(self, cfg, spec) -> None:
        if cfg.TEST.SHARPEN <= 0:
            raise ConfigError(f"TEST.SHARPEN must be above 0; found {cfg.TEST.SHARPEN}")

    def segmenter_options(self, cfg) -> dict:
        return {"sharpen": cfg.TEST.SHARPEN}


COLOUR_D2 = _ColourMethod(
    method=COLOUR, head=ColourHead, section="COLOUR", chain="geoseg", keys={"TEST.SHARPEN": 1.0}
)
NAMES = ["red", "green", "blue"]
CONFIG = """\
MODEL:
  META_ARCHITECTURE: RSSegmentor
  DEVICE: cpu
  SEM_SEG_HEAD: {NAME: ColourHead}
  COLOUR: {WIDTH: 8}
  ENCODERS: {STEM: random}
DATASETS: {TRAIN: "('DLRSD_train_sem_seg',)", TEST: "('DLRSD_val_sem_seg',)"}
INPUT:
  FORMAT: RGB
  AUGMENTATION: geoseg
  MOSAIC: 0.0
  MIN_SIZE_TEST: 0
  CROP: {ENABLED: True, TYPE: absolute, SIZE: [32, 32]}
SOLVER: {IMS_PER_BATCH: 2, MAX_ITER: 4, CHECKPOINT_PERIOD: 2, BASE_LR: 0.01}
DATALOADER: {NUM_WORKERS: 0}
SEED: 1
"""


@pytest.fixture
def colour():
    rskt_seg.register_method(COLOUR)
    yield COLOUR
    unregister_method("colour")


@pytest.fixture
def model(colour):
    torch.manual_seed(0)
    return rskt_seg.create_model("colour_small", NAMES)


def image(height=20, width=30):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_it_is_created_saved_and_loaded_with_a_report(model, tmp_path):
    assert model.spec == ColourSpec(3, width=4) and model.class_names == tuple(NAMES) and not model.training
    with pytest.raises(ConfigError, match="colour_small has no option 'widht'; did you mean 'width'"):
        rskt_seg.create_model("colour_small", 3, widht=2)
    torch.save(
        {"model": model.state_dict(), "options": {"width": 4}, "class_names": NAMES}, tmp_path / "m.pth"
    )
    other = rskt_seg.create_model("colour_small", 3)
    assert "4 tensors loaded as named" in str(rskt_seg.load_checkpoint(other, tmp_path / "m.pth"))
    assert other.class_names == tuple(NAMES)
    with pytest.raises(CheckpointError, match="saved from a model with width=4"):
        rskt_seg.load_checkpoint(rskt_seg.create_model("colour_large", 3), tmp_path / "m.pth")


def test_published_names_are_recognised_and_another_method_is_told_apart(model):
    published = {
        **{f"toy.head.{k}": v for k, v in model.classify.state_dict().items()},
        **{f"toy.stem.{k}": v for k, v in model.stem.state_dict().items()},
    }
    other = rskt_seg.create_model("colour_small", NAMES)
    assert "4 converted" in str(rskt_seg.load_checkpoint(other, published))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())
    with pytest.raises(CheckpointError, match=r"published checkpoint of Colour.*'colour_small'"):
        rskt_seg.load_checkpoint(rskt_seg.create_model("rskt_tiny"), published)


def test_an_encoder_is_loaded_by_its_role(model):
    stem = nn.Conv2d(3, 4, 1).state_dict()
    rskt_seg.load_encoder(model, "stem", stem)
    assert torch.equal(model.stem.weight, stem["weight"])
    with pytest.raises(CheckpointError, match="no encoder 'clip'; they have stem"):
        rskt_seg.load_encoder(model, "clip", stem)


def test_the_segmenter_uses_its_strategy_its_options_and_its_explanations(model):
    segmenter = rskt_seg.Segmenter(model, sharpen=3.0)
    assert segmenter.options == {"sharpen": 3.0}
    result = segmenter.predict(image())
    with torch.no_grad():
        expected = model(torch.from_numpy(image()).permute(2, 0, 1)[None].float()).logits[0].argmax(dim=0)
    assert np.array_equal(result.labels, expected.numpy()) and result.class_names == tuple(NAMES)
    assert segmenter.explain("hidden_maps", image()).shape == (20, 30)
    with pytest.raises(ConfigError, match=r"cost maps are shown by RSKT-Seg, .* models; this.* of Colour"):
        segmenter.cost_maps(image())
    with pytest.raises(ConfigError, match="tile=64 has no effect on Colour models"):
        rskt_seg.Segmenter(model, tile=64)
    with pytest.raises(ConfigError, match="no effect on RSKT-Seg models; it is an option of Colour"):
        rskt_seg.Segmenter(rskt_seg.create_model("rskt_tiny"), NAMES, sharpen=2)


def test_it_is_exported_and_used_without_its_model(model, tmp_path):
    pytest.importorskip("onnxruntime")
    segmenter = rskt_seg.Segmenter(model, sharpen=3.0)
    segmenter.export(tmp_path / "colour.onnx")
    graph = rskt_seg.Segmenter.from_onnx(tmp_path / "colour.onnx")
    expected, found = segmenter.predict(image()), graph.predict(image())
    assert np.array_equal(found.labels, expected.labels) and found.class_names == tuple(NAMES)
    assert np.allclose(found.scores, expected.scores, atol=1e-4)


@pytest.fixture
def installed(tmp_path, data_root):
    """The environment of a process in which a package with this method is installed."""
    info = tmp_path / "site" / "toy_method-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[rskt_seg.methods]\ncolour = {__name__}:COLOUR\n")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(installed, script, *arguments, cwd=ROOT):
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=installed, cwd=cwd)


def test_it_is_trained_resumed_benchmarked_and_shown_by_the_commands(installed, tmp_path):
    (tmp_path / "colour.yaml").write_text(CONFIG)
    out, config = tmp_path / "out", ("--config-file", tmp_path / "colour.yaml")
    first = run(installed, "train_net.py", *config, "OUTPUT_DIR", out, "SOLVER.MAX_ITER", "2")
    assert first.returncode == 0, first.stderr[-2000:]
    saved = torch.load(out / "model_final.pth", weights_only=True)
    assert saved["options"]["width"] == 8 and len(saved["class_names"]) == saved["options"]["num_classes"]

    resumed = run(installed, "train_net.py", *config, "--resume", "OUTPUT_DIR", out)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert torch.load(out / "model_final.pth", weights_only=True)["iteration"] == 3

    weights = ("MODEL.WEIGHTS", out / "model_final.pth", "OUTPUT_DIR", tmp_path / "bench")
    scored = run(installed, "train_net.py", *config, "--eval-only", *weights, "TEST.SHARPEN", "2.0")
    assert scored.returncode == 0, scored.stderr[-2000:]
    report = json.loads((tmp_path / "bench/benchmark.json").read_text())
    assert "the toy paper, table 1" in json.dumps(report)

    Image.fromarray(image()).save(tmp_path / "scene.png")
    shown = run(
        installed, "demo/demo.py", *config, "--input", tmp_path / "scene.png",
        "--output", tmp_path / "results", "--hidden-maps", "--opts", *weights[:2],
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr[-2000:]
    assert {"scene_overlay.png", "scene_hidden_maps.png"} <= {
        p.name for p in (tmp_path / "results").iterdir()
    }
    assert "hidden maps of 600 px" in shown.stderr


def test_mistakes_are_one_line(installed, tmp_path):
    (tmp_path / "colour.yaml").write_text(CONFIG)
    config = ("--config-file", str(tmp_path / "colour.yaml"), "OUTPUT_DIR", str(tmp_path / "out"))
    mistakes = {
        ("TEST.SHARPEN", "0.0"): "TEST.SHARPEN must be above 0; found 0",
        ("MODEL.COLOUR.WIDTH", "100"): "MODEL.COLOUR: width must be between 1 and 64; found 100",
        ("MODEL.SEM_SEG_HEAD.NAME", "ColorHead"): "ColourHead; found 'ColorHead'",
        ("TEST.TILE", "64"): "TEST.TILE has no effect with MODEL.SEM_SEG_HEAD.NAME ColourHead",
        ("MODEL.ENCODERS.STEM", ""): "MODEL.ENCODERS.STEM is empty",
    }
    one_after_another = tmp_path / "trainings.py"
    one_after_another.write_text(
        "from rskt_seg.commands.train import main\n"
        f"for opts in {list(mistakes)}:\n"
        f"    assert main([*{config}, *opts]) == 2\n"
    )
    result = run(installed, one_after_another)
    said = [line for line in result.stderr.splitlines() if "error:" in line]
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr[-2000:]
    for line, message in zip(said, mistakes.values(), strict=True):
        assert message in line


def test_a_detectron2_side_that_cannot_be_imported_is_a_warning_and_leaves_the_rest(caplog):
    from rskt_seg.d2 import load_config

    rskt_seg.register_method(replace(COLOUR, detectron2="no_such_module:COLOUR_D2"))
    try:
        cfg = load_config(str(ROOT / "configs/ovrsis/tiny_dlrsd.yaml"), [])
    finally:
        unregister_method("colour")
    assert "SHARPEN" not in cfg.TEST and "COLOUR" not in cfg.MODEL
    [warning] = [r.getMessage() for r in caplog.records if "no_such_module" in r.getMessage()]
    assert "its method has no Detectron2 side: No module named 'no_such_module'" in warning


def test_the_name_of_the_head_alone_switches_a_configuration(colour, data_root, caplog):
    from rskt_seg.d2 import load_config

    file = str(ROOT / "configs/ovrsis/tiny_dlrsd.yaml")
    with caplog.at_level(logging.WARNING):
        cfg = load_config(file, ["MODEL.SEM_SEG_HEAD.NAME", "ColourHead"])
    assert cfg.MODEL.SEM_SEG_HEAD.NAME == "ColourHead" and cfg.INPUT.AUGMENTATION == "ovrsis"
    [said] = [r.getMessage() for r in caplog.records if "in place of the file's method" in r.getMessage()]
    assert "MODEL.RSKT.NUM_LAYERS does not apply" in said and "\n" not in said
    with pytest.raises(ConfigError, match=r"MODEL\.RSKT\.NUM_LAYERS has no effect with ColourHead"):
        load_config(file, ["MODEL.SEM_SEG_HEAD.NAME", "ColourHead", "MODEL.RSKT.NUM_LAYERS", "3"])
