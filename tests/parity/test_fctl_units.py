"""The parts of FCtL equal the published code on unit fixtures, and the paper's equations on float64 oracles.

Tolerances: 1e-5 for float32 parts, 1e-12 for the oracles (1e-6 is asked for), exact for geometry and pixels.
"""

import json

import numpy as np
import pytest
import torch
from torch import nn

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.inference.contexts import context_window, crop_window, patch_grid, resize_square
from rskt_seg.inference.patches import augmented_score_map, score_map
from rskt_seg.inference.views import VIEWS
from rskt_seg.losses.focal import focal_loss
from rskt_seg.methods.fctl.checkpoint import rules_for
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.models.fctl import FCtLSpec
from rskt_seg.models.fctl.context import (
    CodeWeights,
    ContextFusion,
    Correlation,
    RelativePosition,
    SqueezeWeights,
)
from rskt_seg.models.fctl.enhancement import Enhancement, LocalInteraction
from rskt_seg.models.fctl.fcn import bilinear_kernel
from rskt_seg.models.fctl.geometry import (
    Grid,
    centered_window,
    crop_upsample,
    interpolation_matrices,
    positions_in_context,
    resample,
)
from rskt_seg.windows import Window
from tests.inference.patch_stub import PatchStub
from tests.parity.fctl_fill import FIXTURES, MANIFEST, arrays, exact, fill, image

ORACLES = json.loads((FIXTURES / "manifest_oracle.json").read_text())["tensors"]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def close(actual, expected, atol=1e-12):
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=atol)


def oracle_state(prefix: str) -> dict[str, torch.Tensor]:
    """The oracle's weights under a prefix; matrices as 1 x 1 convolutions."""
    state = {}
    for key, entry in ORACLES.items():
        if key.startswith(prefix):
            tensor = exact(key, tuple(entry["shape"]), entry["rule"])
            state[key.removeprefix(prefix)] = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
    return state


def published_fusion(branch: str, prefixes: tuple[str, ...]) -> ContextFusion:
    spec = FCtLSpec(2, branch=branch)
    fusion = ContextFusion(spec, 512)
    state = {
        key: fill(key, tuple(entry["shape"]), entry["rule"])
        for key, entry in MANIFEST.items()
        if key.startswith(prefixes) and "@" not in key
    }
    holder = nn.Module()
    holder.spec = spec
    converted = convert(state, rules_for(holder, set(state), "fixture"), LoadReport("fixture"))
    fusion.load_state_dict({key.removeprefix("fusion."): value for key, value in converted.items()})
    return fusion


def inputs(seed: int, count: int, batch: int, height: int, width: int) -> list[torch.Tensor]:
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = (batch, 512, height, width)
    return [
        torch.from_numpy(np.float32(0.35) * np.abs(rng.standard_normal(shape).astype(np.float32)))
        for _ in range(count)
    ]


def patch_windows(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([[0.0, 0.0, 1.0, 1.0]]) for name in names}


@pytest.mark.parametrize("seed", [51, 52])
def test_correlation_and_fusion_equal_the_published_main_branch(seed):
    expected = arrays(f"lcc_main_{seed}")
    batch, (height, width) = int(expected["b"]), expected["hw"]
    local, medium, large = inputs(seed, 3, batch, height, width)
    features = {"local": local, "medium": medium, "large": large}
    fusion = published_fusion("main", ("big_attention.",))
    windows, grids = patch_windows(*features), (Grid(height, 64, 32, 0.0), Grid(width, 64, 32, 0.0))
    out, weights = fusion(features, windows, grids)
    close((local + out)[:, ::8], expected["out3_c8"], 1e-5)
    alone = fusion.correlate["medium"](local, medium, windows["medium"], grids)
    close((local + alone)[:, ::8], expected["out2_c8"], 1e-5)
    attention = fusion.attention(features, windows, grids)
    for name in features:
        close(attention[name][:, 0], expected[f"att_{name}_row0"], 1e-5)
        close(weights[name][:, ::64], expected[f"H_{name}_c64"], 1e-5)


