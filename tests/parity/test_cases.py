"""The whole model equals the published code on its end-to-end fixtures, weights under published names.

Tolerances are those of the fixtures' description: logits 3e-5, cost volumes 1.5e-6, intermediates 1e-5
of their standard deviation, final scores 1e-5.
"""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rskt_seg
from rskt_seg.models.cost_volumes.cost import cosine_cost, rotated_cost, rotated_features
from rskt_seg.models.cost_volumes.preprocess import prepare
from tests.parity.comparing import (
    check_logits,
    check_scores,
    cut,
    final_scores,
    published_gradient_norms,
    sliding_logits_and_scores,
)
from tests.parity.conftest import share_tensors
from tests.parity.fill import FIXTURES, fill, make_image, make_target

CASES = json.loads((FIXTURES / "index.json").read_text())["cases"]
FROM_TEXT = 4e-5
"""Bound in standard deviations for text embeddings and what follows from them: float64 is 1.3e-5
(text_embed) to 2.7e-5 (up2 of ViT-L) away from the stored float32 values. The logits are held to 3e-5."""
AFTER_TEXT = (
    "text_guidance",
    "conv1",
    "conv2",
    "fusion_corr",
    "fused_cost",
    "layer0.",
    "layer1.",
    "layer2.",
    "layer3.",
    "layer4.",
    "up1",
    "up2",
)
OTHERS = 2e-5
"""Bound for the rest. The description of the fixtures has 1e-5; of the processors that were tried one rounds
2 of 512 values of ViT-L's guidance_projection 1.2e-5 away, with the code of every commit alike."""
FUSIONS = {"simple_separate": "separate", "simple_concatenation": "concat", "simple_mean": "mean"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_random_start", "memory_returned")]
remembering = pytest.mark.usefixtures("encoders_remember")


def options_of(case: dict) -> tuple[str, dict]:
    """The published YAML and overrides as a model name and our options."""
    opts = {key.rsplit(".", 1)[-1]: value for key, value in case["opts"].items()}
    large = "vitl" in case["yaml"]
    options = {
        "num_layers": opts.get("NUM_LAYERS", 2 if large else 3),
        "rotations": opts.get("USE_ROTATE", True),
        "dino": opts.get("USE_REMOTE_DINO", True),
        "remote_clip": opts.get("USE_REMOTE_CLIP", True),
        "fusion": FUSIONS[opts.get("FUSION_TYPE", "simple_separate")],
    }
    if not opts.get("USE_EFFICIENT", True):
        pooling = opts.get("POOLING_SIZES", [2, 2])[0]
        options |= {
            "aggregator": "original",
            "pooling": pooling,
            "test_pooling": pooling,
            "attention": opts.get("ATTENTION_TYPE", "linear"),
        }
    return ("rskt_vitl14" if large else "rskt_vitb16"), options


def state_for(name: str, options: dict, filled_state) -> dict[str, torch.Tensor]:
    """The published state dict of a configuration: a manifest's, cut and refilled where a switch says so."""
    if name == "rskt_vitl14":
        return filled_state("vitl_L2_efficient")
    original = options.get("aggregator") == "original"
    state = dict(filled_state("vitb_L2_original" if original else "vitb_L5_efficient"))
    head = "sem_seg_head.predictor."
    absent = [rf"{re.escape(head)}transformer\.layers\.{n}\." for n in range(options["num_layers"], 5)]
    if not options["remote_clip"]:
        absent += [rf"{head}clip_model_remote\.", r"upsample\d_remote\.", r".*guidance_projection_remote\."]
    if not options["dino"]:
        absent += [r"dino_", r".*DINO_decoder_guidance_projection\."]
    separate = options["dino"] and options["fusion"] == "separate"
    if not separate:
        absent += [r".*transformer\.(conv2|fusion_corr)\."]
    state = {k: v for k, v in state.items() if not any(re.match(p, k) for p in absent)}
    maps = 4 if options["rotations"] else 1
    if options["dino"] and options["fusion"] == "concat":
        maps += 1
    if options["dino"] and options["fusion"] == "mean":
        maps = 1
    guides = options["dino"] + options["remote_clip"]
    shapes = {f"{head}transformer.conv1.weight": ((128, maps, 7, 7), 20.0)}
    for stage, (width, inputs) in enumerate(((64, (128, 160, 192)), (32, (64, 80, 96))), start=1):
        key = f"{head}transformer.Fusiondecoder{stage}.conv.double_conv.0.weight"
        shapes[key] = ((width, inputs[guides], 3, 3), 1.0)
    for key, (shape, gain) in shapes.items():
        if state[key].shape != shape:
            state[key] = fill(key, shape, "fan_in", gain)
    return state


@pytest.fixture
def build(filled_state):
    """Case -> a loaded model in evaluation mode."""

    def make(case: dict):
        name, options = options_of(case)
        state = state_for(name, options, filled_state)
        model = rskt_seg.create_model(name, **options)
        share_tensors(model, state)
        rskt_seg.load_checkpoint(model, state)
        return model.eval()

    return make


@remembering
@pytest.mark.parametrize("name", [n for n in CASES if "sliding" not in n and "train" not in n])
def test_logits_and_scores_equal_the_published_code(name, build):
    case = CASES[name]
    model = build(case)
    image = make_image(**case["image"])
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        output = model(image[None], case["classes"])
        check_logits(output.logits, arrays, 3e-5)
        check_scores(final_scores(model, output, *image.shape[1:]), arrays)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_inference_form_equals_the_published_code(precision, build):
    name = "vitb_L5_384_dlrsd"
    case = CASES[name]
    form = rskt_seg.optimize_for_inference(build(case), precision=precision, release=True)
    image = make_image(**case["image"])
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        output = form(image[None], case["classes"])
        if precision == "fp32":
            check_logits(output.logits, arrays, 3e-5)
            check_scores(final_scores(form, output, *image.shape[1:]), arrays)
        else:
            stored = {"logits": output.logits, "logits_sub2": output.logits[..., ::2, ::2]}
            (key,) = stored.keys() & set(arrays)
            expected = torch.from_numpy(arrays[key])
            assert (stored[key] - expected).norm() <= 1.5e-2 * expected.norm()


@remembering
def test_sliding_crops_and_scores_equal_the_published_code(build):
    name = "vitb_L2_sliding_cliponly"
    case = CASES[name]
    model = build(case)
    image = make_image(**case["image"])
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        logits, scores = sliding_logits_and_scores(model, image, case["classes"])
        check_logits(logits, arrays, 3e-5)
        check_scores(scores, arrays)


@remembering
def test_training_loss_and_gradients_equal_the_published_code(build, filled_state):
    """Backward image by image, which needs half the memory: the loss is the mean over equal images."""
    name = "vitb_L2_train_loss"
    case = CASES[name]
    model = build(case).train()
    for parameter in (*model.clip.parameters(), *model.dino.parameters()):
        parameter.requires_grad_(False)
    images = torch.stack([make_image(**image) for image in case["images"]])
    targets = torch.stack(
        [make_target(384, 384, 17, seed, case["targets"]["ignore"]) for seed in case["targets"]["seeds"]]
    )
    logits, loss = [], 0.0
    for image, target in zip(images, targets, strict=True):
        output = model(image[None], case["classes"])
        part = model.losses(output, target[None])["loss_sem_seg"] / len(images)
        part.backward()
        logits.append(output.logits.detach())
        loss += part.item()
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        sub4 = torch.from_numpy(arrays["logits_sub4"])
        torch.testing.assert_close(torch.cat(logits)[..., ::4, ::4], sub4, rtol=0, atol=3e-5)
        assert loss == pytest.approx(float(arrays["loss"]), rel=1e-6)
        actual = published_gradient_norms(model, state_for(*options_of(case), filled_state))
        assert set(actual) == set(arrays["grad_names"].tolist())
        for key, norm in zip(arrays["grad_names"].tolist(), arrays["grad_norms"], strict=True):
            if key.endswith(("attention.k.bias", "norm_k.bias")):  # exactly zero but for float noise
                assert actual[key] == pytest.approx(float(norm), abs=1e-8), key
            else:
                tolerance = 5e-3 if key.startswith("dino_down_sample") else 1e-4
                assert actual[key] == pytest.approx(float(norm), rel=tolerance), key
        total = sum(norm**2 for norm in actual.values()) ** 0.5
        assert total == pytest.approx(float(arrays["grad_total_nonencoder"]), rel=1e-4)


@remembering
@pytest.mark.parametrize("name", ["vitb_L5_384_dlrsd", "vitl_L2_384_dlrsd"])
def test_intermediates_equal_the_published_code(name, build):
    case = CASES[name]
    model = build(case)
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        expected = {key: torch.from_numpy(arrays[key]) for key in arrays if arrays[key].ndim}
        values = intermediates(model, make_image(**case["image"])[None], case["classes"], expected)
    assert set(values) == {k.removesuffix(".slice") for k in expected if k.endswith(".slice")}
    for key, value in values.items():
        std = float(expected[f"{key}.stats"][1])
        reference = expected[f"{key}.slice"]
        if key.startswith("layers"):
            reference = reference[1:]  # row 0 is the class token, which the package's maps leave out
        bound = FROM_TEXT if key.startswith(AFTER_TEXT) else OTHERS
        name_it = lambda message, key=key: f"{key}: {message}"  # noqa: E731
        torch.testing.assert_close(value, reference, rtol=0, atol=bound * std, msg=name_it)


def intermediates(model, images, classes, expected) -> dict[str, torch.Tensor]:
    """The forward pass in steps; checks text and cost volumes, returns the slices of everything else."""
    sets = model.encoders
    sides = {"clip": sets.clip_side, "remote_clip": sets.remote_side, "dino": sets.dino_side}
    squares = prepare(images, model.pixel_mean, model.pixel_std, sides, "published")
    text = model.embed_text(classes)
    atol = FROM_TEXT * float(text.std())
    torch.testing.assert_close(text[:, 0], expected["text_embed"], rtol=0, atol=atol)
    values = {}
    features, clip_maps = rotated_features(model.clip.visual, squares["clip"], 4, sets.clip_taps)
    for r, upright in enumerate(features):
        values[f"clip_dense_rot{r}"] = torch.rot90(upright, r, (2, 3))[0, :16, ::6, ::6]
    remote = model.remote_clip.tapped(squares["remote_clip"], sets.remote_taps)
    dino = model.dino(squares["dino"], sets.dino_taps)
    for j, (a, b, d) in enumerate(zip(sets.clip_taps, sets.remote_taps, sets.dino_taps[:2], strict=True)):
        for key, tap in ((f"layers{j}", clip_maps[a]), (f"layers_remote{j}", remote.taps[b])):
            values[key] = tap.flatten(2)[0].T[[0, 299, 575], :32]
        guides = (
            ("upsample{}", "clip", clip_maps[a]),
            ("upsample{}_remote", "remote_clip", remote.taps[b]),
        )
        for key, encoder, tap in (*guides, ("dino_decod_proj{}", "dino", dino.taps[d])):
            guide = model.guides[encoder][j]
            values[key.format(j + 1)] = cut(guide.side(tap))
            short = encoder.removesuffix("_clip")
            values[f"{short}_dec_proj{j}"] = cut(guide(tap))
    down = model.dino_to_text(dino.taps[sets.dino_taps[2]])
    values["dino_down_sample"] = cut(down)
    clip_cost, dino_cost = rotated_cost(features, text), cosine_cost(down, text)
    for key, cost in (("clip_corr", clip_cost), ("dino_corr", dino_cost)):
        torch.testing.assert_close(cost.transpose(1, 2), expected[key], rtol=0, atol=1.5e-6)
    return values | later_intermediates(
        model, features, clip_maps, dino, remote, text, (clip_cost, dino_cost)
    )


def later_intermediates(model, features, clip_maps, dino, remote, text, costs) -> dict[str, torch.Tensor]:
    """From the cost volumes to the last upsampling stage."""
    fusion, sets = model.cost.fusion, model.encoders
    clip, other = (cost.flatten(0, 1) for cost in costs)
    a, d = fusion.clip(clip), fusion.dino(other)
    values = {"conv1": cut(a), "conv2": cut(d)}
    values["fusion_corr"] = cut(fusion.both(torch.cat([a.sigmoid(), d.sigmoid()], dim=1)))
    image = F.relu(model.image_guidance(features[0]))
    words = F.relu(model.text_guidance(text[:, 0]))
    values |= {"guidance_projection": cut(image), "text_guidance_projection": words[None]}
    x = model.cost(*costs)
    values["fused_cost"] = cut(x.transpose(1, 2))
    for n, layer in enumerate(model.layers):
        spatial = layer.spatial(x[0], image.expand(x.shape[1], -1, -1, -1))
        x = layer.classes(spatial[None], words[None])
        values |= {f"layer{n}.set": cut(spatial), f"layer{n}.cet": cut(x[0])}
    taps = {
        "clip": [clip_maps[i] for i in sets.clip_taps],
        "remote_clip": [remote.taps[i] for i in sets.remote_taps],
        "dino": [dino.taps[i] for i in sets.dino_taps[:2]],
    }
    for j, (stage, maps) in enumerate(zip(model.decoder.stages, model.guide(taps), strict=True)):
        if j == 0:
            values["up1.up"] = cut(stage.up(x[0]))
        x = stage(x, stage.convolve_guidance(maps))
        values[f"up{j + 1}"] = cut(x[0])
    return values
