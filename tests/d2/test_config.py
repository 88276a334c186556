"""Configuration: keys, their readers, and what is refused."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from rskt_seg.d2 import add_rskt_seg_config, agreement, load_config
from rskt_seg.d2.config import names_key
from rskt_seg.d2.devices import check_devices, default_device
from rskt_seg.d2.methods import detectron_methods
from rskt_seg.d2.methods.rskt_authors_keys import AUTHORS_KEYS, advice
from rskt_seg.d2.specs import model_spec
from rskt_seg.errors import ConfigError, DeviceError
from rskt_seg.models.bicor import BiCoRSpec
from rskt_seg.models.clip_zeroshot import ClipZeroShotSpec
from rskt_seg.models.fctl import FCtLSpec
from rskt_seg.models.rskt import RSKTSpec
from tests.d2.conftest import CONFIGS

BASE = str(CONFIGS / "vitb_dlrsd.yaml")
ROOM = Path(add_rskt_seg_config.__code__.co_filename).parent


def leaves(node: dict, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in node.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def our_config() -> CfgNode:
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    return cfg


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


SPECS = {
    "RSKTSegHead": RSKTSpec,
    "BiCoRHead": BiCoRSpec,
    "FCtLHead": FCtLSpec,
    "ClipZeroShotHead": ClipZeroShotSpec,
}


@pytest.mark.parametrize("head", SPECS)
def test_the_keys_of_a_model_are_exactly_the_fields_of_its_spec(head):
    section = our_config().MODEL[detectron_methods()[head].section]
    fields_of_data = {"num_classes"}
    expected = {f.name.upper(): f.default for f in fields(SPECS[head]) if f.name not in fields_of_data}
    assert dict(section) == expected


OTHER_VALUES = {
    "hidden_dim": 64,
    "num_heads": 4,
    "window_heads": 2,
    "encoder": "tiny",
    "fusion": "mean",
    "padding": "aligned",
    "prompt_mode": "channels",
    "loss": "cross_entropy",
    "clip_finetune": "full",
    "dino_finetune": "full",
    "attention": "full",
    "templates": ("{} seen from above",),
    "aggregator": "original",
}


@pytest.mark.parametrize("name", [field.name for field in fields(RSKTSpec)])
def test_every_key_of_the_model_reaches_its_field_of_the_spec(name):
    cfg = our_config()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "RSKTSegHead"
    if name in ("pooling", "test_pooling", "window", "attention", "window_heads"):
        cfg.MODEL.RSKT.AGGREGATOR = "original"
    default = cfg.MODEL.RSKT[name.upper()]
    value = OTHER_VALUES.get(name, not default if isinstance(default, bool) else 3)
    cfg.MODEL.RSKT[name.upper()] = value
    assert value != default
    assert getattr(model_spec(cfg), name) == value


# Other values of the fields that go with the defaults, or with what stands beside them.
CLOSED = {
    "BiCoRHead": [
        {"encoder": "tiny"}, {"num_layers": 3}, {"width": 64}, {"stochastic_depth": 0.25},
        {"padding": "aligned"}, {"interaction": "cross_attention", "attention_heads": 4}, {"pooling": "all"},
        {"topk_ratio": 0.5}, {"min_pixels": 9}, {"pooling": "threshold", "threshold": 0.25},
        {"pooling": "percentile", "percentile": 0.5}, {"inner_steps": 2}, {"temperature": 2.0},
        {"film_weight": 0.25}, {"heatmap_inputs": "raw"}, {"pooled_inputs": "raw"}, {"gate": "class"},
        {"candidate": "context"}, {"assignment": "heatmap"}, {"mixing": "learned"}, {"head": "product"},
        {"label_smoothing": 0.25}, {"mask_ignored": True}, {"aux_weight": 0.25}, {"heat_weight": 0.25},
        {"heat_loss": "heatmap"}, {"fisher_weight": 0.25}, {"final_fisher_weight": 0.25},
        {"between": "center"},
    ],
    "FCtLHead": [
        {"encoder": "mitb2"}, {"contexts": ("large",)}, {"factors": (1.5, 2.5)},
        {"context_encoder": "trained"}, {"lcf": False, "ale": "d"}, {"self_context": False},
        {"branch": "deepglobe"}, {"qk_scale": 0.5}, {"gpe": True, "geometry": "image"}, {"mcf": "squeeze"},
        {"ale": "a", "ale_context": "large"}, {"ale": "d", "ale_residual": "delta"},
        {"ale": "d", "ale_windows": (3,)}, {"ale": "d", "ale_activation": "tanh"},
        {"encoder": "mitb2", "fcn_decoder": True}, {"learn_upsampling": True}, {"focal_gamma": 2.0},
        {"contexts": (), "lcf": False, "view": "whole"}, {"patch_side": 300}, {"input_side": 300},
    ],
    "PriorWSSSHead": [
        {"encoder": "tiny"}, {"dino": "vits14"}, {"positions": "timm"}, {"dim": 128},
        {"clip_levels": (1, 12)}, {"decoder_layers": 1}, {"heads": 4}, {"dropout": 0.5},
        {"decode_dino": True}, {"cam_attention": "value"}, {"background": "none"},
        {"background_power": 2.0}, {"template": "a {}"}, {"descriptions": "potsdam"}, {"tpe": False},
        {"clusters": 6}, {"topk": 2}, {"text_weight": 0.5}, {"restarts": 1}, {"usr": False},
        {"affinity": "cosine"}, {"first_layer": 10}, {"alpha": 1}, {"rounds": 1}, {"renorm": False},
        {"start_iter": 100}, {"vpe": False}, {"seed_percent": 5.0}, {"momentum": 0.9},
        {"par_dilations": (1, 2)}, {"par_iters": 10}, {"par_w1": 0.5}, {"par_w2": 0.5},
        {"pseudo": "dual_threshold", "high": 0.6, "low": 0.3}, {"seg_loss": "plain"}, {"seg_weight": 0.5},
        {"affinity_weight": 0.5}, {"radius": 4},
    ],
}  # fmt: skip


@pytest.mark.parametrize("head", CLOSED)
def test_every_key_of_a_closed_set_model_reaches_its_field(head):
    reached = set()
    for options in CLOSED[head]:
        cfg = our_config()
        cfg.MODEL.SEM_SEG_HEAD.NAME = head
        for name, value in options.items():
            cfg.MODEL[detectron_methods()[head].section][name.upper()] = value
        spec = model_spec(cfg, 5)
        assert {name: getattr(spec, name) for name in options} == options
        assert spec.num_classes == 5
        reached |= set(options)
    assert reached == {key.lower() for key in detectron_methods()[head].options}


def test_options_of_another_method_than_the_chosen_one_are_refused():
    with pytest.raises(ConfigError, match=r"MODEL\.BICOR\.NUM_LAYERS has no effect with RSKTSegHead"):
        load_config(BASE, ["MODEL.BICOR.NUM_LAYERS", "3"])


CLOSED_FILES = {name: str(CONFIGS.parent / name / "tiny.yaml") for name in ("bicor", "fctl")}
TRAINED = "RSKTSegHead and CATSegHead and OVRSHead and GSNetHead"
OPEN = f"{TRAINED} and ClipZeroShotHead"
UNREAD = {
    "TEST.SLIDING_WINDOW": ("bicor", "True", TRAINED),
    "TEST.ROTATE_NAMES": ("fctl", "7", OPEN),
    "MODEL.CHECKPOINTING": ("bicor", "True", TRAINED),
    "SOLVER.CLIP_MULTIPLIER": ("fctl", "0.5", TRAINED),
    "MODEL.ENCODERS.CLIP": ("bicor", "tiny", OPEN.replace(" and", " and PriorWSSSHead and", 1)),
    "MODEL.ENCODERS.DINOV2": (None, "x.pth", "PriorWSSSHead"),
    "MODEL.SAVE_FROZEN": ("bicor", "True", "PriorWSSSHead"),
    "TEST.SCALES": ("fctl", "(1.0,)", "PriorWSSSHead"),
    "TEST.SCALES_FLIP": ("bicor", "False", "PriorWSSSHead"),
    "TEST.CRF": (None, "True", "PriorWSSSHead"),
    "TEST.CAM": ("fctl", "True", "PriorWSSSHead"),
    "MODEL.ENCODERS.REMOTE_CLIP": ("bicor", "tiny", "RSKTSegHead"),
    "MODEL.ENCODERS.DINO": ("bicor", "x.pth", "RSKTSegHead and GSNetHead"),
    "MODEL.ENCODERS.CONVNEXT": ("fctl", "x.pth", "BiCoRHead"),
    "TEST.TILE": ("fctl", "512", "BiCoRHead and PriorWSSSHead"),
    "TEST.TILE_OVERLAP": ("fctl", "64", "BiCoRHead and PriorWSSSHead"),
    "MODEL.ENCODERS.LOCAL": ("bicor", "x.pth", "FCtLHead"),
    "MODEL.ENCODERS.MEDIUM": ("bicor", "x.pth", "FCtLHead"),
    "MODEL.ENCODERS.LARGE": ("bicor", "x.pth", "FCtLHead"),
    "MODEL.START_FROM": ("bicor", "x.pth", "FCtLHead"),
    "INPUT.PATCH_OVERLAP": ("bicor", "60", "FCtLHead"),
    "SOLVER.SUB_BATCH": ("bicor", "2", "FCtLHead"),
    "TEST.AUG.VIEWS": (None, "dihedral", "BiCoRHead and FCtLHead and PriorWSSSHead"),
    "TEST.AUG.FLIP": ("fctl", "False", OPEN),
    "TEST.AUG.MIN_SIZES": ("bicor", "(640,)", OPEN),
    "TEST.AUG.MAX_SIZE": ("bicor", "640", OPEN),
    "INPUT.COLOR_AUG_SSD": ("fctl", "True", "ovrsis"),
    "INPUT.SIZE_DIVISIBILITY": ("bicor", "64", "ovrsis"),
    "INPUT.CROP.ENABLED": ("fctl", "True", "ovrsis and geoseg and wsss"),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": ("fctl", "0.5", "ovrsis and geoseg"),
    "INPUT.RANDOM_FLIP": ("fctl", "vertical", "ovrsis"),
    "INPUT.SCALES": ("fctl", "(1.0,)", "geoseg"),
    "INPUT.VFLIP": ("fctl", "0.0", "geoseg and wsss"),
    "INPUT.SCALE_RANGE": ("bicor", "(0.5, 2.0)", "wsss"),
    "DATASETS.MIN_LABEL_PIXELS": ("bicor", "20", "PriorWSSSHead"),
    "MODEL.FIT_TO_CLASSES": ("bicor", "True", "PriorWSSSHead"),
    "MODEL.UNKNOWN_WORDS": ("fctl", "noise", ".*PriorWSSSHead.*ClipZeroShotHead"),
    "INPUT.MOSAIC": ("fctl", "0.0", "geoseg"),
    "INPUT.MOSAIC_SIDE": ("fctl", "64", "geoseg"),
    "INPUT.HFLIP": (None, "0.0", "geoseg and fctl and wsss"),
    "INPUT.ROTATE90": (None, "0.0", "geoseg and fctl and wsss"),
    "SOLVER.EPOCHS": ("fctl", "3", "EpochCosineLR"),
    "SOLVER.LR_FLOOR": ("fctl", "0.0", "EpochCosineLR"),
    "SOLVER.POLY_POWER": ("bicor", "1.0", "PolyLR"),
    "SOLVER.POLY_START": ("bicor", "0.5", "PolyLR"),
    "SOLVER.AMP.DTYPE": (None, "bfloat16", "True"),
}


def test_every_key_that_some_choices_leave_unread_is_tested():
    assert UNREAD.keys() == agreement.readers().keys()


@pytest.mark.parametrize("key", UNREAD)
def test_a_key_that_the_chosen_method_does_not_read_is_refused(key):
    file, value, readers = UNREAD[key]
    with pytest.raises(ConfigError, match=rf"{re.escape(key)} has no effect with .*read with {readers}$"):
        load_config(CLOSED_FILES.get(file, BASE), [key, value])


@pytest.mark.parametrize(
    "file, opts, message",
    [
        ("fctl", ["SOLVER.SUB_BATCH", "0"], "SUB_BATCH must be at least 1"),
        ("bicor", ["TEST.TILE", "0"], r"TILE_OVERLAP must be at least 0 and below TEST\.TILE; found 0 and 0"),
        ("bicor", ["TEST.TILE_OVERLAP", "2000"], "found 2000 and 1024"),
        ("bicor", ["INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", "75.0"], "above 0, at most 1; found 75"),
        ("fctl", ["TEST.PROTOCOL", "fctl"], "TEST.PROTOCOL must be one of geoseg_isprs"),
        ("fctl", ["INPUT.PATCH_OVERLAP", "64"], r"below MODEL\.FCTL\.PATCH_SIDE; found 64 and 64"),
    ],
)
def test_sizes_that_cannot_be_are_refused(file, opts, message):
    with pytest.raises(ConfigError, match=message):
        load_config(CLOSED_FILES[file], opts)


def test_an_unknown_head_and_views_are_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"one of RSKTSegHead, BiCoRHead, .*; found 'PointRend'"):
        load_config(BASE, ["MODEL.SEM_SEG_HEAD.NAME", "PointRend"])
    with pytest.raises(ConfigError, match=r"TEST\.AUG\.VIEWS must be one of none, lr"):
        load_config(CLOSED_FILES["bicor"], ["TEST.AUG.VIEWS", "d8"])


def test_every_key_that_the_project_adds_is_read_by_its_code():
    added = leaves(our_config()).keys() - leaves(get_cfg()).keys()
    read = set()
    for file in ROOM.rglob("*.py"):
        if file.name != "config.py":
            read |= {n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)}
    # Options of models and MODEL.ENCODERS are read by computed names, which other tests pin.
    computed = (*(f"MODEL.{method.section}." for method in detectron_methods().values()), "MODEL.ENCODERS.")
    plain = {key for key in added if not key.startswith(computed)}
    assert plain
    assert {key for key in plain if key.rpartition(".")[2] not in read} == set()


def test_a_dumped_configuration_loads_to_the_same(tmp_path):
    cfg = load_config(BASE, ["SOLVER.MAX_ITER", "7"])
    again = load_config(write(tmp_path / "config.yaml", cfg.dump()))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
    assert again.SOLVER.MAX_ITER == 7
    assert again.is_frozen()


def test_an_unknown_key_is_refused_with_near_matches(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key MODEL\.RSKT\.NUM_LAYER; did you mean .*NUM_LAYERS"):
        load_config(BASE, ["MODEL.RSKT.NUM_LAYER", "3"])
    file = write(tmp_path / "c.yaml", f"_BASE_: {BASE}\nSLOVER:\n  MAX_ITER: 3\n")
    with pytest.raises(ConfigError, match=r"unknown key SLOVER\.MAX_ITER; did you mean SOLVER\.MAX_ITER"):
        load_config(file)


@pytest.mark.parametrize("key", [*AUTHORS_KEYS, "MODEL.SWIN.EMBED_DIM"])
def test_a_key_of_the_authors_is_answered_in_one_line_with_ours_or_the_reason(key):
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, [key, "7"])
    message = str(caught.value)
    assert key in message and advice(key) in message and "\n" not in message


def test_every_key_that_is_offered_for_one_of_the_authors_exists():
    ours = leaves(our_config())
    offered = {key for text in AUTHORS_KEYS.values() for key in re.findall(r"[A-Z]+(?:\.[A-Z_]+)+", text)}
    assert offered and offered <= ours.keys() | {"DATASETS.TRAIN", "DATASETS.TEST"}


def test_all_keys_of_the_authors_in_a_file_are_named_at_once(tmp_path):
    head = {"NUM_LAYERS": 5, "USE_ROTATE": True, "TRAIN_CLASS_JSON": "datasets/DLRSD.json"}
    text = yaml.safe_dump({"_BASE_": BASE, "MODEL": {"SEM_SEG_HEAD": head}})
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path / "c.yaml", text))
    assert all(f"MODEL.SEM_SEG_HEAD.{key}" in str(caught.value) for key in head)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["MODEL.RSKT.FUSION", "concate"], "fusion must be one of"),
        (["MODEL.RSKT.NUM_LAYERS", "many"], "NUM_LAYERS"),
        (["MODEL.RSKT.WINDOW", "6"], "no effect with aggregator='efficient'"),
        (["SOLVER.MAX_ITER"], "KEY VALUE pairs"),
        (["SOLVER.MAX_ITER", "3", "--num-gpus", "2"], "--num-gpus must stand before"),
        (["MODEL.META_ARCHITECTURE", "RSKT_Seg"], "must be RSSegmentor"),
        (["VERSION", "three"], "VERSION"),
    ],
)
def test_an_override_that_cannot_be_used_is_refused(opts, words):
    with pytest.raises(ConfigError, match=words):
        load_config(BASE, opts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_BASE_: nowhere.yaml\n", "_BASE_"),
        ("MODEL: [", "cannot be read"),
        ("", "cannot be read"),
        ("VERSION: 1\n", "VERSION must be 2"),
        ("MODEL:\n  RSKT: 3\n", "MODEL.RSKT"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_config(write(tmp_path / "c.yaml", text))


def test_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match="does not exist"):
        load_config("configs/nowhere.yaml")


def test_a_configuration_cannot_run_code(tmp_path):
    trace = tmp_path / "ran"
    text = f"OUTPUT_DIR: !!python/object/apply:builtins.open ['{trace}', 'w']\n"
    with pytest.raises(ConfigError):
        load_config(write(tmp_path / "c.yaml", text))
    assert not trace.exists()


def test_whether_the_user_named_a_key_is_seen_in_the_file_its_bases_and_the_overrides(tmp_path):
    base = write(tmp_path / "base.yaml", f"_BASE_: {BASE}\nMODEL:\n  DEVICE: cpu\n")
    leaf = write(tmp_path / "leaf.yaml", f"_BASE_: {base}\n")
    assert names_key(leaf, [], "MODEL.DEVICE")
    assert names_key(BASE, ["MODEL.DEVICE", "cpu"], "MODEL.DEVICE")
    assert not names_key(BASE, [], "MODEL.DEVICE")


def test_the_default_device_is_the_accelerator_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert default_device() == "cpu"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert default_device() == "mps"


def test_devices_that_the_machine_lacks_are_refused(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no such device"):
        check_devices("cuda")
    with pytest.raises(DeviceError, match="float16 needs a CUDA GPU"):
        check_devices("cpu", amp=torch.float16)
    check_devices("cpu", amp=torch.bfloat16)
    with pytest.raises(DeviceError, match=r"give MODEL\.DEVICE cpu"):
        check_devices("cpu", processes=2, asked=False)
    with pytest.raises(ConfigError, match="must name a device"):
        check_devices("gpu")
    with pytest.raises(ConfigError, match="at least 1"):
        check_devices("cpu", processes=0)
    check_devices("cpu", processes=2, asked=True)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    check_devices("cuda", processes=2)
    with pytest.raises(DeviceError, match=r"--num-gpus 3 .* has 2"):
        check_devices("cuda", processes=3)
    with pytest.raises(DeviceError, match="cuda:5"):
        check_devices("cuda:5")
    with pytest.raises(ConfigError, match="leave the number"):
        check_devices("cuda:1", processes=2)


TINY_FILES = ("ovrsis/tiny_dlrsd", "bicor/tiny", "fctl/tiny", "wsss/tiny", "clip_zeroshot/tiny")


@pytest.mark.parametrize("head", detectron_methods())
@pytest.mark.parametrize("file", [f"{name}.yaml" for name in TINY_FILES])
def test_the_head_alone_switches_the_method_of_a_file_and_one_line_says_what_does_not_apply(
    file, head, caplog
):
    own = load_config(file)
    with caplog.at_level("WARNING"):
        cfg = load_config(file, ["MODEL.SEM_SEG_HEAD.NAME", head])
    said = [r.getMessage() for r in caplog.records if "in place of the file's method" in r.getMessage()]
    record = detectron_methods()[head]
    assert head == cfg.MODEL.SEM_SEG_HEAD.NAME
    assert len(said) == (head != own.MODEL.SEM_SEG_HEAD.NAME) and not any("\n" in line for line in said)
    changes_chain = record.method.is_weak != (own.INPUT.AUGMENTATION == "wsss")
    assert (record.chain if changes_chain else own.INPUT.AUGMENTATION) == cfg.INPUT.AUGMENTATION
    assert cfg.SOLVER.MAX_ITER == own.SOLVER.MAX_ITER and cfg.DATASETS == own.DATASETS


def test_a_file_without_an_augmentation_gets_one_that_its_method_can_use(tmp_path):
    file = write(
        tmp_path / "own.yaml",
        "MODEL: {META_ARCHITECTURE: RSSegmentor, SEM_SEG_HEAD: {NAME: PriorWSSSHead}}\n",
    )
    assert load_config(file).INPUT.AUGMENTATION == "wsss"
    with pytest.raises(ConfigError, match="must be wsss; found ovrsis"):
        load_config(file, ["INPUT.AUGMENTATION", "ovrsis"])
