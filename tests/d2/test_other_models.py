"""A checkpoint of another model: the message names the configuration or the keys that fit it."""

import pickle
from dataclasses import asdict

import pytest
import torch

import rskt_seg
from rskt_seg.commands.eval import main
from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.other_models import configuration_advice
from rskt_seg.d2.specs import untrained_model
from rskt_seg.errors import CheckpointError, OtherModelError


def config(name, *opts):
    return load_config(f"{name}.yaml", [*opts, "MODEL.DEVICE", "cpu"])


def save(path, name, *opts):
    """Write a checkpoint as a training with a configuration would; return its path."""
    model = untrained_model(config(name, *opts))
    torch.save({"model": model.state_dict(), "options": asdict(model.spec)}, path)
    return str(path)


def refusal(cfg):
    with pytest.raises(CheckpointError) as caught:
        build_model(cfg)
    message = str(caught.value)
    assert (
        "\n" not in message
        and "create_model" not in message
        and not isinstance(caught.value, OtherModelError)
    )
    return message


RSKT, CATSEG = "ovrsis/tiny_dlrsd", "peers/catseg_tiny_dlrsd"


def test_a_checkpoint_of_another_method_names_the_configurations_of_its_model(tmp_path):
    weights = save(tmp_path / "x.pth", CATSEG)
    assert refusal(config(RSKT, "MODEL.WEIGHTS", weights)) == (
        f"{weights} is a checkpoint of CAT-Seg, the model is one of RSKT-Seg; use the configuration "
        f"{CATSEG}.yaml"
    )


def test_configurations_of_the_test_sets_at_hand_come_first():
    cfg = load_config("ovrsis/bench_vitb_dlrsd.yaml")
    published = OtherModelError("x.pth is another", "call it", ["catseg_vitb16", "ovrs_vitb16"])
    with pytest.raises(CheckpointError) as caught, configuration_advice(cfg):
        raise published
    assert str(caught.value) == (
        "x.pth is another; use the configuration peers/bench_catseg_vitb_dlrsd.yaml or "
        "peers/bench_catseg_vitl_dlrsd.yaml, or use the configuration peers/bench_ovrs_vitb_dlrsd.yaml or "
        "peers/bench_ovrs_vitl_dlrsd.yaml"
    )


def test_options_that_no_configuration_has_follow_as_keys(tmp_path):
    deeper = ("MODEL.CATSEG.NUM_LAYERS", "3")
    weights = save(tmp_path / "x.pth", CATSEG, *deeper)
    message = refusal(config(RSKT, "MODEL.WEIGHTS", weights))
    assert message.endswith(f"; use the configuration {CATSEG}.yaml with MODEL.CATSEG.NUM_LAYERS 3")
    build_model(config(CATSEG, *deeper, "MODEL.WEIGHTS", weights))


def test_a_checkpoint_of_the_same_method_names_the_keys_to_set(tmp_path):
    other = ("MODEL.RSKT.DINO", "False")
    weights = save(tmp_path / "x.pth", RSKT, *other)
    message = refusal(config(RSKT, "MODEL.WEIGHTS", weights))
    assert "dino=False (this model: True)" in message and message.endswith("; set MODEL.RSKT.DINO False")
    build_model(config(RSKT, *other, "MODEL.WEIGHTS", weights))


def test_the_options_of_a_published_file_are_keys_of_the_method_that_has_them():
    error = OtherModelError("x.pth", "call", ["gsnet_vitb16", "rskt_vitb16"], {"remote_clip": False})
    with pytest.raises(CheckpointError) as caught, configuration_advice(config("ovrsis/bench_tiny_dlrsd")):
        raise error
    assert str(caught.value) == (
        "x.pth; use the configuration peers/bench_gsnet_tiny_dlrsd.yaml, or set MODEL.RSKT.REMOTE_CLIP False"
    )


def test_a_method_without_a_configuration_is_named_by_its_head(tmp_path, monkeypatch):
    weights = save(tmp_path / "x.pth", CATSEG)
    monkeypatch.setattr("rskt_seg.d2.other_models.config_names", lambda: ["ovrsis/vitb_dlrsd.yaml"])
    message = refusal(config(RSKT, "MODEL.WEIGHTS", weights))
    assert message.endswith("; use a configuration with MODEL.SEM_SEG_HEAD.NAME CATSegHead")


def test_the_command_says_it_in_one_line(tmp_path, data_root, capsys):
    weights = save(tmp_path / "x.pth", "peers/gsnet_tiny_dlrsd")
    opts = ["MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out")]
    assert main(["--config-file", f"{RSKT}.yaml", *opts]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "is a checkpoint of GSNet, the model is one of RSKT-Seg; use" in last
    assert last.endswith("use the configuration peers/gsnet_tiny_dlrsd.yaml")


def test_in_python_the_message_names_the_preset():
    other = rskt_seg.create_model("catseg_tiny")
    with pytest.raises(OtherModelError) as caught:
        rskt_seg.load_checkpoint(
            rskt_seg.create_model("rskt_tiny"), {"model": other.state_dict(), "options": asdict(other.spec)}
        )
    assert str(caught.value) == (
        "state dict is a checkpoint of CAT-Seg, the model is one of RSKT-Seg; rskt_seg.load builds its "
        "model, as does create_model('catseg_tiny', ...)"
    )
    again = pickle.loads(pickle.dumps(caught.value))  # processes of a run send errors to the first one
    assert str(again) == str(caught.value) and again.options == caught.value.options
