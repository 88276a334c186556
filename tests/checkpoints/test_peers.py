"""Published checkpoints of CAT-Seg, OVRS and GSNet: every name has its place, every method knows its own."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.files import WeightFile
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.commands import segment
from rskt_seg.commands.weights import main
from rskt_seg.errors import CheckpointError
from rskt_seg.layers.attention import shift_mask
from rskt_seg.methods import method_of
from rskt_seg.methods.export import export_model, kind_of

PARITY = Path(__file__).parents[1] / "parity"
PRESETS = {
    "catseg_vitb": ("catseg_vitb16", 484),
    "catseg_vitl": ("catseg_vitl14", 652),
    "ovrs_vitb": ("ovrs_vitb16", 492),
    "gsnet_vitb": ("gsnet_vitb16", 648),
}


def manifest(name):
    return json.loads((PARITY / "peers" / f"manifest_{name}_L2.json").read_text())


def on_meta(entries):
    """A published state dict without values; the masks of the windows alone have some."""
    return {
        key: shift_mask(24, 24, 12, 6)
        if entry["rule"] == "keep"
        else torch.empty(entry["shape"], device="meta")
        for key, entry in entries.items()
    }


@pytest.mark.parametrize("name", PRESETS)
def test_names_shapes_and_numbers_of_parameters_are_the_published_ones(name):
    preset, entries = PRESETS[name]
    published = manifest(name)
    assert len(published["state_dict"]) == entries
    with torch.device("meta"):
        model = rskt_seg.create_model(preset)
    state, report = on_meta(published["state_dict"]), LoadReport(name)
    for layer in model.layers:
        layer.spatial.block_2.attn_mask = shift_mask(24, 24, 12, 6)
    layout = method_of(model).checkpoint
    assert layout.is_published(state.keys())
    converted = convert(state, layout.published_rules(model, state, name), report)
    own = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in converted.items()} == own
    assert all(key.endswith("block_2.attn_mask") for key in report.dropped) and len(report.dropped) == 2
    assert sum(p.numel() for p in model.parameters()) == published["total_params"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == published["trainable_params"]


def published_names(model, naming):
    """The state dict of a tiny model under published names: the rules that load it, read backwards."""
    rules = method_of(model).checkpoint.published_rules(model, {}, "names")
    report = LoadReport("names")
    convert({key: torch.empty(0) for key in naming}, rules, report)
    back = {own: key for key, names in report.converted.items() for own in names}
    return {back[key]: tensor for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["catseg", "ovrs", "gsnet"])
def test_a_published_checkpoint_loads_exports_and_loads_again(name, tmp_path):
    torch.manual_seed(1)
    source = rskt_seg.create_model(f"{name}_tiny")  # on its 12 x 12 grid windows are whole: no mask
    naming = manifest(f"{name}_vitb")["state_dict"]
    path = tmp_path / "model_final.pth"
    torch.save({"model": published_names(source, naming)}, path)
    target = rskt_seg.create_model(f"{name}_tiny")
    rskt_seg.load_checkpoint(target, path)
    export_model(rskt_seg.create_model(f"{name}_tiny"), path, tmp_path / "own.safetensors")
    again = rskt_seg.load(tmp_path / "own.safetensors").model
    assert method_of(again).name == name
    for key, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], tensor) and torch.equal(again.state_dict()[key], tensor)


FILES = {name: manifest(name)["state_dict"] for name in ("catseg_vitb", "ovrs_vitb", "gsnet_vitb")}
FILES["rskt_vitb"] = json.loads((PARITY / "rskt" / "manifest_vitb_L5_efficient.json").read_text())[
    "state_dict"
]


@pytest.mark.parametrize(
    ("file", "model", "message"),
    [
        ("catseg_vitb", "rskt_tiny", "published checkpoint of CAT-Seg or OVRS, the model is one of RSKT-Seg"),
        ("catseg_vitb", "gsnet_tiny", "published checkpoint of CAT-Seg or OVRS, the model is one of GSNet"),
        ("catseg_vitb", "ovrs_tiny", "seems to be a checkpoint of CAT-Seg"),
        ("ovrs_vitb", "catseg_tiny", "published checkpoint of OVRS, the model is one of CAT-Seg"),
        ("ovrs_vitb", "rskt_tiny", "published checkpoint of OVRS, the model is one of RSKT-Seg"),
        (
            "gsnet_vitb",
            "catseg_tiny",
            "checkpoint of RSKT-Seg or GSNet, the model is one of CAT-Seg",
        ),
        ("gsnet_vitb", "rskt_tiny", "has no RemoteCLIP.*seems to be a checkpoint of GSNet"),
        ("rskt_vitb", "gsnet_tiny", "published checkpoint of RSKT-Seg, the model is one of GSNet"),
        ("rskt_vitb", "ovrs_tiny", "published checkpoint of RSKT-Seg, the model is one of OVRS"),
    ],
)
def test_a_file_of_another_method_is_refused_by_its_name(file, model, message):
    state = {key: torch.zeros(entry["shape"][:2]) for key, entry in FILES[file].items() if "conv1" in key}
    state |= {key: torch.zeros(0) for key in FILES[file] if key not in state and "attn_mask" not in key}
    state = {key: value for key, value in state.items() if "swin_block" not in key}
    assert kind_of(WeightFile(state), "file") == "model"
    with pytest.raises(CheckpointError, match=message) as error:
        rskt_seg.load_checkpoint(rskt_seg.create_model(model), state)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "model", "message"),
    [
        ({"scaled_guides": False}, "catseg_tiny", "cost maps of 4 rotations.*scaled_guides=False"),
        ({"scaled_guides": False}, "ovrs_tiny", r"rotations=True, scaled_guides=False\)"),
        ({"rotations": False}, "ovrs_tiny", r"rotations=False, scaled_guides=True\)"),
    ],
)
def test_variants_of_ovrs_are_told_by_what_they_contain(options, model, message):
    variant = rskt_seg.create_model("ovrs_tiny", **options)
    state = published_names(variant, FILES["ovrs_vitb"])
    rskt_seg.load_checkpoint(rskt_seg.create_model("ovrs_tiny", **options), state)
    with pytest.raises(CheckpointError, match=message):
        rskt_seg.load_checkpoint(rskt_seg.create_model(model), state)


def test_the_command_names_the_flags_of_a_variant(tmp_path, capsys):
    variant = rskt_seg.create_model("ovrs_tiny", scaled_guides=False)
    torch.save(published_names(variant, FILES["ovrs_vitb"]), tmp_path / "x.pth")
    target = tmp_path / "x.safetensors"
    assert main(["convert", str(tmp_path / "x.pth"), str(target), "--model", "catseg_tiny"]) == 2
    assert capsys.readouterr().err.endswith("; give --model ovrs_vitb16 --options scaled_guides=False\n")


def test_segmenting_names_the_preset_as_a_flag(tmp_path, capsys):
    torch.save(published_names(rskt_seg.create_model("ovrs_tiny"), FILES["ovrs_vitb"]), tmp_path / "x.pth")
    Image.new("RGB", (8, 8)).save(tmp_path / "scene.png")
    words = ["--weights", tmp_path / "x.pth", "--preset", "catseg_tiny", "--input", tmp_path / "scene.png"]
    words += ["--vocabulary", "a, b", "--output", tmp_path / "out"]
    assert segment.main(list(map(str, words))) == 2
    assert capsys.readouterr().err.endswith("; give --preset ovrs_vitb16, or --config-file\n")
