"""Published FCtL checkpoints, earlier stages and ImageNet weights into an FCtL model."""

import logging

import pytest
import torch

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.errors import CheckpointError
from rskt_seg.methods import create_model, load_checkpoint, load_encoder
from rskt_seg.methods.fctl.checkpoint import FCtLLayout, merge_aliases, rules_for
from rskt_seg.models.fctl import FCtL, FCtLSpec
from tests.parity.fctl_fill import LAYOUTS

SINGLE = {"contexts": ("medium",), "self_context": False, "context_encoder": "shared"}
PLAIN = {"contexts": (), "lcf": False}
DEEPGLOBE = {"branch": "deepglobe"}


def build(seed=0, **options):
    torch.manual_seed(seed)
    model = FCtL(FCtLSpec(**{"num_classes": 3, "encoder": "vgg_tiny", **options})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def vgg(encoder, poolings):
    """What the published code saves of one encoder: each layer under `vgg.features` and its poolings."""
    state = {f"vgg.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"vgg.classifier.{i}.weight": torch.zeros(2, 2) for i in (0, 3, 6)}
    for key, value in encoder.state_dict().items():
        _, number, part = key.split(".")
        stage, first = next((s, f) for s, f in ((5, 24), (4, 17), (3, 0)) if int(number) >= f)
        for name in poolings:
            state[f"{name}{stage}.{int(number) - first}.{part}"] = value.clone()
    return state


def saved_encoder(encoder):
    return {f"module.{key}": value for key, value in vgg(encoder, ("big_pool",)).items()}


HEAD = {
    "conv6": "output.0",
    "conv7": "output.3",
    "score": "output.6",
    "skip4": "adj_pool4",
    "skip3": "adj_pool3",
    "up5": "up_output",
    "up4": "up_pool4_out",
    "up3": "up_final",
}


def published(model, poolings=("pool",)):
    """A model under the published names, written for this test alone: the inverse of the loading rules."""
    state = vgg(model.encoder, poolings)
    for key, value in model.decoder.state_dict().items():
        layer, part = key.split(".")
        state[f"{HEAD[layer]}.{part}"] = value
    if model.fusion is not None:
        own = model.fusion.state_dict()
        state |= main_fusion(own) if model.spec.branch == "main" else deepglobe_fusion(own)
    return {f"module.{key}": value for key, value in state.items()}


def main_fusion(own):
    order, state = ("medium", "large", "local"), {}
    for suffix, number, name in zip(("", "_1", "_2"), (1, 2, 3), order, strict=True):
        state[f"big_attention.gamma{suffix}"] = own[f"correlate.{name}.gamma"]
        for key, value in own.items():
            parts = key.split(".")
            if parts[:2] == ["correlate", name] and len(parts) == 4:
                state[f"big_attention.conv_{parts[2]}{suffix}.{parts[3]}"] = value
            for here, there in (("enter", "in"), ("leave", "out")):
                if parts[1:3] == [here, name]:
                    state[f"big_attention.{there}_{number}.{parts[3]}"] = value
    weight, bias = own["weigh.mix.weight"], own["weigh.mix.bias"]
    width = len(bias) // 3
    places = torch.cat([torch.arange(width) + width * i for i in (1, 2, 0)])
    state["big_attention.trans.weight"] = weight[places][:, places]
    state["big_attention.trans.bias"] = bias[places]
    return state


def deepglobe_fusion(own):
    state = {}
    for key, value in own.items():
        kind, *rest = key.split(".")
        if kind == "correlate":
            name, part = rest[0], ".".join(rest[1:])
            state[f"{name}.{part if part == 'gamma' else 'conv_' + part}"] = value
        elif rest[0] == "mix":
            state[f"trans.{rest[1]}"] = value
        else:
            number = ("local", "medium", "large").index(rest[1]) + 1
            state[f"{'in' if rest[0] == 'enter' else 'out'}_{number}.{rest[2]}"] = value
    return state


def encoders(model):
    return {name: saved_encoder(encoder) for name, encoder in model.context_encoders.items()}


def assert_same(a, b):
    assert list(a.state_dict()) == list(b.state_dict())
    for (name, value), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("options", [{}, DEEPGLOBE, PLAIN])
def test_the_published_files_of_a_model_load_into_it(options):
    trained, model = build(1, **options), build(2, **options)
    state = published(trained)
    assert FCtLLayout().is_published(set(state))
    report = load_checkpoint(model, state, encoders(trained))
    assert_same(trained, model)
    reasons = set(report.dropped.values())
    assert reasons == {
        "the classifier of ImageNet is not used",
        "another name of a layer of vgg.features, with equal values",
    }


def test_files_are_read_from_disk(tmp_path):
    trained, model = build(1), build(2)
    torch.save(published(trained), tmp_path / "all.pth")
    paths = {name: tmp_path / f"{name}.pth" for name in ("medium", "large")}
    for name, path in paths.items():
        torch.save(saved_encoder(trained.context_encoders[name]), path)
    assert str(tmp_path / "all.pth") in str(load_checkpoint(model, tmp_path / "all.pth", paths))
    assert_same(trained, model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_key_of_the_published_layouts_has_its_place(layout):
    """Full size, without memory: zeros that are one number, models without weights."""
    options = {"mode0": PLAIN, "mode1": PLAIN, "mode2": SINGLE}.get(layout.split(".")[-2], {})
    if "deepglobe" in layout and options is not PLAIN:
        options = {**options, **DEEPGLOBE}
    classes = 7 if "deepglobe" in layout else 2
    with torch.device("meta"):
        model = FCtL(FCtLSpec(classes, **options))
    state = {f"module.{k}": torch.zeros(1).expand(v["shape"]) for k, v in LAYOUTS[layout].items()}
    report = LoadReport(layout)
    merged = merge_aliases(state, report)
    result = convert(merged, rules_for(model, set(state), layout), report)
    aliases = [k for k, v in LAYOUTS[layout].items() if "alias_of" in v]
    assert set(report.dropped) >= set(aliases)
    own = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("context_encoders.")}
    if layout.endswith("MiniFCN8"):
        own = {k: shape for k, shape in own.items() if k.startswith("encoder.")}
    assert {k: v.shape for k, v in result.items()} == own


def test_names_of_one_layer_that_differ_are_refused():
    state = published(build(1))
    state["module.pool4.2.weight"] = state["module.pool4.2.weight"] + 1e-6
    model = build(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"pool4\.2\.weight and vgg\.features\.19\.weight are one tensor"
    ):
        load_checkpoint(model, state, encoders(build(1)))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "contexts", "message"),
    [
        ({}, (), r"contexts=\{name: file\} for \['medium', 'large'\]; found none"),
        ({}, ("medium",), r"found \['medium'\]"),
        (PLAIN, ("medium",), r"for none; found \['medium'\]"),
    ],
)
def test_encoders_of_contexts_that_are_missing_or_not_wanted_are_refused(options, contexts, message):
    other = encoders(build(1))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(build(2, **options), published(build(1, **options)), {n: other[n] for n in contexts})


