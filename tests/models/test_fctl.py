"""Laws of the FCtL model, stated on tiny encoders: the code path is that of the full models."""

from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rskt_seg.errors import ConfigError, LabelError
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.fctl.context import ContextFusion, RelativePosition
from rskt_seg.models.fctl.enhancement import split_evenly
from rskt_seg.models.fctl.geometry import Grid
from tests.models import plain_fctl

SIDE = 64


def build(seed=0, **options):
    """A model whose every part matters: random weights with noise on everything that starts at 0."""
    torch.manual_seed(seed)
    model = FCtL(FCtLSpec(**{"num_classes": 3, "encoder": "vgg_tiny", "patch_side": SIDE, **options})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".up" not in name:  # fixed bilinear kernels
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images(seed=0, batch=1, height=SIDE, width=SIDE):
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def surroundings(model, seed=10, batch=1, height=SIDE, width=SIDE):
    return {n: images(seed + i, batch, height, width) for i, n in enumerate(model.spec.contexts)}


def places(model, batch=1):
    """A place for every context, centred or not."""
    whole = torch.tensor([[-0.5, -1.75, 2.5, 4.0], [-2.25, 0.0, 3.5, 2.0]])[:batch]
    return {n: whole for n, factor in model.spec.context_factors.items() if factor == 0}


def run(model, patches, contexts=None, windows=None, **options):
    contexts = surroundings(model, batch=len(patches)) if contexts is None else contexts
    with torch.no_grad():
        return model(patches, contexts, windows if windows is not None else places(model), **options)


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("size", [(64, 64), (33, 90), (508, 40)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoder": "mit_tiny"},
        {"encoder": "mit_tiny", "fcn_decoder": True},
        {"contexts": (), "lcf": False},
    ],
)
def test_logits_have_a_map_per_class_at_the_size_of_the_patches(options, size):
    model = build(**options)
    output = run(model, images(0, 2, *size), surroundings(model, 10, 2, *size))
    assert output.logits.shape == (2, 3, *size) and output.maps is None
    assert output.fused.shape[:2] == (2, 32)


FULL = {"gpe": True, "ale": "d"}
WHOLE = {"factors": (3, 0), "geometry": "image", **FULL}


@pytest.mark.parametrize("options", [{}, WHOLE, {"encoder": "mit_tiny", **FULL}, {"branch": "deepglobe"}])
def test_logits_do_not_depend_on_the_other_patches_of_the_batch(options):
    model = build(**options)
    patches, contexts, windows = images(1, 2), surroundings(model, 10, 2), places(model, 2)
    together = run(model, patches, contexts, windows).logits
    for i in range(2):
        one = slice(i, i + 1)
        alone = run(
            model,
            patches[one],
            {n: x[one] for n, x in contexts.items()},
            {n: w[one] for n, w in windows.items()},
        )
        close(together[one], alone.logits)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_training_and_evaluation_agree_but_for_dropout():
    model = build(**FULL)
    model.decoder.dropout.p = 0.0
    patches = images(1, 2)
    evaluated = run(model, patches).logits
    model.train()
    close(run(model, patches).logits, evaluated)
    model.decoder.dropout.p = 0.5
    assert not torch.allclose(run(model, patches).logits, evaluated, atol=1e-3)


def test_frozen_context_encoders_stay_in_evaluation_mode_and_without_gradients():
    model = build().train()
    assert model.training and not any(m.training for m in model.context_encoders.modules())
    model.losses(model(images(), surroundings(model)), torch.zeros(1, SIDE, SIDE, dtype=torch.long))[
        "loss_sem_seg"
    ].backward()
    assert all(not p.requires_grad and p.grad is None for p in model.context_encoders.parameters())
    trained = build(context_encoder="trained").train()
    assert all(m.training for m in trained.context_encoders.modules())


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


@pytest.mark.parametrize("mcf", ["code", "squeeze", "average", "weighted"])
def test_fusion_schemes_differ_and_their_weights_sum_to_1(mcf):
    model = build(mcf=mcf)
    weights = run(model, images(), return_maps=True).maps.weights
    assert list(weights) == ["local", "medium", "large"]
    close(sum(weights.values()), torch.ones(1, 32, 9, 9))
    spread = max(float(w.std()) for w in weights.values())
    assert (spread < 1e-6) == (mcf in ("average", "weighted"))
    if mcf == "code":  # 1 / (1 + 2e) .. e / (e + 2)
        assert all(float(w.min()) >= 0.155 and float(w.max()) <= 0.577 for w in weights.values())


SUMS = [
    {},
    {"branch": "deepglobe", "factors": (2, 3)},
    {"contexts": ("medium",)},
    {"contexts": ("large",), "self_context": False, "gpe": True},
    {"contexts": (), "gpe": True},
    {"self_context": False, "mcf": "squeeze", "qk_scale": 0.3},
    {"mcf": "average", "ale": "a"},
    {"mcf": "weighted", "ale": "b", "ale_context": "large", "ale_activation": "sigmoid"},
    {"gpe": True, "ale": "c", "ale_activation": "tanh", "ale_windows": (1, 3, 5)},
    FULL,
    WHOLE,
    {**WHOLE, "ale": "e", "mcf": "squeeze", "ale_residual": "delta", "factors": (1.5, 2.5)},
    {"lcf": False, "ale": "concat"},
    {"encoder": "mit_tiny", **WHOLE},
]


@pytest.mark.parametrize("options", SUMS, ids=str)
def test_features_for_the_decoder_are_the_sum_that_the_equations_give(options):
    model = build(seed=4, **options).double()
    size = (96, 64) if options.get("encoder") == "mit_tiny" else (20, 40)
    patches, contexts = images(1, 2, *size).double(), surroundings(model, 10, 2, *size)
    contexts = {name: x.double() for name, x in contexts.items()}
    windows = places(model, 2)
    output = run(model, patches, contexts, windows)
    with torch.no_grad():
        features = {"local": model.encoder(model._normalised(patches)).final}
        features |= {name: model.encode_context(name, x).map for name, x in contexts.items()}
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    grid = (size, model.encoder.stride, model.encoder.offset)
    for i in range(2):
        placed = {"local": (0, 0, 1, 1)}
        for name, factor in model.spec.context_factors.items():
            centred = ((1 - factor) / 2, (1 - factor) / 2, factor, factor)
            placed[name] = windows[name][i].tolist() if name in windows else centred
        maps = {name: x[i].numpy() for name, x in features.items()}
        expected = plain_fctl.full_sum(state, maps, placed, model.spec, grid)
        np.testing.assert_allclose(output.fused[i].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_context_can_be_encoded_once_for_many_patches():
    model = build(branch="deepglobe", **FULL)
    patches, mediums, whole = images(1, 2), images(11, 2), images(12)
    windows = places(model, 2)
    repeated = run(model, patches, {"medium": mediums, "large": whole.expand(2, -1, -1, -1)}, windows)
    with torch.no_grad():
        encoded = model.encode_context("large", whole)
    calls = []
    model.context_encoders["large"].register_forward_hook(lambda *_: calls.append(1))
    for given in (encoded, whole):
        close(run(model, patches, {"medium": mediums, "large": given}, windows).logits, repeated.logits)
    assert len(calls) == 1


def test_contexts_start_silent_so_that_a_stage_starts_where_the_one_before_ended():
    torch.manual_seed(0)
    stage = FCtL(FCtLSpec(3, encoder="vgg_tiny", gpe=True, ale="d", ale_residual="delta")).eval()
    before = FCtL(FCtLSpec(3, encoder="vgg_tiny", contexts=(), lcf=False)).eval()
    before.load_state_dict({n: v for n, v in stage.state_dict().items() if n in before.state_dict()})
    patches = images()
    expected = run(before, patches, {})
    output = run(stage, patches)
    # The enhancement starts small but not at 0: its convolutions start at N(0, 0.01).
    assert float((output.fused - expected.fused).abs().max()) < 1e-3 * float(expected.fused.abs().max())
    plain = FCtL(FCtLSpec(3, encoder="vgg_tiny")).eval()
    plain.load_state_dict({**plain.state_dict(), **before.state_dict()})
    torch.testing.assert_close(run(plain, patches).logits, expected.logits, rtol=0, atol=0)


def test_new_parts_start_as_published():
    torch.manual_seed(0)
    fusion = ContextFusion(FCtLSpec(2, gpe=True), 256)
    for name, parameter in fusion.named_parameters():
        if name.endswith(("gamma", "bias")):
            assert not parameter.any(), name
        elif name.endswith("position.weight"):
            assert parameter.tolist() == [0, 0, -1]
        elif name.endswith("gate"):
            assert parameter.item() == 1
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.01, rel=0.05), name
    assert fusion.correlate["medium"].value.bias is None


def test_an_open_gate_gives_the_model_without_positions():
    model = build(gpe=True)
    with torch.no_grad():
        for layer in model.fusion.correlate.values():
            layer.position.gate.fill_(100.0)
    plain = build()
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if ".position." not in n})
    close(run(model, images()).logits, run(plain, images()).logits)


