"""BiCoR-Seg equals the published code on its fixtures, weights under published names.

Tolerances are those of the fixtures' description: logits and heatmap logits 2e-5, features 5e-5, class
embeddings 5e-6, gradients 1e-5 + 1e-5 |g|; two pixels of a label map may differ.
"""

import json
import re
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rskt_seg
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.inference.views import VIEWS, average_views
from rskt_seg.losses.dice import dice_loss
from rskt_seg.losses.pixel import one_hot_cross_entropy
from rskt_seg.losses.separation import fisher_loss
from rskt_seg.methods.bicor.checkpoint import rules_for
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.models.bicor import BiCoR, BiCoRSpec, synergy
from rskt_seg.models.bicor.decoder import Decoder, upsample_cells
from tests.parity.fill import fill

FIXTURES = Path(__file__).parent / "bicor"
INDEX = json.loads((FIXTURES / "index.json").read_text())
ISPRS = {"num_classes": 6, "topk_ratio": 1.0, "final_fisher_weight": 0.0}
CONFIGS = {"loveda": {"num_classes": 7}, "vaihingen": ISPRS, "potsdam": {**ISPRS, "num_layers": 3}}
LOGITS, FEATURES, EMBEDDINGS = 2e-5, 5e-5, 5e-6


def arrays(name):
    with np.load(FIXTURES / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored if stored[key].dtype.kind != "U"}


filled = lru_cache(maxsize=None)(fill)  # most tensors are those of all configurations


def published_state(manifest):
    """The filled state dict of a manifest, under the names it lists."""
    entries = json.loads((FIXTURES / "manifest.json").read_text())[manifest]
    return {key: filled(key, tuple(entry["shape"]), entry["rule"]) for key, entry in entries.items()}


@lru_cache(maxsize=1)
def build(config):
    """The model of a published configuration, loaded from a Lightning checkpoint in memory."""
    model = BiCoR(BiCoRSpec(**CONFIGS[config])).eval()
    state = {f"net.{key}": value for key, value in published_state(config).items()}
    report = rskt_seg.load_checkpoint(model, {"epoch": 3, "state_dict": state})
    assert len(report.converted) == len(state) and not report.dropped
    return model


