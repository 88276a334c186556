"""Published BiCoR-Seg checkpoints and ConvNeXt weights load strictly under their own names."""

import json
import re
from dataclasses import asdict

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

import rskt_seg
from rskt_seg.encoders.convnext import CONVNEXT_PRESETS, ConvNeXt
from rskt_seg.errors import CheckpointError
from rskt_seg.models.bicor import BiCoR, BiCoRSpec

PUBLISHED_NAMES = (
    (r"^convnext\.features\.", "encoder.0."),
    (r"^aggregation\.project\.(\d)\.", r"proj_layers.\1.proj."),
    (r"^aggregation\.mix\.", "feature_aggregator."),
    (r"^decoder\.class_embeddings$", "decoder.class_dict.class_embed.weight"),
    (r"^decoder\.layers\.", "decoder.bicor_stack.layers."),
    (r"\.query\.", ".dict_to_feat."),
    (r"\.value\.", ".feat_to_dict."),
    (r"\.gate\.", ".gate_mlp."),
    (r"\.candidate\.", ".cand_mlp."),
    (r"\.(gamma|beta)\.", r".\1_proj."),
    (r"\.pixel_norm\.", ".feat_ln."),
    (r"\.class_norm\.", ".dict_ln."),
    (r"^decoder\.head\.norm\.", "decoder.upsampler.1."),
    (r"^decoder\.head\.classifier\.", "decoder.classifier_proj."),
    (r"^decoder\.head\.auxiliary\.", "decoder.static_classifier."),
)


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return BiCoR(BiCoRSpec(**{"num_classes": 5, "encoder": "tiny", "width": 32, **options})).eval()


def published(model):
    """The state dict of a model as the published code would save it."""
    state = {}
    for key, value in model.state_dict().items():
        for pattern, name in PUBLISHED_NAMES:
            key = re.sub(pattern, name, key)
        convolution = re.search("feat_to_dict|feature_aggregator", key)
        state[f"net.{key}"] = value[:, :, None, None] if convolution else value
    return state


def assert_same_weights(a, b):
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert torch.equal(x, y), name