@pytest.mark.parametrize("options", [{}, {"branch": "deepglobe", "factors": (2, 3)}, WHOLE])
def test_attention_maps_are_what_was_applied_and_their_rows_sum_to_1(options):
    model = build(**options)
    patches, contexts, windows = images(1, 2), surroundings(model, 10, 2), places(model, 2)
    maps = run(model, patches, contexts, windows, return_maps=True).maps
    with torch.no_grad():
        local = model.encoder(model._normalised(patches)).final
        for name, layer in model.fusion.correlate.items():
            context = local if name == "local" else model.encode_context(name, contexts[name]).map
            matrix = maps.attention[name]
            close(matrix.sum(dim=2), torch.ones(2, 81))
            seen = (matrix @ layer.value(context).flatten(2).mT).mT.unflatten(2, (9, 9))
            grids = tuple(Grid(9, SIDE, 32, -83.0) for _ in range(2))
            placed = model._windows(windows, 2)[name]
            close(layer.gamma * seen, layer(local, context, placed, grids))


def test_the_map_of_the_enhancement_is_returned_on_request():
    assert run(build(ale="d"), images(), return_maps=True).maps.enhancement.shape == (1, 32, 9, 9)
    assert run(build(), images(), return_maps=True).maps.enhancement is None
    baseline = run(build(contexts=(), lcf=False), images(), return_maps=True).maps
    assert baseline.attention == baseline.weights == {}


