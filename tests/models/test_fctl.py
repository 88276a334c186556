"""Laws of the FCtL model, stated on tiny encoders: the code path is that of the full models."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.fctl.context import ContextFusion, RelativePosition
from rskt_seg.models.fctl.geometry import Grid
from tests.models import plain_fctl
from tests.models.fctl_draw import FULL, SIDE, WHOLE, build, close, images, places, run, surroundings


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
        features = {"local": model.encoder(model._normalize(patches)).final}
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
        local = model.encoder(model._normalize(patches)).final
        for name, layer in model.fusion.correlate.items():
            context = local if name == "local" else model.encode_context(name, contexts[name]).map
            matrix = maps.attention[name]
            close(matrix.sum(dim=2), torch.ones(2, 81))
            seen = (matrix @ layer.value(context).flatten(2).mT).mT.unflatten(2, (9, 9))
            grids = tuple(Grid(9, SIDE, 32, -83.0) for _ in range(2))
            placed = model._complete_windows(windows, 2)[name]
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