def image(seed, height, width):
    """The fixture's image: blocks of 8 x 8 px and noise, (1, 3, H, W) uint8."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.integers(0, 256, size=(-(-height // 8), -(-width // 8), 3))
    noise = rng.integers(-16, 17, size=(height, width, 3))
    pixels = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width] + noise
    return torch.from_numpy(np.clip(pixels, 0, 255).astype(np.uint8)).permute(2, 0, 1)[None]


def close(actual, expected, atol, name=""):
    deviation = float((actual - expected).abs().max())
    sys.stdout.write(f"{name}: largest deviation {deviation:.2e} of {atol:.0e}\n")
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, msg=lambda m: f"{name}: {m}")


def statistics(maps):
    """Rows mean, std, min, max over H and W: (4, B, K)."""
    flat = maps.flatten(2)
    return torch.stack([flat.mean(2), flat.std(2), flat.amin(2), flat.amax(2)])


def observed(model, images):
    """A forward pass, and what its parts return on the way."""
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    parts = {"stages": model.convnext, "F0": model.aggregation}
    parts |= {f"layer{i}": layer for i, layer in enumerate(model.decoder.layers)}
    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        with torch.no_grad():
            return model(images), seen
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e2e_vaihingen_nonsquare", "e2e_potsdam_nonsquare", "e2e_loveda_512"])
def test_every_step_of_the_forward_pass_equals_the_published_code(name):
    case, expected = INDEX[name], arrays(name)
    model = build(case["config"])
    output, seen = observed(model, image(case["image_seed"], case["h"], case["w"]))
    step, cell, channel = case["logits_stride"], case["feat_stride"], case["feat_channel_stride"]

    assert list(output.logits.shape) == expected["logits_shape"].tolist()
    close(output.logits[..., ::step, ::step], expected["logits"], LOGITS, "logits")
    close(statistics(output.logits), expected["logits_stats"], LOGITS, "logits_stats")
    assert int((output.logits.argmax(dim=1) != expected["argmax"]).sum()) <= 2
    for stage, maps in seen["stages"].taps.items():
        close(maps.mean(dim=(2, 3)), expected[f"stage_{stage}_chan_mean"], FEATURES, f"stage {stage} means")
        close(maps[..., 0, 0], expected[f"stage_{stage}_corner"], FEATURES, f"stage {stage} corner")
    close(seen["F0"][:, ::channel, ::cell, ::cell], expected["F0"], FEATURES, "F0")
    close(seen["F0"].mean(dim=(2, 3)), expected["F0_chan_mean"], FEATURES, "F0 means")
    for number, (heat, embedding) in enumerate(zip(output.heatmaps, output.class_embeddings, strict=True)):
        close(heat[..., ::cell, ::cell], expected[f"heat_logits_{number}"], LOGITS, f"heat {number}")
        close(statistics(heat), expected[f"heat_logits_{number}_stats"], LOGITS, f"heat {number} stats")
        close(embedding, expected[f"class_embed_{number}"], EMBEDDINGS, f"embeddings {number}")
        pixels = seen[f"layer{number}"][1].transpose(1, 2).unflatten(2, heat.shape[2:])
        close(
            pixels[:, ::channel, ::cell, ::cell], expected[f"feat_{number}"], FEATURES, f"features {number}"
        )
    with torch.no_grad():
        up = model.decoder.head.upsample(pixels)
    close(up[..., ::step, ::step], expected["up"], FEATURES, "upsampled features")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tta_loveda_lr", "tta_loveda_d4"])
def test_logits_averaged_over_views_equal_the_published_code(name):
    case, expected = INDEX[name], arrays(name)
    model = build(case["config"])
    images, views = image(case["image_seed"], case["h"], case["w"]), VIEWS[case["mode"]]
    assert len(views) == case["passes"]
    with torch.inference_mode():
        logits = average_views(lambda view: model(view).logits, images, views)
        close(model(images).logits[..., ::4, ::4], expected["plain_logits"], LOGITS, "plain logits")
    close(logits, expected["logits"], LOGITS, "averaged logits")
    assert int((logits.argmax(dim=1) != expected["argmax"]).sum()) <= 2


def published_names(model, state):
    """Own parameter name -> published key, found through the loading rules themselves."""
    report = LoadReport("names")
    convert({key: torch.empty(1, 1) for key in state}, rules_for(model), report)
    return {own: published for published, (own,) in report.converted.items()}


def with_published_ignore(target, classes):
    """Published labels ignore the value N, ours 255."""
    return target.long().masked_fill(target == classes, 255)


@pytest.mark.slow
def test_training_objective_and_gradients_equal_the_published_code():
    case, expected = INDEX["train_loveda"], arrays("train_loveda")
    model = build("loveda").train()
    model.convnext.eval()
    images = torch.cat([image(seed, case["h"], case["w"]) for seed in case["image_seeds"]])
    target = with_published_ignore(expected["target"], 7)
    try:
        output = model(images)
        losses = model.losses(output, target)
        names = list(dict(model.named_parameters()))
        gradients = dict(
            zip(names, torch.autograd.grad(sum(losses.values()), model.parameters()), strict=True)
        )
    finally:
        model.eval()
    for key, actual in {"seg": output.logits, "aux": output.auxiliary}.items():
        close(actual.detach()[..., ::4, ::4], expected[key], LOGITS, key)
    for number in range(2):
        heat = output.heatmaps[number].detach()
        close(heat[..., ::2, ::2], expected[f"heat_logits_{number}"], LOGITS, f"heat {number}")
        embedding = output.class_embeddings[number].detach()
        close(embedding, expected[f"class_embed_{number}"], EMBEDDINGS, f"embeddings {number}")
        check_heat_parts(output.heatmaps[number], target, expected, number)
    check_totals({key: loss.detach() for key, loss in losses.items()}, expected)
    check_gradients(gradients, published_names(model, published_state("loveda")), expected)


def check_heat_parts(heat, target, expected, number):
    resized = upsample_cells(heat.detach())
    cross_entropy = one_hot_cross_entropy(resized, target, label_smoothing=0.05)
    close(cross_entropy.double(), expected[f"loss_heat_{number}_ce"], 2e-6, f"cross-entropy of heat {number}")
    dice = dice_loss(resized, target)
    close(dice.double(), expected[f"loss_heat_{number}_dice"], 2e-6, f"Dice of heat {number}")
    close((cross_entropy + dice).double(), expected[f"loss_heat_{number}"], 4e-6, f"heat {number}")


def check_totals(losses, expected):
    """Our terms carry their weights; the fixture's do not."""
    stored = {key.removeprefix("loss_"): float(expected[key]) for key in expected if key.startswith("loss_")}
    weighted = {
        "loss_ce": stored["main_ce"],
        "loss_dice": stored["main_dice"],
        "loss_aux": 0.4 * stored["aux_ce"],
        "loss_heat": 0.1 * stored["heat_sum"],
        "loss_fisher": 0.1 * stored["fisher_sum"],
        "loss_final_fisher": stored["fisher_final"],
    }
    assert {key: float(loss) for key, loss in losses.items()} == pytest.approx(weighted, rel=2e-6)
    assert stored["heat_sum"] == pytest.approx(stored["heat_0"] + stored["heat_1"], rel=1e-6)
    assert stored["fisher_sum"] == pytest.approx(stored["fisher_0"] + stored["fisher_1"], rel=1e-6)
    assert stored["main_plus_aux"] == pytest.approx(
        sum(weighted[key] for key in ("loss_ce", "loss_dice", "loss_aux")), rel=1e-6
    )
    assert float(sum(losses.values())) == pytest.approx(stored["total"], rel=2e-6)