def test_the_other_published_branch_is_refused():
    with pytest.raises(CheckpointError, match=r"of the published branch 'deepglobe', .* build it with"):
        load_checkpoint(build(2), published(build(1, **DEEPGLOBE)), encoders(build(1)))
    with pytest.raises(CheckpointError, match="of the published branch 'main'"):
        load_checkpoint(build(2, **DEEPGLOBE), published(build(1)), encoders(build(1)))


def test_another_number_of_classes_is_refused_with_both_numbers():
    with pytest.raises(
        CheckpointError, match="trained on 5 classes, this model has 3; build it with num_classes=5"
    ):
        load_checkpoint(build(2, **PLAIN), published(build(1, num_classes=5, **PLAIN)))


def test_a_model_with_parts_that_were_never_published_is_refused():
    with pytest.raises(CheckpointError, match=r"missing: fusion\.correlate\.local\.position"):
        load_checkpoint(build(2, gpe=True), published(build(1)), encoders(build(1)))


def test_the_single_context_stage_keeps_its_one_correlation():
    full = build(1)
    state = published(full, ("pool", "big_pool"))
    for context in ("medium", "large"):
        model = build(2, **{**SINGLE, "contexts": (context,)})
        report = load_checkpoint(model, state)
        trained, loaded = full.fusion.correlate["medium"], model.fusion.correlate[context]
        assert_same(trained, loaded)
        assert "big_attention.trans.weight" in report.dropped


