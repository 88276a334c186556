"""FCtL equals both branches of the published code on their fixtures, weights in the published layout.

Tolerances are those of the fixtures' description: logits 1e-4 absolute, gradient norms 1e-3 relative.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.inference.patches import augmented_score_map, score_map
from rskt_seg.inference.predict import evaluating
from rskt_seg.methods import load_checkpoint
from rskt_seg.methods.fctl.checkpoint import merge_aliases, rules_for
from rskt_seg.models.fctl import FCtL, FCtLSpec
from tests.parity.conftest import drawn_for_fctl, return_memory
from tests.parity.fctl_fill import arrays, image, labels, published_state

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("memory_returned")]
remembering = pytest.mark.usefixtures("encoders_remember")

SINGLE = {"contexts": ("medium",), "self_context": False, "context_encoder": "shared"}
MODES = {
    "main_mode1": ("inria_main.FCN8.mode1.n2", {"contexts": (), "lcf": False}),
    "main_mode2": ("inria_main.FCN8.mode2.n2", SINGLE),
    "main_mode3": ("inria_main.FCN8.mode3.n2", {}),
    "deepglobe_mode4": ("deepglobe.FCN8.mode4.n7", {"branch": "deepglobe"}),
}


filled = partial(published_state, draw=drawn_for_fctl)


@pytest.fixture(scope="module")
def built(no_random_start):
    """Mode -> a loaded model in evaluation mode; of all models asked for only the last is kept."""
    kept = {}

    def make(mode: str, **options) -> FCtL:
        key = (mode, *options.items())
        if key not in kept:
            kept.clear()
            return_memory()
            layout, chosen = MODES[mode]
            model = FCtL(FCtLSpec(int(layout[-1]), **chosen, **options)).eval()
            encoder = f"{layout.split('.')[0]}.MiniFCN8"
            contexts = {name: filled(encoder, f"ctx_{name}.") for name in model.context_encoders}
            load_checkpoint(model, filled(layout), contexts)
            kept[key] = model
        return kept[key]

    return make


def batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def check(actual, expected, what, atol=1e-4):
    actual, expected = torch.as_tensor(actual).double(), torch.as_tensor(expected).double()
    assert actual.shape == expected.shape
    sys.stdout.write(f"{what}: largest deviation {float((actual - expected).abs().max()):.2e}\n")
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def check_labels(scores: torch.Tensor, expected: np.ndarray, atol=1e-4):
    """Equal labels wherever the two best classes are further apart than both deviations together."""
    best, second = scores.topk(2, dim=-3).values.unbind(-3)
    certain = best - second > 2 * atol
    assert float(certain.float().mean()) > 0.99
    assert torch.equal(scores.argmax(dim=-3)[certain], torch.from_numpy(expected).long()[certain])


def statistics(x: torch.Tensor) -> np.ndarray:
    return np.array([x.mean(), x.std(), x.abs().max()])


@remembering
@pytest.mark.parametrize(
    ("mode", "side", "seed"),
    [
        ("main_mode1", 64, 60),
        ("main_mode1", 508, 62),
        ("main_mode2", 64, 60),
        ("main_mode3", 64, 60),
        ("main_mode3", 508, 62),
    ],
)
def test_logits_of_a_patch_equal_the_published_main_branch(built, mode, side, seed):
    name = f"e2e_{mode}_{side}x{side}_{seed}"
    expected = arrays(name)
    model = built(mode)
    pictures = {"medium": batch(image(seed + 100, side, side)), "large": batch(image(seed + 200, side, side))}
    patch = batch(image(seed, side, side))
    with torch.inference_mode():
        output = model(patch, {context: pictures[context] for context in model.spec.contexts})
        pool5 = model.encoder(patch / 255).final  # remembered
    stride = int(expected["stride"])
    check(output.logits[0, :, ::stride, ::stride], expected["logits"], name)
    check(pool5[0, ::32], expected["pool5_c32"], "pool5")
    np.testing.assert_allclose(statistics(pool5), expected["pool5_stats"], rtol=1e-5)
    np.testing.assert_allclose(statistics(output.logits), expected["logits_stats"], atol=1e-4)
    if "fused_c32" in expected:
        check(output.fused[0, ::32], expected["fused_c32"], "fused")
    check_labels(output.logits[0], expected["pred"])


@pytest.mark.parametrize(("side", "seed"), [(64, 160), (508, 162)])
def test_logits_of_a_patch_equal_the_published_deepglobe_branch(built, side, seed):
    name = f"e2e_deepglobe_mode4_{side}x{side}_{seed}"
    expected = arrays(name)
    model = built("deepglobe_mode4")
    patch, medium, whole = (image(seed + offset, side, side) for offset in (0, 100, 200))
    if side < 508:
        patches, mediums = batch(patch, patch[::-1]), batch(medium, medium[::-1])
    else:
        patches, mediums = batch(patch), batch(medium)
    with torch.inference_mode():
        encoded = model.encode_context("large", batch(whole))
        output = model(patches, {"medium": mediums, "large": encoded})
    stride = int(expected["stride"])
    check(output.logits[:, :, ::stride, ::stride], expected["logits"], name)
    np.testing.assert_allclose(statistics(output.logits), expected["logits_stats"], atol=1e-4)
    check_labels(output.logits, expected["pred"])


def test_a_whole_image_in_eight_views_equals_the_published_evaluation(built):
    expected = arrays("pipeline_main_mode1_tta_71")
    model = built("main_mode1", patch_side=128, input_side=128)
    with evaluating(model):
        scores = augmented_score_map(model, image(71, 256, 256), batch_size=9)
    check(scores[:, ::4, ::4], expected["scores_s4"], "pipeline_main_mode1_tta_71", atol=1e-4)
    check_labels(scores, expected["pred"])


def test_a_whole_image_with_contexts_equals_the_published_evaluation(built):
    expected = arrays("pipeline_main_mode3_200x230_72")
    model = built("main_mode3", patch_side=128, input_side=128)
    picture = image(72, 200, 230)
    with evaluating(model):
        scores = score_map(model, picture, batch_size=3)
    check(scores[:, ::4, ::4], expected["scores_s4"], "pipeline_main_mode3_200x230_72")
    check_labels(scores, expected["pred"])


def sub_batch(seed: int, number: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """Two patches of a training step with their contexts and labels."""
    seeds = [seed * 1000 + number * 10 + item for item in (0, 1)]

    def pictures(offset: int) -> torch.Tensor:
        return batch(*(image(s + offset, 64, 64) for s in seeds))

    target = torch.stack([labels(s + 300, 64, 64, 2) for s in seeds])
    return pictures(0), {"medium": pictures(100), "large": pictures(200)}, target


def own_names(model: FCtL, state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Published name -> own name, found through the loading rules themselves."""
    report = LoadReport("names")
    convert(merge_aliases(state, report), rules_for(model, set(state), "names"), report)
    return {published: own for published, (own,) in report.converted.items()}