def test_positions_attend_most_to_the_nearest_cell_of_the_context():
    grid = Grid(9, 288, 32, 16.0)
    for geometry, window in (
        ("grid", (-1, -1, 3, 3)),
        ("image", (-1.1, -1, 3, 3)),
        ("image", (-0.6, 0.1, 2, 4)),
    ):
        rows, columns = RelativePosition(geometry).axes(torch.tensor([window]), (grid, grid))
        for matrix, start, length in ((rows, window[0], window[2]), (columns, window[1], window[3])):
            cells = torch.arange(9.0)
            if geometry == "grid":
                expected = cells.long()
            else:
                where = ((32 * cells + 16) / 288 - start) / length * 9 - 0.5
                expected = where.round().clamp(0, 8).long()
            assert torch.equal(matrix[0].argmax(dim=1), expected)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return out


def test_attention_with_positions_stores_no_map_of_pairs():
    side, width = 40, 8
    fusion = ContextFusion(FCtLSpec(2, gpe=True, geometry="image"), width)
    features = {n: torch.randn(1, width, side, side) for n in ("local", "medium", "large")}
    windows = {n: torch.tensor([[-1.0, -1.0, 3.0, 3.0]]) for n in features}
    grid = Grid(side, 32 * side, 32, 0.5)
    with Largest() as seen, torch.no_grad():
        fusion(features, windows, (grid, grid))
    assert side**2 * width < seen.numel < side**4 / 10


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


def test_pixels_are_divided_by_255_for_vgg_and_normalised_for_mit():
    grey = torch.full((1, 3, 2, 2), 51.0)
    close(build()._normalised(grey), torch.full((1, 3, 2, 2), 0.2))
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    close(build(encoder="mit_tiny")._normalised(mean), torch.zeros(1, 3, 1, 1))


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
        ({"contexts": ("huge",)}, "contexts must be some of"),
        ({"contexts": "medium"}, "contexts must be a tuple"),
        ({"factors": (2.0,)}, "factors must give one for each"),
        ({"factors": (0.5, 2)}, "at least 1, or 0"),
        ({"factors": (float("inf"), 2)}, "at least 1, or 0"),
        ({"contexts": (), "context_encoder": "shared"}, "no effect with contexts=()"),
        ({"contexts": (), "self_context": False}, "nothing to correlate"),
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
        ({"view": "whole"}, "leaves no contexts"),
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
        ((patches[0],), r"patches must be images \(B, 3, H, W\)"),
        ((list(patches),), "found list"),
        ((patches, {"medium": contexts["medium"]}), "for large too"),
        ((patches, {**contexts, "huge": patches}), "found 'huge'"),
        ((patches, {**contexts, "large": images(1, 3)}), "batch of 1 or 2; found 3"),
        (
            (patches, {**contexts, "large": images(1, 2, 32, 32)}),
            r"must be resized to the patches' \(64, 64\)",
        ),
        ((patches, {**contexts, "large": contexts["large"][:, :1]}), "context large must be images"),
        ((patches, contexts, {"medium": torch.ones(3, 4)}), r"\(B or 1, 4\)"),
        ((patches, contexts, {"medium": torch.zeros(1, 4)}), "above 0"),
        ((patches, contexts, {"local": torch.ones(1, 4)}), "found 'local'"),
    ]
    for arguments, message in calls:
        with pytest.raises(ConfigError, match=message):
            model(*arguments)
    with pytest.raises(ConfigError, match=r"give windows\['large'\]"):
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
