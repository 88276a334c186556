"""Every option of FCtL bites, every form of it learns, and costs are the published ones."""

from dataclasses import asdict, fields

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rskt_seg.errors import ConfigError, LabelError
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.fctl.enhancement import split_evenly
from tests.models.fctl_draw import FULL, SIDE, WHOLE, build, close, images, places, run, surroundings

TRAINING = [
    {},
    FULL,
    {**WHOLE, "ale": "e", "mcf": "squeeze"},
    {"mcf": "weighted", "ale": "b", "ale_context": "large"},
    {"mcf": "average", "ale": "concat", "context_encoder": "trained"},
    {"contexts": ("medium",), "self_context": False, "context_encoder": "shared"},
    {"branch": "deepglobe"},
    {"lcf": False, "ale": "c"},
    {"contexts": (), "lcf": False, "learn_upsampling": True},
    {"encoder": "mit_tiny", **FULL},
    {"encoder": "mit_tiny", "fcn_decoder": True},
]
# Adding a constant to a row of a softmax changes nothing, so these gradients are rounding alone.
SILENT = {"main": ("key.bias",), "deepglobe": ("key.bias", "query.bias")}


@pytest.mark.parametrize("options", TRAINING, ids=str)
def test_a_finite_loss_reaches_every_trainable_parameter_and_no_frozen_one(options):
    model = build(**options).train()
    target = torch.randint(0, 3, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    target[:, :9] = 255
    output = model(images(1, 2), surroundings(model, 10, 2), places(model, 2))
    loss = model.losses(output, target)["loss_sem_seg"]
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.requires_grad and not name.endswith(SILENT[model.spec.branch]):
            assert bool(parameter.grad.any()), name
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert all(n.startswith(("context_encoders.", "decoder.up")) for n in frozen)


CHANGES = {
    "num_classes": (4, {}),
    "encoder": ("mit_tiny", {}),
    "contexts": (("medium",), {}),
    "factors": ((1.5, 4.0), {"ale": "d"}),
    "context_encoder": ("trained", {}),
    "lcf": (False, {"ale": "d"}),
    "self_context": (False, {}),
    "branch": ("deepglobe", {"factors": (2, 3)}),
    "qk_scale": (0.5, {}),
    "gpe": (True, {}),
    "geometry": ("image", {"gpe": True}),
    "mcf": ("squeeze", {}),
    "ale": ("c", {}),
    "ale_context": ("large", {"ale": "a"}),
    "ale_residual": ("delta", {"ale": "a"}),
    "ale_windows": ((3, 5), {"ale": "a"}),
    "ale_activation": ("tanh", {"ale": "a"}),
    "fcn_decoder": (True, {"encoder": "mit_tiny"}),
    "learn_upsampling": (True, {}),
    "focal_gamma": (2.0, {}),
    "view": ("whole", {"contexts": (), "lcf": False, "patch_side": 508}),
    "patch_side": (SIDE + 1, {}),
    "input_side": (SIDE + 1, {}),
}


def observe(model):
    """Everything an option can change: parameters, what trains, logits, loss, what the image walk reads."""
    shapes = {name: (tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()}
    output = run(model, images(3), surroundings(model))
    target = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    loss = float(model.losses(output, target)["loss_sem_seg"])
    walk = (model.patch_side, model.working_side, model.sees_whole, model.context_factors)
    return shapes, output.logits, loss, walk


def test_the_list_of_options_is_complete():
    assert list(CHANGES) == [field.name for field in fields(FCtLSpec)]


@pytest.mark.parametrize("option", CHANGES)
def test_every_option_changes_something_that_matters(option):
    value, base = CHANGES[option]
    before, after = observe(build(**base)), observe(build(**base, **{option: value}))
    same_logits = before[1].shape == after[1].shape and torch.allclose(before[1], after[1], atol=1e-5)
    if option in ("view", "patch_side", "input_side"):
        assert before[3] != after[3] and same_logits
    elif option == "focal_gamma":
        assert same_logits and abs(before[2] - after[2]) > 1e-3
    else:
        assert before[0] != after[0] or not same_logits


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        full, plain = FCtL(FCtLSpec(2)), FCtL(FCtLSpec(2, contexts=(), lcf=False))
        enhanced = FCtL(FCtLSpec(2, ale="d", gpe=True))
        squeeze = FCtL(FCtLSpec(2, mcf="squeeze"))
    assert parameters(full.encoder) == 14_714_688
    head = sum(parameters(getattr(full.decoder, name)) for name in ("conv6", "conv7", "score"))
    skips = sum(parameters(getattr(full.decoder, name)) for name in ("skip3", "skip4"))
    upsampling = sum(parameters(getattr(full.decoder, name)) for name in ("up3", "up4", "up5"))
    assert (head, skips, upsampling) == (119_554_050, 1_540, 1_152)
    assert parameters(full.fusion) == 6_299_139
    assert parameters(plain) == 134_271_430
    assert parameters(full) - parameters(full.context_encoders) == 140_570_569
    assert [parameters(e) for e in full.context_encoders.values()] == 2 * [14_714_688]
    assert parameters(enhanced.enhancement) == 2_187_264
    assert parameters(enhanced.enhancement.last) == 546_816
    assert parameters(enhanced.fusion) == 6_299_139 + 3 * 4
    assert parameters(squeeze.fusion.weigh) == 2 * 3 * 512 * 512 + 4 * 512


def test_multiply_adds_of_a_patch_are_the_published_ones():
    with torch.device("meta"):
        full, plain = FCtL(FCtLSpec(2)).eval(), FCtL(FCtLSpec(2, contexts=(), lcf=False)).eval()
        patch = torch.empty(1, 3, 508, 508)
        costs = []
        for model in (plain, full):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(patch, dict.fromkeys(model.spec.contexts, patch))
            costs.append(counter.get_total_flops() / 2e9)
    assert costs == pytest.approx([188.6, 500.9], abs=0.1)


@pytest.mark.parametrize("options", [{}, {"encoder": "mit_tiny", **WHOLE}])
def test_the_state_dict_and_the_options_round_trip(options, tmp_path):
    model = build(**options)
    again = FCtL(FCtLSpec(**asdict(model.spec))).eval()
    assert again.spec == model.spec
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch.testing.assert_close(run(again, images()).logits, run(model, images()).logits, rtol=0, atol=0)
    torch.save(model, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    torch.testing.assert_close(run(whole, images()).logits, run(model, images()).logits, rtol=0, atol=0)


def test_the_model_computes_in_the_precision_it_is_given():
    options = {"encoder": "mit_tiny", **WHOLE}
    expected = run(build(**options), images()).logits
    half = run(build(**options).bfloat16(), images()).logits
    assert half.dtype == torch.bfloat16
    assert float((half.float() - expected).abs().mean()) < 0.1 * float(expected.std())


def test_pixels_are_divided_by_255_for_vgg_and_normalized_for_mit():
    grey = torch.full((1, 3, 2, 2), 51.0)
    close(build()._normalize(grey), torch.full((1, 3, 2, 2), 0.2))
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    close(build(encoder="mit_tiny")._normalize(mean), torch.zeros(1, 3, 1, 1))


def test_factors_follow_the_published_branch():
    assert FCtLSpec(2).context_factors == {"medium": 2.0, "large": 3.0}
    assert FCtLSpec(7, branch="deepglobe").context_factors == {"medium": 3.0, "large": 0.0}
    assert FCtLSpec(2, contexts=("large",), factors=(4,)).context_factors == {"large": 4.0}
    assert FCtLSpec(2, contexts=(), lcf=False).terms == ()
    assert FCtLSpec(2, contexts=["medium"], self_context=False).terms == ("medium",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"encoder": "resnet"}, "encoder must be one of vgg16"),
        ({"contexts": ("large", "medium")}, "in this order"),
        ({"contexts": ("huge",)}, "contexts must be a subset of"),
        ({"contexts": "medium"}, "contexts must be a tuple"),
        ({"factors": (2.0,)}, "factors must have one value for each"),
        ({"factors": (0.5, 2)}, "at least 1, or 0"),
        ({"factors": (float("inf"), 2)}, "at least 1, or 0"),
        ({"contexts": (), "context_encoder": "shared"}, "no effect with contexts=()"),
        ({"contexts": (), "self_context": False}, "nothing to correlate with contexts"),
        ({"contexts": (), "lcf": False, "gpe": True}, "gpe=True has no effect with lcf=False"),
        ({"contexts": (), "lcf": False, "branch": "deepglobe"}, "branch='deepglobe' has no effect"),
        ({"contexts": (), "mcf": "average"}, "single context 'local'"),
        ({"geometry": "image"}, "no effect with gpe=False"),
        ({"contexts": (), "gpe": True, "geometry": "image"}, "both geometries are the same"),
        ({"lcf": False}, "nothing reads the context medium, large"),
        ({"lcf": False, "ale": "a"}, "nothing reads the context large"),
        ({"contexts": ("medium",), "ale": "d"}, "ale='d' reads large"),
        ({"ale_context": "large", "ale": "d"}, "no effect with ale='d'"),
        ({"ale_residual": "delta"}, "no effect with ale='none'"),
        ({"ale": "concat", "ale_windows": (3,)}, "no effect with ale='concat'"),
        ({"ale": "d", "ale_windows": (2, 3)}, "odd numbers"),
        ({"ale": "d", "ale_windows": ()}, "odd numbers"),
        ({"fcn_decoder": True}, "FCN-8s anyway"),
        ({"encoder": "mitb2", "learn_upsampling": True}, "SegFormer's decoder"),
        ({"view": "whole"}, "no room for the contexts"),
        ({"view": "whole", "contexts": (), "lcf": False, "patch_side": 64}, "no effect with view='whole'"),
        ({"gpe": 1}, "gpe must be of type bool"),
        ({"focal_gamma": -1.0}, "at least 0"),
        ({"qk_scale": "1"}, "qk_scale must be of type float"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FCtLSpec(**{"num_classes": 2, **options})


def test_bad_calls_are_refused():
    model, patches = build(ale="d"), images(0, 2)
    contexts = surroundings(model, 10, 2)
    calls = [
        ((patches[0],), r"patches must be a tensor of images \(B, 3, H, W\)"),
        ((list(patches),), "found list"),
        ((patches, {"medium": contexts["medium"]}), "no images of the context large"),
        ((patches, {**contexts, "huge": patches}), "unknown context 'huge'"),
        ((patches, {**contexts, "large": images(1, 3)}), "batch of 1 or 2; found 3"),
        (
            (patches, {**contexts, "large": images(1, 2, 32, 32)}),
            r"must be resized to the patches' \(64, 64\)",
        ),
        (
            (patches, {**contexts, "large": contexts["large"][:, :1]}),
            "context large must be a tensor of images",
        ),
        ((patches, contexts, {"medium": torch.ones(3, 4)}), r"\(B or 1, 4\)"),
        ((patches, contexts, {"medium": torch.zeros(1, 4)}), "above 0"),
        ((patches, contexts, {"local": torch.ones(1, 4)}), "unknown context 'local'"),
    ]
    for arguments, message in calls:
        with pytest.raises(ConfigError, match=message):
            model(*arguments)
    with pytest.raises(ConfigError, match=r"pass windows\['large'\]"):
        build(branch="deepglobe", ale="d")(patches, contexts)
    output = run(model, patches, contexts)
    with pytest.raises(ConfigError, match="targets must be"):
        model.losses(output, torch.zeros(2, 32, 32, dtype=torch.long))
    with pytest.raises(LabelError, match=r"found \[3\]"):
        model.losses(output, torch.full((2, SIDE, SIDE), 3))


def test_scores_are_probabilities():
    model = build()
    output = run(model, images())
    torch.testing.assert_close(model.scores(output), output.logits.softmax(dim=1))


@pytest.mark.parametrize(("total", "parts", "expected"), [(512, 4, [128] * 4), (10, 4, [3, 3, 2, 2])])
def test_channels_are_split_evenly_larger_groups_first(total, parts, expected):
    assert split_evenly(total, parts) == expected