def test_a_last_stage_is_no_single_context_stage():
    with pytest.raises(CheckpointError, match="unexpected"):
        load_checkpoint(build(2, **SINGLE), published(build(1)))


def test_stages_start_from_the_ones_before_in_own_and_in_published_names(caplog):
    single, larger = build(1, **SINGLE), build(2, **SINGLE)
    model = build(3)
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    wrapped = {f"sem_seg_head.model.{k}": v for k, v in single.state_dict().items()}
    with caplog.at_level(logging.INFO):
        FCtLLayout().start_from(
            model, wrapped, {"medium": single.state_dict(), "large": published(larger_plain(larger))}
        )
    assert_same(single.encoder, model.encoder)
    assert_same(single.decoder, model.decoder)
    assert_same(single.fusion.correlate["medium"], model.fusion.correlate["medium"])
    assert_same(single.encoder, model.context_encoders["medium"])
    assert_same(larger.encoder, model.context_encoders["large"])
    new = [k for k in fresh if k.startswith("fusion.") and not k.startswith("fusion.correlate.medium")]
    assert new and all(torch.equal(fresh[k], model.state_dict()[k]) for k in new)
    assert f"lacks {len(new)} tensors" in caplog.text and "fusion.weigh.mix.weight" in caplog.text


def test_a_stage_does_not_start_from_one_of_as_many_other_classes(tmp_path):
    state, model, path = build(1, **SINGLE).state_dict(), build(3), tmp_path / "single.pth"
    model.class_names = ("field", "house", "road")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save({"model": state, "class_names": ["field", "road", "house"]}, path)
    with pytest.raises(
        CheckpointError, match="trained on the classes field, road, house; those of this stage"
    ):
        FCtLLayout().start_from(model, str(path), encoders(build(1)))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    torch.save({"model": state, "class_names": list(model.class_names)}, path)
    FCtLLayout().start_from(model, str(path), encoders(build(1)))
    assert torch.equal(model.state_dict()["decoder.score.weight"], state["decoder.score.weight"])


def larger_plain(model):
    plain = build(9, **PLAIN)
    plain.encoder, plain.decoder = model.encoder, model.decoder
    return plain


def test_a_stage_does_not_start_from_a_file_without_its_decoder():
    state = {k: v for k, v in build(1, **PLAIN).state_dict().items() if not k.startswith("decoder.")}
    with pytest.raises(CheckpointError, match=r"missing: decoder\.conv6"):
        FCtLLayout().start_from(build(2), state, encoders(build(1)))


def test_torchvisions_vgg16_fills_the_encoder_and_two_layers_of_the_decoder():
    trained, model = build(1, **PLAIN), build(2)
    state = {**trained.encoder.state_dict()}
    for number, layer in ((0, trained.decoder.conv6), (3, trained.decoder.conv7)):
        state[f"classifier.{number}.weight"] = layer.weight.flatten(1)
        state[f"classifier.{number}.bias"] = layer.bias
    state |= {"classifier.6.weight": torch.zeros(1000, 64), "classifier.6.bias": torch.zeros(1000)}
    report = load_encoder(model, "local", state)
    assert list(report.dropped) == ["classifier.6.weight", "classifier.6.bias"]
    assert_same(trained.encoder, model.encoder)
    assert_same(trained.decoder.conv6, model.decoder.conv6)
    assert_same(trained.decoder.conv7, model.decoder.conv7)
    load_encoder(model, "large", state)
    assert_same(trained.encoder, model.context_encoders["large"])
    with pytest.raises(CheckpointError, match="no encoder 'global'; they have local, medium, large"):
        load_encoder(model, "global", state)
    with pytest.raises(CheckpointError, match=r"missing: conv6"):
        load_encoder(model, "local", trained.encoder.state_dict())