def test_correlation_equals_the_published_deepglobe_branch():
    expected = arrays("lcc_deepglobe_151")
    height, width = expected["hw"]
    local, context = inputs(151, 2, 2, height, width)
    layer = published_fusion("deepglobe", ("local.", "medium.", "large.", "in_", "trans.", "out_"))
    layer = layer.correlate["local"]
    window, grids = patch_windows("local")["local"], (Grid(height, 64, 32, 0.0), Grid(width, 64, 32, 0.0))
    close(layer(local, context, window, grids)[:, ::8], expected["out_c8"], 1e-5)
    close(layer.attention(local, context, window, grids)[:, 0], expected["att_row0"], 1e-5)


def chosen(width: int, start: int) -> nn.Conv2d:
    """A projection that takes `width` of the channels as they are, from `start` on."""
    layer = nn.Conv2d(2 * width, width, 1, bias=False).double()
    layer.weight.copy_(torch.eye(2 * width)[start : start + width, :, None, None])
    return layer


def oracle_window(factor: float, centre: float, cells: int) -> tuple[torch.Tensor, Grid]:
    """A centred window and a grid whose middle lies at the cell `centre`."""
    side = 32 * cells
    return torch.tensor([centered_window(factor)]), Grid(cells, side, 32, side / 2 - 32 * centre)


@pytest.mark.parametrize("number", [301, 302, 304, 305])
def test_gated_positional_embeddings_equal_equation_2(number):
    expected = arrays(f"oracle_gpe_{number}")
    q, k, v = (torch.from_numpy(expected[name])[None] for name in "qkv")
    geometry = "grid" if float(expected["lam"]) == 1 else "image"
    layer = Correlation(q.shape[1], False, 1.0, RelativePosition(geometry)).double()
    layer.position.weight.copy_(torch.from_numpy(expected["w_r"]))
    layer.position.gate.fill_(float(expected["z"]))
    # The oracle starts from projected features; here one context carries keys and values side by side.
    width = q.shape[1]
    layer.query, layer.key, layer.value = nn.Identity(), chosen(width, 0), chosen(width, width)
    context = torch.cat([k, v], dim=1)
    layer.gamma.fill_(1)
    placed = [
        oracle_window(float(expected["lam"]), c, n)
        for c, n in zip(expected["centre"], q.shape[2:], strict=True)
    ]
    window, grids = placed[0][0], (placed[0][1], placed[1][1])
    close(layer(q, context, window, grids)[0], expected["out"])
    close(layer.attention(q, context, window, grids)[0], expected["M"])
    position = resample(v, *layer.position.axes(window, grids))
    close(position[0], expected["out_pos"])
    layer.position.gate.fill_(800.0)
    close(layer(q, context, window, grids)[0], expected["out_content"])


def test_fusion_weights_equal_equations_3_and_4_and_the_published_form():
    expected = arrays("oracle_mcf_311")
    names = ("local", "medium", "large")
    features = {name: torch.from_numpy(x)[None] for name, x in zip(names, expected["feats"], strict=True)}
    squeeze = SqueezeWeights(8, names).double()
    squeeze.load_state_dict(oracle_state("mcf8_8."))
    code = CodeWeights(8, names).double()
    state = oracle_state("mcfc8.")
    renamed = {key.replace("trans.", "mix."): value for key, value in state.items()}
    for i, name in enumerate(names, start=1):
        renamed = {
            k.replace(f"in_{i}.", f"enter.{name}.").replace(f"out_{i}.", f"leave.{name}."): v
            for k, v in renamed.items()
        }
    code.load_state_dict(renamed)
    stacked = torch.stack(list(features.values()))
    for weigh, out, weights in ((squeeze, "out", "H"), (code, "out_code", "H_code")):
        actual = weigh(features)
        close(actual[:, 0], expected[weights])
        close((actual * stacked).sum(dim=0)[0], expected[out])


