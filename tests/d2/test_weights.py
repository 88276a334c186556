"""Weights that a run starts from; random encoders must be asked for."""

import pytest
import torch

from rskt_seg.d2 import build_model, load_config
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.weights import check_trained, check_weights, encoder_sources
from rskt_seg.errors import CheckpointError, WeightsNotFoundError
from rskt_seg.models.rskt import RSKT
from tests.d2.conftest import CONFIGS, tiny_config

FULL = ["vitb_dlrsd", "vitb_isaid", "vitl_dlrsd", "vitl_isaid"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory without any weight file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FULL)
def test_a_full_configuration_without_its_encoder_files_is_refused_with_the_way_to_get_them(elsewhere, name):
    command = f"rskt-seg weights fetch clip-{'vitl14-336' if 'vitl' in name else 'vitb16'}"
    with pytest.raises(
        WeightsNotFoundError, match=rf"MODEL\.ENCODERS\.CLIP: the file .*Run `{command}`, or get CLIP: OpenAI"
    ):
        check_weights(load_config(str(CONFIGS / f"{name}.yaml")))


def test_a_file_that_the_manifest_does_not_know_is_refused_without_a_command(elsewhere):
    with pytest.raises(WeightsNotFoundError, match=r"the file own/dino\.pth does not exist\. Get RS-DINO"):
        check_weights(tiny_config("MODEL.ENCODERS.DINO", "own/dino.pth"))


@pytest.mark.parametrize(
    ("role", "word"), [("CLIP", "OpenAI"), ("REMOTE_CLIP", "RemoteCLIP"), ("DINO", "RSIB")]
)
def test_an_encoder_without_a_source_is_refused(role, word):
    with pytest.raises(WeightsNotFoundError, match=f"MODEL.ENCODERS.{role} is empty.*{word}"):
        check_weights(tiny_config(f"MODEL.ENCODERS.{role}", ""))


def test_only_the_encoders_that_the_model_has_are_asked_for(elsewhere):
    cfg = tiny_config("MODEL.RSKT.DINO", "False", "MODEL.ENCODERS.DINO", "")
    check_weights(cfg)
    assert encoder_sources(cfg).keys() == {"clip", "remote_clip"}


def test_a_whole_checkpoint_stands_for_the_encoder_files(elsewhere):
    (elsewhere / "whole.pth").touch()
    check_weights(load_config(str(CONFIGS / "vitb_dlrsd.yaml"), ["MODEL.WEIGHTS", "whole.pth"]))
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.WEIGHTS 'gone\.pth' does not exist"):
        check_weights(load_config(str(CONFIGS / "vitb_dlrsd.yaml"), ["MODEL.WEIGHTS", "gone.pth"]))


def test_names_of_the_hub_and_of_the_package_need_no_file(elsewhere):
    for source in ("tiny", "ViT-B-16/openai", "random"):
        check_weights(tiny_config("MODEL.ENCODERS.CLIP", source))
    for source in ("tiny", "ViT-B-16/openai", "RSIB.pth"):
        with pytest.raises(WeightsNotFoundError):
            check_weights(tiny_config("MODEL.ENCODERS.DINO", source))


def test_evaluation_needs_a_trained_checkpoint():
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.WEIGHTS is empty"):
        check_trained(tiny_config())


def test_a_built_model_has_the_weights_of_the_checkpoint_and_is_in_evaluation_mode(tmp_path):
    model = RSKT(model_spec(tiny_config()))
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    built = build_model(tiny_config("MODEL.WEIGHTS", str(tmp_path / "model.pth")))
    assert not built.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(built.state_dict()[name], tensor), name


def test_a_built_model_has_the_encoder_of_its_file(tmp_path):
    model = RSKT(model_spec(tiny_config()))
    torch.save(model.dino.state_dict(), tmp_path / "dino.pth")
    built = build_model(tiny_config("MODEL.ENCODERS.DINO", str(tmp_path / "dino.pth")))
    assert torch.equal(built.dino.pos_embed, model.dino.pos_embed)
    assert not torch.equal(built.clip.visual.proj, model.clip.visual.proj)


@pytest.mark.parametrize("damage", ["partial", "another model", "pickle"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage):
    path = tmp_path / ("model.pkl" if damage == "pickle" else "model.pth")
    other = ("MODEL.RSKT.NUM_LAYERS", "2") if damage == "another model" else ()
    state = RSKT(model_spec(tiny_config(*other))).state_dict()
    if damage == "partial":
        state.popitem()
    torch.save({"model": state}, path)
    with pytest.raises(CheckpointError, match=r"model\.p"):
        build_model(tiny_config("MODEL.WEIGHTS", str(path)))
