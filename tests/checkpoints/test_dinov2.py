"""DINOv2 files load whoever wrote them, or say in one line why not."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import rskt_seg
from rskt_seg.encoders.dinov2 import DinoV2
from rskt_seg.encoders.presets import DINOV2_TINY, DinoV2Preset
from rskt_seg.errors import CheckpointError, WeightsNotFoundError
from rskt_seg.methods.export import export_encoder
from rskt_seg.models.wsss import PriorWSSS


class Holder(PriorWSSS):
    """A weakly supervised model with nothing but DINOv2."""

    def __init__(self):
        nn.Module.__init__(self)
        self.spec = None


def holder(preset=DINOV2_TINY) -> nn.Module:
    model = Holder()
    model.dinov2 = DinoV2(preset)
    return model


@pytest.fixture
def state():
    torch.manual_seed(3)
    return {key: torch.randn_like(value) for key, value in DinoV2(DINOV2_TINY).state_dict().items()}


def assert_holds(model, state):
    own = model.dinov2.state_dict()
    assert own.keys() == state.keys()
    for key, value in own.items():
        assert torch.equal(value, state[key]), key


def chunked(state):
    """Names of training code that groups the blocks two by two: 0.0, 0.1, 1.2."""
    out = {}
    for key, value in state.items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            key = f"blocks.{int(number) // 2}.{number}.{rest}"
        out[key] = value
    return out


def test_metas_file_loads_without_its_mask_token_and_says_so(state, tmp_path):
    torch.save({**state, "mask_token": torch.zeros(1, 64)}, tmp_path / "dinov2_vitb14_pretrain.pth")
    model = holder()
    report = rskt_seg.load_encoder(model, "dinov2", tmp_path / "dinov2_vitb14_pretrain.pth")
    assert_holds(model, state)
    assert list(report.dropped) == ["mask_token"] and "pretraining" in report.dropped["mask_token"]
    assert sorted(report.loaded) == sorted(state) and not report.converted


def test_timms_file_loads_as_it_is(tmp_path):
    theirs = VisionTransformer(
        img_size=91, patch_size=7, embed_dim=64, depth=3, num_heads=1, init_values=1e-5, num_classes=0
    )
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    model = holder()
    report = rskt_seg.load_encoder(model, "dinov2", tmp_path / "model.safetensors")
    assert_holds(model, theirs.state_dict())
    assert not report.dropped and not report.converted


def test_blocks_in_groups_are_found(state):
    model = holder()
    report = rskt_seg.load_encoder(model, "dinov2", chunked(state))
    assert_holds(model, state)
    assert report.converted["blocks.1.2.ls1.gamma"] == ("blocks.2.ls1.gamma",)


def test_a_teacher_of_the_training_code_loads_without_its_heads(state, tmp_path):
    teacher = {f"backbone.{key}": value for key, value in chunked(state).items()}
    teacher |= {
        "backbone.mask_token": torch.zeros(1, 64),
        "dino_head.mlp.0.weight": torch.zeros(2),
        "ibot_head.last_layer.weight": torch.zeros(2),
    }
    torch.save({"teacher": teacher}, tmp_path / "teacher_checkpoint.pth")
    model = holder()
    report = rskt_seg.load_encoder(model, "dinov2", tmp_path / "teacher_checkpoint.pth")
    assert_holds(model, state)
    assert report.dropped.keys() == {"mask_token", "dino_head.mlp.0.weight", "ibot_head.last_layer.weight"}


def test_an_exported_file_loads_to_the_same_values(state, tmp_path):
    teacher = {f"backbone.{key}": value for key, value in chunked(state).items()}
    torch.save({"teacher": {**teacher, "mask_token": torch.zeros(1, 64)}}, tmp_path / "teacher.pth")
    export_encoder(tmp_path / "teacher.pth", tmp_path / "dinov2.safetensors")
    model = holder()
    rskt_seg.load_encoder(model, "dinov2", tmp_path / "dinov2.safetensors")
    assert_holds(model, state)


def refused(state, match, preset=DINOV2_TINY):
    model = holder(preset)
    before = {key: value.clone() for key, value in model.dinov2.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as caught:
        rskt_seg.load_encoder(model, "dinov2", state)
    assert_holds(model, before)
    return str(caught.value)


def test_register_variants_are_refused_by_name(state):
    registers = (
        r"^state dict is a DINOv2 with register tokens, this encoder has none; take .* without 'reg4'$"
    )
    refused({**state, "mask_token": torch.zeros(1, 64), "register_tokens": torch.zeros(1, 4, 64)}, registers)
    with torch.device("meta"):
        theirs = timm.create_model("vit_small_patch14_reg4_dinov2", pretrained=False, num_classes=0)
    refused(theirs.state_dict(), registers, DinoV2Preset(37, 14, 384, 12, 6))


def test_the_layout_of_transformers_is_refused_by_name(tmp_path):
    import transformers
    from safetensors.torch import load_file

    config = transformers.Dinov2Config(hidden_size=64, num_hidden_layers=1, num_attention_heads=1)
    model = transformers.Dinov2Model(config)
    model.save_pretrained(tmp_path)
    message = (
        r"^state dict has the key names of Hugging Face's transformers \(Dinov2Model\), which are not read;"
    )
    refused(load_file(tmp_path / "model.safetensors"), message)
    refused(model.state_dict(), message)
    refused({f"dinov2.{key}": value for key, value in model.state_dict().items()}, message)
    with_registers = {**model.state_dict(), "embeddings.register_tokens": torch.zeros(1, 4, 64)}
    refused(with_registers, message)


def test_other_sizes_other_tables_and_incomplete_files_change_nothing_and_name_the_keys(state):
    refused(state, r"of another shape: .*pos_embed \(1, 170, 64\)", DinoV2Preset(37, 14, 384, 12, 6))
    refused({**state, "pos_embed": torch.zeros(1, 485, 64)}, r"pos_embed \(1, 485, 64\), .* \(1, 170, 64\)")
    refused({key: t for key, t in state.items() if "ls2" not in key}, r"3 missing: blocks\.0\.ls2\.gamma")
    refused({**state, "blocks.0.0.ls1.gamma": torch.zeros(64)}, r"blocks\.0\.ls1\.gamma is given twice")
    refused({**state, "blocks.0.mlp.w12.weight": torch.zeros(1)}, r"unexpected: blocks\.0\.mlp\.w12\.weight")


def test_a_missing_file_and_a_model_without_dinov2_say_so(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="does not exist"):
        rskt_seg.load_encoder(holder(), "dinov2", tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match="RSKT-Seg models have no encoder 'dinov2'"):
        rskt_seg.load_encoder(rskt_seg.create_model("rskt_tiny"), "dinov2", tmp_path / "missing.pth")