def test_a_lightning_file_loads_strictly(tmp_path):
    source, target = tiny(1), tiny(2)
    content = {
        "epoch": 29,
        "global_step": 15720,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": published(source),
        "callbacks": {"ModelCheckpoint{'monitor': 'val_mIoU'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 8e-5}]}],
        "lr_schedulers": [{"T_max": 30, "eta_min": 1e-6}],
    }
    torch.save(content, tmp_path / "bicor.ckpt")
    report = rskt_seg.load_checkpoint(target, tmp_path / "bicor.ckpt")
    assert_same_weights(source, target)
    assert len(report.converted) == len(source.state_dict()) and not report.dropped


def test_names_without_lightnings_prefix_load_as_well():
    source, target = tiny(1), tiny(2)
    rskt_seg.load_checkpoint(target, {k.removeprefix("net."): v for k, v in published(source).items()})
    assert_same_weights(source, target)


@pytest.mark.parametrize("prefix", ["", "sem_seg_head.model.", "module.sem_seg_head.model."])
def test_our_own_checkpoint_round_trips(tmp_path, prefix):
    source, target = tiny(1, gate="class"), tiny(2, gate="class")
    save_file({prefix + k: v for k, v in source.state_dict().items()}, tmp_path / "own.safetensors")
    rskt_seg.load_checkpoint(target, tmp_path / "own.safetensors")
    assert_same_weights(source, target)


def test_a_model_without_the_auxiliary_head_drops_it_with_a_reason():
    target = tiny(2, aux_weight=0.0)
    report = rskt_seg.load_checkpoint(target, published(tiny(1)))
    assert list(report.dropped) == ["net.decoder.static_classifier.weight"]
    assert "training only" in str(report)


@pytest.mark.parametrize("names", [published, lambda model: model.state_dict()])
def test_another_number_of_classes_is_named_and_changes_nothing(names):
    target = tiny(2)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="trained on 7 classes, this model has 5; build it with num_cl"):
        rskt_seg.load_checkpoint(target, names(tiny(1, num_classes=7)))
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_missing_surplus_and_foreign_tensors_are_refused():
    state = published(tiny(1))
    state.pop("net.decoder.bicor_stack.layers.1.feat_ln.bias")
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.layers\.1\.pixel_norm\.bias"):
        rskt_seg.load_checkpoint(tiny(), state)
    with pytest.raises(CheckpointError, match=r"unexpected: decoder\.layers\.2"):
        rskt_seg.load_checkpoint(tiny(), published(tiny(1, num_layers=3)))
    with pytest.raises(CheckpointError, match=r"1 unexpected: loss\.weight"):
        rskt_seg.load_checkpoint(tiny(), {**published(tiny(1)), "loss.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.0\.gate\.weight"):
        rskt_seg.load_checkpoint(tiny(gate="class"), published(tiny(1)))
    with pytest.raises(CheckpointError, match="published checkpoint of BiCoR-Seg, the model is one of RSKT"):
        rskt_seg.load_checkpoint(rskt_seg.create_model("rskt_tiny"), published(tiny(1)))


def test_stated_options_must_agree_unless_they_concern_training_alone(tmp_path):
    source = tiny(1)

    def save(**changed):
        options = {**asdict(source.spec), **changed}
        path = tmp_path / "own.safetensors"
        save_file(source.state_dict(), path, metadata={"options": json.dumps(options)})
        return path

    rskt_seg.load_checkpoint(tiny(2), save())
    rskt_seg.load_checkpoint(tiny(2), save(heat_weight=0.5, stochastic_depth=0.1, padding="aligned"))
    with pytest.raises(CheckpointError, match=r"topk_ratio=1\.0 \(this model: 0\.02\)"):
        rskt_seg.load_checkpoint(tiny(2), save(topk_ratio=1.0))


def test_torchvisions_convnext_loads_without_its_classifier(tmp_path):
    torch.manual_seed(1)
    preset = CONVNEXT_PRESETS["tiny"]
    blocks = [
        torchvision.models.convnext.CNBlockConfig(*sizes)
        for sizes in zip(preset.widths, (*preset.widths[1:], None), preset.depths, strict=True)
    ]
    whole = torchvision.models.ConvNeXt(blocks)
    torch.save(whole.state_dict(), tmp_path / "convnext.pth")
    model = tiny()
    report = rskt_seg.load_encoder(model, "convnext", tmp_path / "convnext.pth")
    assert_same_weights(model.convnext.features, whole.features)
    assert len(report.dropped) == 4 and all(key.startswith("classifier.") for key in report.dropped)


def test_timms_convnext_loads_under_its_names_and_computes_the_same():
    torch.manual_seed(1)
    preset = CONVNEXT_PRESETS["tiny"]
    source = timm.models.convnext.ConvNeXt(depths=preset.depths, dims=preset.widths).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    model = tiny()
    report = rskt_seg.load_encoder(model, "convnext", source.state_dict())
    assert len(report.converted) == len(model.convnext.state_dict()) and len(report.dropped) == 4
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 64)
        for stage, expected in enumerate(source.forward_intermediates(images, intermediates_only=True)):
            actual = model.convnext(images).taps[stage]
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_of_another_size_or_a_model_without_one_is_refused():
    with torch.device("meta"):
        large = ConvNeXt(CONVNEXT_PRESETS["convnextb"], 0.0).state_dict()
    with pytest.raises(CheckpointError, match="another architecture"):
        rskt_seg.load_encoder(tiny(), "convnext", large)
    with pytest.raises(CheckpointError, match="no encoder 'convnext'; they have clip, remote_clip"):
        rskt_seg.load_encoder(rskt_seg.create_model("rskt_tiny"), "convnext", large)