def set_gradients_aside(model: FCtL, file: Path):
    """Write the gradients to a file: those of two sub-batches at once take as much memory as the model."""
    torch.save({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, file)
    model.zero_grad()
    return_memory()


def add_gradients(model: FCtL, files: list[Path]):
    """Accumulate the gradients of the files in their order, as `backward` does."""
    parameters = dict(model.named_parameters())
    for file in files:
        for name, gradient in torch.load(file, mmap=True).items():
            parameter = parameters[name]
            parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.add_(gradient)


def test_a_training_step_equals_the_published_code(built, tmp_path):
    expected = arrays("train_step_main_mode3_81")
    model = built("main_mode3")
    before = {key: value.clone() for key, value in model.state_dict().items() if value.numel() < 400_000}
    names = own_names(model, filled("inria_main.FCN8.mode3.n2"))
    for number, loss_value in enumerate(expected["losses"]):
        patches, contexts, target = sub_batch(int(expected["seed"]), number)
        loss = model.losses(model(patches, contexts), target)["loss_sem_seg"]
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(loss_value), rel=1e-5)
        del loss
        set_gradients_aside(model, tmp_path / f"{number}.pt")
    add_gradients(model, [tmp_path / f"{number}.pt" for number in range(len(expected["losses"]))])
    parameters = dict(model.named_parameters())
    trained = {own for own in names.values() if parameters[own].requires_grad}
    assert {names[key] for key in expected["grad_keys"].tolist()} == trained
    assert {name for name, p in parameters.items() if p.grad is not None} == trained
    worst = 0.0
    for key, norm in zip(expected["grad_keys"].tolist(), expected["grad_norms"], strict=True):
        actual = float(torch.linalg.vector_norm(parameters[names[key]].grad, dtype=torch.float64))
        if "conv_key" in key and key.endswith("bias"):
            assert actual == pytest.approx(float(norm), abs=1e-5), key
        else:
            assert actual == pytest.approx(float(norm), rel=1e-3), key
            worst = max(worst, abs(actual / float(norm) - 1))
    sys.stdout.write(f"gradient norms: largest relative deviation {worst:.1e}\n")
    for parameter in (parameters[name] for name in trained):
        # Adam is elementwise; its moments of all parameters at once take as much memory as two models.
        for part, gradient in zip(parameter.detach().split(256), parameter.grad.split(256), strict=True):
            part.grad = gradient
            torch.optim.Adam([part], 5e-5, weight_decay=5e-4, foreach=False).step()
    check_changes(parameters, before, names, expected)


def check_changes(parameters, before, names, expected):
    """The first step of Adam is 5e-5 against the sign of a gradient, whatever its size."""
    worst = 0.0
    for key, delta in zip(expected["delta_keys"].tolist(), expected["deltas"], strict=True):
        if key in ("adj_pool3.weight", "adj_pool4.weight"):
            continue  # rounded to the spacing of the boosted weights
        if "conv_key" in key and key.endswith("bias"):
            continue  # gradients of float noise alone
        # The published fusion starts with the medium context, the package's with the patch itself.
        start = 512 if key == "big_attention.trans.bias" else 0
        change = (parameters[names[key]].detach() - before[names[key]]).flatten()[start : start + 8]
        change = torch.nn.functional.pad(change, (0, 8 - len(change)))
        deviation = float((change - torch.from_numpy(delta)).abs().max())
        assert deviation < 1e-6, f"{key}: {change} {delta}"
        worst = max(worst, deviation)
    sys.stdout.write(f"parameter changes: largest deviation {worst:.1e} of steps of 5e-5\n")