def authors_names(state):
    """MiT in the layout of SegFormer's authors, keys and values of an attention in one matrix."""
    out = {}
    for key, value in state.items():
        _, stage, *rest = key.split(".")
        number, name = int(stage) + 1, ".".join(rest)
        if name.startswith("proj"):
            kind = "norm" if name.startswith("proj_norm") else "proj"
            out[f"patch_embed{number}.{kind}.{rest[-1]}"] = value
        elif rest[0] == "norm":
            out[f"norm{number}.{rest[-1]}"] = value
        elif ".attn.k." in key:
            both = torch.cat([value, state[key.replace(".k.", ".v.")]])
            out[f"block{number}.{rest[1]}.attn.kv.{rest[-1]}"] = both
        elif ".attn.v." not in key:
            inner = ".".join(rest[2:]).replace("reduce", "sr").replace("dwconv", "dwconv.dwconv")
            out[f"block{number}.{rest[1]}.{inner}"] = value
    return {**out, "head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)}


def hub_names(state):
    """MiT in the older layout of the model hub."""
    parts = {
        "attn.q": "attention.self.query",
        "attn.k": "attention.self.key",
        "attn.v": "attention.self.value",
        "attn.reduce": "attention.self.sr",
        "attn.norm": "attention.self.layer_norm",
        "attn.proj": "attention.output.dense",
        "norm1": "layer_norm_1",
        "norm2": "layer_norm_2",
        "mlp.fc1": "mlp.dense1",
        "mlp.fc2": "mlp.dense2",
        "mlp.dwconv": "mlp.dwconv.dwconv",
    }
    out = {}
    for key, value in state.items():
        _, stage, *rest, part = key.split(".")
        if rest == ["proj"]:
            name = f"patch_embeddings.{stage}.proj"
        elif rest == ["proj_norm"]:
            name = f"patch_embeddings.{stage}.layer_norm"
        elif rest == ["norm"]:
            name = f"layer_norm.{stage}"
        else:
            name = f"block.{stage}.{rest[1]}.{parts['.'.join(rest[2:])]}"
        out[f"segformer.encoder.{name}.{part}"] = value
    return {**out, "decode_head.classifier.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize("names", [authors_names, hub_names])
@pytest.mark.parametrize("role", ["local", "medium"])
def test_mit_weights_load_in_both_known_layouts(names, role):
    trained, model = build(1, encoder="mit_tiny"), build(2, encoder="mit_tiny")
    load_encoder(model, role, names(trained.encoder.state_dict()))
    loaded = model.encoder if role == "local" else model.context_encoders[role]
    assert_same(trained.encoder, loaded)


def test_weights_of_another_encoder_are_refused():
    with pytest.raises(CheckpointError, match="another architecture"):
        load_encoder(build(2), "local", hub_names(build(1, encoder="mit_tiny").encoder.state_dict()))


def test_the_common_entries_know_published_files_own_names_and_encoders(tmp_path):
    trained, model = build(1), build(2)
    torch.save(published(trained), tmp_path / "all.pth")
    assert str(tmp_path) in str(load_checkpoint(model, tmp_path / "all.pth", encoders(trained)))
    assert_same(trained, model)
    model = build(3)
    load_checkpoint(model, {f"sem_seg_head.model.{k}": v for k, v in trained.state_dict().items()})
    assert_same(trained, model)
    with pytest.raises(CheckpointError, match="would not be read; leave them out"):
        load_checkpoint(model, trained.state_dict(), encoders(trained))
    with pytest.raises(CheckpointError, match="trained on 3 classes, this model has 5"):
        load_checkpoint(build(2, num_classes=5), trained.state_dict())
    with pytest.raises(CheckpointError, match="published checkpoint of FCtL, the model is one of BiCoR"):
        load_checkpoint(create_model("bicor_tiny", 3), published(trained))
    other = build(4, encoder="mit_tiny")
    load_encoder(model := build(5, encoder="mit_tiny"), "large", hub_names(other.encoder.state_dict()))
    assert_same(other.encoder, model.context_encoders["large"])


def test_a_checkpoint_that_states_other_options_is_refused_unless_they_serve_training_only():
    trained = build(1)
    saved = {"model": trained.state_dict(), "options": {"context_encoder": "trained", "focal_gamma": 6.0}}
    load_checkpoint(build(2), saved)
    saved["options"]["branch"] = "deepglobe"
    with pytest.raises(CheckpointError, match="branch='deepglobe'"):
        load_checkpoint(build(2), saved)