def interaction_state(prefix: str) -> dict[str, torch.Tensor]:
    names = (("ref", "references."), ("dw", "windows."))
    state = {}
    for key, value in oracle_state(prefix).items():
        for old, new in names:
            key = new + key.removeprefix(old) if key.startswith(old) else key
        state[key] = value
    return state


@pytest.mark.parametrize("number", [321, 322])
def test_local_interaction_equals_equations_6_and_7(number):
    expected = arrays(f"oracle_lfi_{number}")
    target, references = torch.from_numpy(expected["target"])[None], torch.from_numpy(expected["refs"])
    windows = expected["windows"].tolist()
    layer = LocalInteraction(target.shape[1], len(references), windows, "none").double()
    layer.load_state_dict(interaction_state(f"lfi{number}."))
    references = [x[None] for x in references]
    close(layer.attention(references)[0], expected["E"])
    close(layer(target, references)[0], expected["out"])


@pytest.mark.parametrize("structure", "abcde")
@pytest.mark.parametrize("residual", ["full", "delta"])
def test_enhancement_equals_algorithm_1_and_figure_13(structure, residual):
    expected = arrays("oracle_ale_331")
    local, medium, large = (torch.from_numpy(expected[name])[None] for name in ("xi", "xm", "xl"))
    windows = tuple(expected["windows"].tolist())
    module = Enhancement(FCtLSpec(2, ale=structure, ale_windows=windows, ale_residual=residual), 8).double()
    layers = [*(layer for layers in module.rounds for layer in layers), module.last]
    for number, layer in enumerate(layers):
        layer.load_state_dict(interaction_state(f"ale331{structure}.lfi{number}."))
    assert not any(key.startswith(f"ale331{structure}.lfi{len(layers)}.") for key in ORACLES)
    out, _ = module(local, [medium] if structure in "ab" else [medium, large])
    close(out[0] + (local[0] if residual == "delta" else 0), expected[f"out_{structure}"])


@pytest.mark.parametrize("case", ["vgg_x3", "vgg_global", "mit_x3", "identity"])
def test_crops_of_contexts_lie_where_the_patch_does(case):
    expected = {
        key.removeprefix(f"{case}_"): value
        for key, value in arrays("oracle_crop_upsample").items()
        if key.startswith(case)
    }
    (px, py, pw, ph), (cx, cy, cw, ch) = expected["boxes"]
    side, stride, offset = expected["geom"]
    window = torch.tensor([[(cy - py) / ph, (cx - px) / pw, ch / ph, cw / pw]], dtype=torch.float64)
    features = torch.from_numpy(expected["in"])[None]
    grids = tuple(Grid(cells, int(side), int(stride), float(offset)) for cells in features.shape[2:])
    close(crop_upsample(features, window, grids)[0], expected["out"])
    for axis, grid, name in ((window[:, 0::2], grids[0], "ky"), (window[:, 1::2], grids[1], "kx")):
        positions = positions_in_context(axis, grid).clamp(0, grid.cells - 1)[0]
        close(positions, np.clip(expected[name], 0, grid.cells - 1))
        assert (
            interpolation_matrices(positions[None], grid.cells).sum(dim=-1).allclose(torch.ones(1).double())
        )


def test_upsampling_kernels_are_the_published_ones():
    for side in (4, 16):
        kernel = bilinear_kernel(3, side)
        close(kernel[0, 0], arrays("upsampling_kernels")[f"k{side}"], 1e-7)
        assert torch.equal(kernel[1, 1], kernel[0, 0]) and not kernel[0, 1].any()


def test_patch_grids_are_the_published_ones():
    expected = arrays("geometry_grid")
    for (height, width), info in zip(expected["sizes"], expected["info"], strict=True):
        grid = patch_grid(int(height), int(width), 508)
        assert len(grid) == info[0] * info[1]
        tops, lefts = sorted({window.top for window in grid}), sorted({window.left for window in grid})
        assert (len(tops), len(lefts)) == (info[0], info[1])
        corners = np.array([window[:2] for window in grid])
        assert np.array_equal(corners, expected[f"topleft_{height}x{width}"])
        assert {window[2:] for window in grid} == {(508, 508)}


