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
from rskt_seg.models.rskt.cost import rotated_cost, rotated_features
from rskt_seg.models.rskt.preprocess import prepare
from tests.parity.fill import FIXTURES, fill, make_image, make_target

CASES = json.loads((FIXTURES / "index.json").read_text())["cases"]
FUSIONS = {"simple_separate": "separate", "simple_concatenation": "concat", "simple_mean": "mean"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_random_start")]


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
        options |= {"aggregator": "original", "pooling": pooling, "attention": opts.get("ATTENTION_TYPE", "linear")}
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
    """Case name -> a loaded model in evaluation mode."""

    def make(case: dict):
        name, options = options_of(case)
        model = rskt_seg.create_model(name, **options)
        rskt_seg.load_checkpoint(model, state_for(name, options, filled_state))
        return model.eval()

    return make


def final_scores(model, output, height, width):
    """The published end of evaluation: scores at 96 x 96, cut, resized to the image."""
    scores = model.scores(output)[:, :, :height, :width]
    return F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)[0]


def check_logits(logits, arrays):
    if "logits" in arrays:
        expected, actual = arrays["logits"], logits
    else:
        expected, actual = arrays["logits_sub2"], logits[..., ::2, ::2]
    deviation = float((actual - torch.from_numpy(expected)).abs().max())
    print(f"largest deviation of the logits: {deviation:.2e}")
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=3e-5)
    stats = np.array([logits.mean(), logits.std(correction=0), logits.abs().mean(), logits.min(), logits.max()])
    np.testing.assert_allclose(stats, arrays["logits_stats"], atol=3e-5)


def check_scores(scores, arrays):
    expected = torch.from_numpy(arrays["sem_seg_sub16"])
    torch.testing.assert_close(scores[:, ::16, ::16], expected, rtol=0, atol=1e-5)
    best, second = scores.topk(2, dim=0).values
    certain = best - second > 1e-5
    labels = torch.from_numpy(arrays["sem_seg_argmax"]).long()
    assert torch.equal(scores.argmax(dim=0)[certain], labels[certain])


@pytest.mark.parametrize("name", [n for n in CASES if "sliding" not in n and "train" not in n])
def test_logits_and_scores_equal_the_published_code(name, build):
    case = CASES[name]
    model = build(case)
    image = make_image(**case["image"])
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        output = model(image[None], case["classes"])
        check_logits(output.logits, arrays)
        check_scores(final_scores(model, output, *image.shape[1:]), arrays)