def check_gradients(gradients, names, expected):
    table = gradients["decoder.class_embeddings"]
    torch.testing.assert_close(table, expected["grad_class_embed"], rtol=1e-5, atol=1e-5)
    with np.load(FIXTURES / "train_loveda.npz") as stored:
        norms = dict(zip(stored["grad_norm_keys"].tolist(), stored["grad_norm"].tolist(), strict=True))
    actual = {names[own]: float(gradient.double().norm()) for own, gradient in gradients.items()}
    worst = max(abs(actual[key] / norm - 1) for key, norm in norms.items())
    sys.stdout.write(f"largest relative deviation of {len(norms)} gradient norms: {worst:.1e}\n")
    assert {key: actual[key] for key in norms} == pytest.approx(norms, rel=1e-4)


HBIS_OPTIONS = {
    "select_mode": "pooling",
    "topk_ratio": "topk_ratio",
    "min_pixels": "min_pixels",
    "thresh": "threshold",
    "percentile": "percentile",
    "inner_steps": "inner_steps",
    "tau": "temperature",
    "lambda_film": "film_weight",
}


def hbis_spec(case):
    """The published arguments of a layer as our options."""
    options = {HBIS_OPTIONS[key]: value for key, value in case.items() if key in HBIS_OPTIONS}
    if case.get("use_percentile"):
        options["pooling"] = "percentile"
    if options["pooling"] == "none":
        options["pooling"] = "all"
    if options.get("topk_ratio") == 1:
        del options["min_pixels"]
    return BiCoRSpec(num_classes=case["N"], **options)


def renamed(state, prefix, own_prefix):
    """A part of a published state dict under its names in the module at `own_prefix`."""
    rules = rules_for(nn.ModuleDict({"head": nn.ModuleDict({"auxiliary": nn.Linear(1, 1)})}))
    own = convert({f"{prefix}{key}": value for key, value in state.items()}, rules, LoadReport("unit"))
    return {key.removeprefix(own_prefix): value for key, value in own.items()}