@pytest.mark.parametrize("name", ["context_crops_200x230", "context_crops_190x190"])
def test_contexts_are_cut_and_resized_as_published(name):
    expected = arrays(name)
    height, width = (int(n) for n in expected["hw"])
    picture = image(int(expected["seed"]), height, width)
    grid = patch_grid(height, width, 128)
    factors = {key.removesuffix("_mean").removeprefix("mul") for key in expected if key.endswith("_mean")}
    for factor in factors:
        for number, patch in enumerate(grid):
            pixels = resize_square(crop_window(picture, context_window(patch, float(factor))), 128)
            np.testing.assert_allclose(
                pixels.mean(axis=(0, 1)), expected[f"mul{factor}_mean"][number], rtol=1e-12
            )
            key = f"mul{factor}_patch{number}_s2"
            if key in expected:
                assert np.array_equal(pixels[::2, ::2], expected[key])
    assert np.array_equal(resize_square(picture, 64), expected["glob64"])


def test_focal_loss_and_its_gradient_equal_the_published_code():
    expected = arrays("focal_loss")
    rng = np.random.Generator(np.random.PCG64(int(expected["seed"])))
    logits = torch.from_numpy(3 * rng.standard_normal((2, 7, 9, 11)).astype(np.float32))
    target = torch.from_numpy(rng.integers(0, 7, (2, 9, 11)))
    for gamma in (0, 2, 3, 6):
        for name, ignored in (("all", 255), ("ign0", 0)):
            with torch.enable_grad():
                variable = logits.clone().requires_grad_()
                loss = focal_loss(variable, target, gamma, ignored)
                loss.backward()
            assert float(loss.detach()) == pytest.approx(float(expected[f"g{gamma}_{name}"]), rel=2e-7)
            close(variable.grad, expected[f"g{gamma}_{name}_grad"], 1e-8)
    big = focal_loss(logits * 40, target)
    assert float(big) == pytest.approx(float(expected["big_g3_all"]), rel=1e-6)


def test_confusion_and_iou_without_the_unknown_class_equal_the_published_ones():
    expected = arrays("metrics_7cls")
    rng = np.random.Generator(np.random.PCG64(int(expected["seed"])))
    label = rng.integers(0, 7, (3, 40, 50))
    kept = rng.random((3, 40, 50)) < 0.6
    matrix = ConfusionMatrix(7)
    matrix.update(np.where(kept, label, rng.integers(0, 7, (3, 40, 50))), label)
    assert np.array_equal(matrix.counts[:7].T, expected["hist"])
    iou = matrix.scores().IoU / 100
    np.testing.assert_allclose(iou, expected["iou"], rtol=1e-12)
    assert np.nan_to_num(iou[1:]).mean() == pytest.approx(float(expected["miou_wo0"]), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "views"), [("tta_stub_150_plain", "none"), ("tta_stub_150_tta", "dihedral")]
)
def test_summed_logits_of_a_stub_in_one_and_eight_views_equal_the_published_code(name, views):
    expected = arrays(name)
    weight = fill("stub.weight", (3, 3, 3, 3), "fan_in")
    bias = fill("stub.bias", (3,), "bias")
    model = PatchStub(weight / 255, bias, side=64)
    picture = image(int(expected["seed"]), 150, 150)
    scores = augmented_score_map(model, picture, VIEWS[views])
    largest = float(np.abs(expected["scores_s3"]).max())
    close(scores[:, ::3, ::3], expected["scores_s3"], 1e-6 * largest)
    assert (scores.argmax(dim=0).numpy() == expected["pred"]).mean() > 0.9999
    if views == "none":
        assert torch.equal(scores, score_map(model, picture))


def test_a_window_of_the_whole_image_is_the_image():
    picture = image(3, 20, 30)
    assert np.array_equal(crop_window(picture, Window(0, 0, 20, 30)), picture)
