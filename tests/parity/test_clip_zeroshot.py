"""CLIP zero-shot equals the published SegEarth-OV without its upsampler on its end-to-end fixtures.

Bounds are those of the fixtures' description: embeddings of names and of the first window 1e-6, logits 1e-6,
scores 1e-5, and labels wherever more than float noise decides.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rskt_seg
from rskt_seg.encoders.last_block import embed_patches
from rskt_seg.inference.predict import resized_scores
from tests.parity.fill import fill, make_image

FIXTURES = Path(__file__).parent / "peers"
CASES = {
    name: case
    for name, case in json.loads((FIXTURES / "index.json").read_text())["cases"].items()
    if case["method"] == "segearth"
}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_random_start", "memory_returned")]


@pytest.fixture(scope="module")
def clip_state():
    """The filled weights under OpenAI's names, rounded through float16."""
    entries = json.loads((FIXTURES / "manifest_segearth_vitb.json").read_text())["state_dict"]
    return {
        key: fill(key, tuple(entry["shape"]), entry["rule"], entry.get("gain", 1.0)).half().float()
        for key, entry in entries.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_names_windows_logits_scores_and_labels_equal_the_published_code(name, clip_state):
    case = CASES[name]
    options = {
        "global_bias": case["bias_lambda"],
        "threshold": case["threshold"],
        "scale": case["scale"],
        "window": case["window"],
        "stride": case["stride"],
    }
    model = rskt_seg.create_model("clip_zeroshot_vitb16", **options)
    rskt_seg.load_encoder(model, "clip", clip_state)
    image = make_image(**case["image"])[None]
    vocabulary = [", ".join(names) for names in case["queries"]]
    with torch.inference_mode(), np.load(FIXTURES / f"{name}.npz") as arrays:
        text = model.embed_text([query for names in case["queries"] for query in names])
        check("queries", text, arrays["queries"], 1e-6)
        check_window(model, model.resize(image), arrays)
        output = model(image, vocabulary)
        size = tuple(case["output_size"])
        logits = F.interpolate(output.logits, size, mode="bilinear", align_corners=False)[0]
        check("logits", logits[:, ::8, ::8], arrays["logits_sub8"], 1e-6)
        check("statistics of the logits", stats(logits), arrays["logits_stats"], 1e-6)
        scores = resized_scores(model, output, size)
        check_scores(scores, case, arrays)


def check_window(model, images, arrays):
    side = model.spec.window
    crop = images[:, :, :side, :side]
    rows = -crop.shape[2] % model.cell
    whole, patches = embed_patches(
        model.clip.visual, F.pad(crop, (0, 0, rows // 2, rows - rows // 2)), model.spec.last_block
    )
    if "window0_class" in arrays:
        check("class token", F.normalize(whole[0], dim=0), arrays["window0_class"], 1e-6)
    patches = F.normalize(patches[0].flatten(1).T, dim=1)
    check("patches", patches[::7, :32], arrays["window0_patches.slice"], 1e-6)
    check("statistics of the patches", stats(patches), arrays["window0_patches.stats"], 1e-6)


def check_scores(scores, case, arrays):
    """Compare class scores and labels; the threshold raises the score of the background where it decides."""
    threshold, background = case["threshold"], case["background"]
    expected = torch.from_numpy(arrays["sem_seg_sub8"])
    assert scores.shape == tuple(arrays["sem_seg_shape"])
    low = expected.amax(dim=0) < threshold + 1e-5
    others = [k for k in range(len(expected)) if k != background]
    sampled = scores[:, ::8, ::8]
    torch.testing.assert_close(sampled[others], expected[others], rtol=0, atol=1e-5)
    torch.testing.assert_close(sampled[background][~low], expected[background][~low], rtol=0, atol=1e-5)
    first, second = scores.topk(2, dim=0).values
    raised = first == torch.tensor(threshold)
    clear = (first - second > 1e-5) & ((first - threshold > 1e-5) | raised)
    labels = torch.from_numpy(arrays["labels"]).long()
    assert clear.float().mean() > 0.999 and (not threshold or 0.4 < raised.float().mean() < 0.6)
    assert torch.equal(scores.argmax(dim=0)[clear], labels[clear])


def stats(x):
    """Mean, population standard deviation, mean magnitude, least and greatest."""
    return torch.stack([x.mean(), x.std(correction=0), x.abs().mean(), x.min(), x.max()]).double()


def check(what, actual, expected, bound):
    deviation = float((actual - torch.from_numpy(expected)).abs().max())
    assert deviation <= bound, f"{what}: {deviation:.2e} off"