def part(stored, name):
    return {
        key.removeprefix(f"{name}/"): value for key, value in stored.items() if key.startswith(f"{name}/")
    }


@pytest.mark.parametrize("name", INDEX["unit_hbis"]["cases"])
def test_a_layer_and_its_gradients_equal_the_published_one(name, monkeypatch):
    case, stored = INDEX["unit_hbis"]["cases"][name], part(arrays("unit_hbis"), name)
    layer = synergy.HBIS(hbis_spec(case), case["Cf"], case["Cd"])
    names = ("decoder.bicor_stack.layers.0.", "decoder.layers.0.")
    layer.load_state_dict(renamed(part(stored, "param"), *names), strict=True)
    pooled, compute = [], synergy.pool_weights
    monkeypatch.setattr(synergy, "pool_weights", lambda *args: pooled.append(compute(*args)) or pooled[-1])
    classes, features = stored["CE_in"].requires_grad_(), stored["F_in"].requires_grad_()
    out, pixels, heat = layer(classes, features.flatten(2).transpose(1, 2))
    pixels = pixels.transpose(1, 2).reshape(features.shape)
    heat = heat.reshape(stored["H_logits"].shape)

    close(out.detach(), stored["CE_out"], EMBEDDINGS, "CE_out")
    close(pixels.detach(), stored["F_out"], EMBEDDINGS, "F_out")
    close(heat.detach(), stored["H_logits"], EMBEDDINGS, "H_logits")
    close(pooled[-1], stored["pool_weights_last_step"], 1e-6, "pooling weights")
    assert (pooled[-1] > 0).sum(dim=2).flatten().tolist() == case["nonzero_weights"]
    probed = sum((x * stored[f"probe_{key}"]).sum() for key, x in (("CE", out), ("F", pixels), ("H", heat)))
    probed.backward()
    gradients = {"grad_CE": classes.grad, "grad_F": features.grad}
    expected = {key: stored[key] for key in gradients} | renamed(part(stored, "param_grad"), *names)
    gradients |= {key: parameter.grad for key, parameter in layer.named_parameters()}
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        # Scores of -42 leave float32 few digits there: float64 is up to 3.2e-5 away from what is stored.
        atol = 5e-5 if name == "fallback" and "norm" in key else 1e-5
        torch.testing.assert_close(
            gradient, expected[key], rtol=1e-5, atol=atol, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_a_whole_decoder_equals_the_published_one():
    stored = arrays("unit_decoder")
    spec = BiCoRSpec(num_classes=3, width=32, num_layers=1, topk_ratio=0.1, min_pixels=4)
    decoder = Decoder(spec)
    state = published_state("unit_decoder_w32_n3_l1")
    decoder.load_state_dict(renamed(state, "decoder.", "decoder."), strict=True)
    features = stored["x"]
    with torch.inference_mode():
        refined = decoder.refine(features)
        logits = decoder.head(refined.features, refined.class_embeddings[-1])
        close(decoder.head.upsample(features), stored["up"], EMBEDDINGS, "up")
        close(decoder.auxiliary_logits(features), stored["aux"], EMBEDDINGS, "aux")
    close(logits, stored["eval_logits"], EMBEDDINGS, "eval logits")
    close(logits, stored["seg"], EMBEDDINGS, "seg")
    close(refined.heatmaps[0], stored["H0"], EMBEDDINGS, "H0")
    close(refined.class_embeddings[0], stored["CE0"], EMBEDDINGS, "CE0")
    close(fisher_loss(refined.class_embeddings[0]).double(), stored["fisher"], EMBEDDINGS, "fisher")


@pytest.mark.parametrize("name", ["mixed", "absent", "allignored", "noignore"])
def test_pixel_losses_and_gradients_equal_the_published_ones(name):
    stored = part(arrays("unit_losses_metrics"), "seg")
    target = with_published_ignore(stored[f"{name}/target"], 5)
    logits = stored["logits"].clone().requires_grad_()
    cross_entropy = one_hot_cross_entropy(logits, target, label_smoothing=0.05)
    dice = dice_loss(logits, target)
    close(cross_entropy.detach().double(), stored[f"{name}/ce"], 1e-6, "cross-entropy")
    close(dice.detach().double(), stored[f"{name}/dice"], 1e-6, "Dice")
    main = cross_entropy + dice
    close(main.detach().double(), stored[f"{name}/main"], 1e-6, "both")
    main.backward()
    close(logits.grad, stored[f"{name}/grad"], 1e-6, "gradient")
    if name == "mixed":
        auxiliary = one_hot_cross_entropy(stored["aux_logits"], target, label_smoothing=0.05)
        total = (main + 0.4 * auxiliary).detach().double()
        close(total, stored["mixed/main_plus_0.4aux"], 2e-6, "with the auxiliary head")


@pytest.mark.parametrize("name", ["b4", "b2", "b1", "clamp"])
def test_the_fisher_loss_and_its_gradient_equal_the_published_ones(name):
    stored = part(arrays("unit_losses_metrics"), f"fisher/{name}")
    embeddings = stored["x"].requires_grad_()
    loss = fisher_loss(embeddings)
    for key in ("loss", "loss_model_fn"):
        torch.testing.assert_close(loss.detach().double(), stored[key], rtol=2e-6, atol=1e-7)
    loss.backward()
    torch.testing.assert_close(embeddings.grad, stored["grad"], rtol=1e-5, atol=1e-5)
    paper = fisher_loss(embeddings.detach().double(), between="center")
    torch.testing.assert_close(paper, stored["paper_ratio"], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["plain", "absent", "neverpred"])
def test_scores_equal_the_published_ones_but_for_classes_that_the_published_rule_drops(name):
    """A class that is labelled and never hit has F1 0 here, and counts; published it is NaN and drops out of
    the mean. A class that is never labelled is NaN in either, unless it is predicted: then its published IoU
    is 0."""
    stored = part(arrays("unit_losses_metrics"), f"metric/{name}")
    matrix = ConfusionMatrix(6, ignore=6)
    matrix.update(stored["pred"].numpy(), stored["gt"].numpy())
    confusion = stored["confusion"].numpy()
    np.testing.assert_array_equal(matrix.counts[:-1].T, confusion)  # published: rows are the truth
    scores = matrix.scores()
    labelled, hit = confusion.sum(axis=1) > 0, np.diagonal(confusion) > 0
    iou, f1 = stored["iou"].numpy(), stored["f1"].numpy()
    np.testing.assert_allclose(scores.IoU[labelled], 100 * iou[labelled], rtol=1e-12)
    np.testing.assert_allclose(scores.F1[labelled & hit], 100 * f1[labelled & hit], rtol=1e-12)
    assert np.isnan(f1[labelled & ~hit]).all() and (scores.F1[labelled & ~hit] == 0).all()
    assert (name == "neverpred") == bool((labelled & ~hit).any())
    assert scores.pACC == pytest.approx(100 * float(stored["oa"]), rel=1e-9)
    assert scores.mIoU == pytest.approx(100 * float(stored["miou_all"]), rel=1e-9)
    assert np.nanmean(scores.IoU[:5]) == pytest.approx(100 * float(stored["miou_first5"]), rel=1e-9)
    assert 100 * np.nanmean(f1[:5]) == pytest.approx(100 * float(stored["mf1_first5"]), rel=1e-9)


def test_every_published_key_has_one_name_in_the_model():
    for config, options in CONFIGS.items():
        with torch.device("meta"):
            model = BiCoR(BiCoRSpec(**options))
        keys = json.loads((FIXTURES / "manifest.json").read_text())[config]
        own, state = published_names(model, keys), model.state_dict()
        assert own.keys() == state.keys()
        for name, published in own.items():
            shape = keys[published]["shape"]
            matrix = re.search(r"feat_to_dict|feature_aggregator", published)
            assert list(state[name].shape) == (shape[:2] if matrix else shape)
