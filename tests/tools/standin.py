"""A checkout of the published code for tests, made of the plain form under published names.

It stands in for what the published project shows to the outside: a training script whose `setup` makes the
configuration, a configuration file, a package that registers a meta-architecture and datasets, and a model
that reads files from its folder. What it computes is the plain form of this project.
"""

import json
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from benchmarks.plain import Plain
from torch import nn

import rskt_seg

HEAD = "sem_seg_head.predictor."
_NAMES = (
    (r"clip\.", HEAD + "clip_model."),
    (r"remote_clip\.", HEAD + "clip_model_remote.visual."),
    (r"dino\.", "dino_model."),
    (r"dino_to_text\.", "dino_down_sample."),
    (r"cost\.fusion\.clip\.", HEAD + "transformer.conv1."),
    (r"cost\.fusion\.dino\.", HEAD + "transformer.conv2."),
    (r"cost\.fusion\.both\.", HEAD + "transformer.fusion_corr."),
    (r"image_guidance\.", HEAD + "transformer.guidance_projection.0."),
    (r"text_guidance\.", HEAD + "transformer.text_guidance_projection.0."),
    (
        r"layers\.(\d)\.spatial\.dwconv\.",
        HEAD + r"transformer.layers.\1.spatial_fusion.sa.mlp.dwconv.dwconv.",
    ),
    (r"layers\.(\d)\.spatial\.", HEAD + r"transformer.layers.\1.spatial_fusion.sa."),
    (r"layers\.(\d)\.classes\.", HEAD + r"transformer.layers.\1.class_fusion.sa."),
    (r"guides\.clip\.0\.side\.", "upsample1."),
    (r"guides\.clip\.1\.side\.", "upsample2."),
    (r"guides\.remote_clip\.0\.side\.", "upsample1_remote."),
    (r"guides\.remote_clip\.1\.side\.", "upsample2_remote."),
    (r"guides\.dino\.0\.side\.", "dino_decod_proj1."),
    (r"guides\.dino\.1\.side\.", "dino_decod_proj2."),
    (r"guides\.clip\.(\d)\.project\.", HEAD + r"transformer.CLIP_decoder_guidance_projection.\1.0."),
    (
        r"guides\.remote_clip\.(\d)\.project\.",
        HEAD + r"transformer.CLIP_decoder_guidance_projection_remote.\1.0.",
    ),
    (r"guides\.dino\.(\d)\.project\.", HEAD + r"transformer.DINO_decoder_guidance_projection.\1.0."),
    (r"decoder\.stages\.0\.", HEAD + "transformer.Fusiondecoder1."),
    (r"decoder\.stages\.1\.", HEAD + "transformer.Fusiondecoder2."),
    (r"decoder\.head\.", HEAD + "transformer.head."),
)
_IN_STAGES = (("conv1", "0"), ("norm1", "1"), ("conv2", "3"), ("norm2", "4"))


def published_name(name: str) -> str:
    """The published name of a tensor of ours, written for tests: the inverse of the loading rules."""
    for own, to in _NAMES:
        name, changed = re.subn(f"^{own}", to, name)
        if changed:
            break
    for own, number in _IN_STAGES:
        name = re.sub(rf"(Fusiondecoder\d\.){own}\.", rf"\1conv.double_conv.{number}.", name)
    return name


def mount(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Hang a parameter into a tree of modules under a dotted name."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    root.register_parameter(last, parameter)


class StandIn(nn.Module):
    """The plain form behind the published interface; class attributes are what a fork does otherwise."""

    shift = 0.0
    """Added to all logits."""
    loss_factor = 1.0
    scored = None
    """Number of classes that scores are returned of; None: all."""
    without = "nothing"
    """Beginning of the published names that the model lacks."""

    def __init__(self, cfg) -> None:
        super().__init__()
        head = cfg.MODEL.SEM_SEG_HEAD
        Path(head.DINO_WEIGHTS).read_bytes()  # as in the published code, a path from its folder
        assert head.TRAIN_CLASS_JSON == head.TEST_CLASS_JSON and not cfg.TEST.SLIDING_WINDOW
        self.names = json.loads(Path(head.TEST_CLASS_JSON).read_text())
        inner = rskt_seg.create_model("rskt_tiny", num_layers=head.NUM_LAYERS)
        self.inner = [inner]  # a list hides its names
        self.plain = Plain(inner)
        for name, parameter in inner.named_parameters():
            if not published_name(name).startswith(self.without):
                mount(self, published_name(name), parameter)
        unused = nn.Parameter(torch.ones(3), requires_grad=False)
        for name in ("visual.proj", "token_embedding.weight", "visual.transformer.resblocks.11.ln_1.bias"):
            mount(self, f"{HEAD}clip_model_remote.{name}", unused)

    def forward(self, entries):
        sys.stdout.write("the stand-in speaks\n")
        images = torch.stack([entry["image"].cuda() for entry in entries])
        logits = self.plain(images, self.names) + self.shift
        if self.training:
            target = torch.stack([entry["sem_seg"] for entry in entries]).cuda()
            return {"loss_sem_seg": self.loss_factor * self.plain.loss(logits, target)}
        entry, (height, width) = entries[0], images.shape[2:]
        assert "file_name" in entry
        scores = logits.sigmoid()[:1, : self.scored, :height, :width]
        size = entry["height"], entry["width"]
        return [{"sem_seg": F.interpolate(scores, size=size, mode="bilinear", align_corners=False)[0]}]


_TRAIN_NET = """
import os
import torch
from detectron2.config import get_cfg
from detectron2.engine import default_setup
from {package} import add_standin_config

os.environ["CUDA_VISIBLE_DEVICES"] = "0,1,2,3"
os.environ["STAND_IN"] = "set"
torch.set_float32_matmul_precision("high")
print("the stand-in was imported")

def setup(args):
    cfg = get_cfg()
    add_standin_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg
"""
_PACKAGE = """
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from tests.tools.standin import StandIn

DatasetCatalog.register("DLRSD_all_sem_seg", list)
MetadataCatalog.get("DLRSD_all_sem_seg").set(stuff_classes=["the stand-in's"])

def add_standin_config(cfg):
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NUM_LAYERS, head.TRAIN_CLASS_JSON, head.TEST_CLASS_JSON, head.DINO_WEIGHTS = 4, "", "", ""
    cfg.TEST.SLIDING_WINDOW = True

@META_ARCH_REGISTRY.register()
class {architecture}(StandIn):
    {body}
"""
_CONFIG = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: {architecture}
  SEM_SEG_HEAD:
    NUM_LAYERS: 3
    DINO_WEIGHTS: pretrained/dino.pth
"""
CONFIG = "configs/tiny.yaml"


def write_checkout(folder: Path, body: str = "pass") -> Path:
    """Write a checkout; its package and architecture have names of their own, as Python keeps both.

    Args:
        folder: An empty folder.
        body: Body of the class of its model, such as "shift = 1e-3".
    """
    package = f"standin_{abs(hash(str(folder)))}"
    texts = {
        "train_net.py": _TRAIN_NET,
        f"{package}/__init__.py": _PACKAGE,
        CONFIG: _CONFIG,
        "pretrained/dino.pth": "",
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(package=package, architecture=f"Arch_{package}", body=body))
    return folder
