"""transformers' CLIPModel: its weights load and give its own embeddings."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import rskt_seg
from rskt_seg.encoders.clip import CLIP, VisionTrunk
from rskt_seg.encoders.presets import ClipPreset, TextPreset, VisionPreset
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.export import export_encoder
from rskt_seg.models.rskt import RSKT

PRESET = ClipPreset(32, VisionPreset(32, 8, 128, 3, 2), TextPreset(64, 2, 1))


@pytest.fixture(scope="module")
def reference():
    import transformers

    torch.manual_seed(4)
    sizes = {"hidden_act": "quick_gelu", "projection_dim": 32}
    vision = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}
    text = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 256}
    config = transformers.CLIPConfig(
        text_config={**sizes, **text, "eos_token_id": 49407},
        vision_config={**sizes, **vision, "intermediate_size": 512, "patch_size": 8},
        projection_dim=32,
    )
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.05 * torch.randn_like(parameter)).half().float())
    return model


class Holder(RSKT):
    """An RSKT with nothing but one encoder."""

    def __init__(self):
        nn.Module.__init__(self)
        self.spec = SimpleNamespace(remote_clip=True)

    def train(self, mode=True):
        return nn.Module.train(self, mode)


def holder(part="clip"):
    model = Holder()
    setattr(model, part, CLIP(PRESET) if part == "clip" else VisionTrunk(PRESET.vision, 2))
    return model.eval()


def test_image_and_text_embeddings_are_those_of_transformers(reference, tmp_path):
    reference.save_pretrained(tmp_path)
    model = holder()
    rskt_seg.load_encoder(model, "clip", tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 32, 32)
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :4] = torch.tensor([49406, 320, 1125, 49407])
    tokens[1, :3] = torch.tensor([49406, 2009, 49407])
    with torch.no_grad():
        out = reference(input_ids=tokens, pixel_values=images)
        image, text = model.clip.visual.pool(images), model.clip.encode_text(tokens)
    for ours, theirs in ((image, out.image_embeds), (text, out.text_embeds)):
        torch.testing.assert_close(nn.functional.normalize(ours, dim=-1), theirs, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.clip.logit_scale, reference.logit_scale)


def test_the_trunk_of_remote_clip_takes_them_too(reference):
    model = holder("remote_clip")
    rskt_seg.load_encoder(model, "remote_clip", reference.state_dict())
    weight = reference.state_dict()["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    assert torch.equal(model.remote_clip.transformer.resblocks[1].attn.k_proj_weight, weight)


def test_ids_of_positions_are_dropped_with_a_reason(reference):
    ids = {f"{tower}_model.embeddings.position_ids": torch.arange(77)[None] for tower in ("text", "vision")}
    report = rskt_seg.load_encoder(holder(), "clip", {**reference.state_dict(), **ids})
    assert report.dropped.keys() == ids.keys()


def test_what_is_missing_or_foreign_is_named(reference):
    state = reference.state_dict()
    key = "text_model.encoder.layers.1.self_attn.k_proj.bias"
    with pytest.raises(CheckpointError, match=r"missing: transformer\.resblocks\.1\.attn\.in_proj_bias"):
        rskt_seg.load_encoder(holder(), "clip", {k: v for k, v in state.items() if k != key})
    with pytest.raises(CheckpointError, match=r"1 unexpected: vision_model\.head\.weight"):
        rskt_seg.load_encoder(holder(), "clip", {**state, "vision_model.head.weight": torch.zeros(1)})


def test_an_exported_file_loads_to_the_same_values(reference, tmp_path):
    reference.save_pretrained(tmp_path)
    export_encoder(tmp_path / "model.safetensors", tmp_path / "clip.safetensors")
    direct, exported = holder(), holder()
    rskt_seg.load_encoder(direct, "clip", tmp_path / "model.safetensors")
    rskt_seg.load_encoder(exported, "clip", tmp_path / "clip.safetensors")
    for (name, a), b in zip(direct.state_dict().items(), exported.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
