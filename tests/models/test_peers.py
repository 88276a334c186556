"""Laws of CAT-Seg, OVRS and GSNet, stated on the tiny encoders: the code path is that of the full models."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rskt_seg
from rskt_seg.errors import ConfigError
from rskt_seg.methods import method_of
from rskt_seg.models.cost_volumes.cost import rotated_cost, rotated_features
from rskt_seg.models.cost_volumes.model import REFUSED
from rskt_seg.models.cost_volumes.selection import nearest_classes, put_classes, take_classes
from rskt_seg.visualization import draw_cost_maps

PEERS = ("catseg", "ovrs", "gsnet")
LIMITED = ("catseg", "ovrs")
NAMES = ["water", "trees", "buildings", "road", "ship", "sand", "court"]
each_peer = pytest.mark.parametrize("name", PEERS)
each_limited = pytest.mark.parametrize("name", LIMITED)


def build(name, seed=0, **options):
    """A model whose every part matters: random weights with a little noise on the zero biases."""
    torch.manual_seed(seed)
    model = rskt_seg.create_model(f"{name}_tiny", **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def images(count=1, seed=0, height=64, width=64):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def logits(model, batch, names=NAMES, **kwargs):
    with torch.no_grad():
        return model(batch, names, **kwargs).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@each_peer
def test_logits_have_a_map_per_class_at_four_times_the_cost_grid(name):
    model = build(name)
    assert logits(model, images(2)).shape == (2, 7, 48, 48)
    assert model.grid_side == 12 and model.working_side == 96


@each_peer
def test_permuting_the_vocabulary_permutes_the_logits(name):
    model, order = build(name), [3, 0, 6, 4, 1, 5, 2]
    close(logits(model, images(), [NAMES[i] for i in order]), logits(model, images())[:, order])


@each_peer
def test_logits_do_not_depend_on_the_other_images_of_the_batch(name):
    model, batch = build(name), images(2)
    together = logits(model, batch)
    close(together[:1], logits(model, batch[:1]))
    close(together[1:], logits(model, batch[1:]))


@settings(max_examples=12)
@given(chunk=st.integers(1, 8), classes=st.integers(2, 7), name=st.sampled_from(PEERS))
def test_classes_in_chunks_of_any_size_equal_all_at_once(chunk, classes, name):
    """The scaled guides of OVRS are made from the mean of all classes, before these are cut into chunks."""
    whole, chunked = build(name, class_chunk=64), build(name, class_chunk=chunk)
    close(logits(chunked, images(), NAMES[:classes]), logits(whole, images(), NAMES[:classes]))


def test_gradients_of_classes_in_chunks_equal_those_of_all_at_once():
    whole, chunked = (build("ovrs", class_chunk=chunk).train() for chunk in (64, 2))
    for model in (whole, chunked):
        model(images(), NAMES).logits.square().mean().backward()
    for (key, a), (_, b) in zip(whole.named_parameters(), chunked.named_parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_the_scaled_guide_is_the_published_formula():
    model = build("ovrs", class_chunk=64)
    stage, scale = model.decoder.stages[0], model.decoder.scales[0]
    x, guide = torch.randn(2, 5, 32, 6, 6), torch.randn(2, 8, 12, 12)
    with torch.no_grad():
        mean = stage.up(x.flatten(0, 1)).unflatten(0, (2, 5)).mean(dim=1)
        c = scale.by_channel(mean.mean(dim=(2, 3), keepdim=True))
        s = scale.by_place(mean.mean(dim=1, keepdim=True))
        close(scale(guide, stage.up(x.mean(dim=1))), c * guide + s * guide + guide)


@pytest.mark.parametrize(
    ("peer", "options", "other", "others"),
    [
        ("catseg", {}, "ovrs", {"rotations": False, "scaled_guides": False}),
        ("catseg", {}, "rskt", {"rotations": False, "dino": False, "remote_clip": False}),
        ("gsnet", {}, "rskt", {"rotations": False, "remote_clip": False}),
        ("ovrs", {"scaled_guides": False}, "rskt", {"dino": False, "remote_clip": False}),
    ],
)
def test_what_the_methods_have_in_common_is_equal(peer, options, other, others):
    """As the published codes have it: RSKT-Seg's original aggregator without its other parts is its peer."""
    if other == "rskt":
        others = {**others, "aggregator": "original"}
    model, twin = build(peer, **options), build(other, 1, **others)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(logits(model, images()), logits(twin, images()))


def nearness(model, batch):
    """The greatest cosine of each class with any pixel in any rotation, (B, T)."""
    rotations = 4 if method_of(model).name == "ovrs" else 1
    with torch.no_grad():
        square = model.squares(batch, None)["clip"]
        features, _ = rotated_features(model.clip.visual, square, rotations, ())
        return rotated_cost(features, model.embed_text(NAMES)).flatten(2).amax(dim=2)


def differing_images(model, limit):
    """Two images whose nearest classes are not the same."""
    candidates = torch.cat([images(12), 255 * (images(12, 1) > 128).float(), torch.zeros(1, 3, 64, 64)])
    kept = nearness(model, candidates).topk(limit, dim=1).indices.sort(dim=1).values
    other = next(i for i in range(len(kept)) if not torch.equal(kept[i], kept[0]))
    return candidates[[0, other]], kept[[0, other]]


@each_limited
def test_every_image_has_its_own_nearest_classes_and_the_others_score_nothing(name):
    model, free = build(name, class_limit=3), build(name, class_limit=0)
    batch, kept = differing_images(model, 3)
    found = logits(model, batch)
    for image, own, maps in zip(batch, kept, found, strict=True):
        refused = [i for i in range(len(NAMES)) if i not in own.tolist()]
        assert torch.equal(maps[refused], torch.full((4, 48, 48), REFUSED))
        # What is kept is decoded as if nothing else had been asked for.
        close(maps[own], logits(free, image[None], [NAMES[i] for i in own])[0])
    assert float(found.sigmoid()[found == REFUSED].max()) < 1e-40


@each_limited
def test_a_vocabulary_as_long_as_the_limit_is_decoded_whole(name):
    assert torch.equal(
        logits(build(name, class_limit=7), images()), logits(build(name, class_limit=0), images())
    )


@each_limited
def test_a_segmenter_says_that_some_names_are_not_decoded(name):
    said = [
        rskt_seg.Segmenter(build(name, class_limit=limit), NAMES).predict(np.zeros((64, 64, 3), np.uint8))
        for limit in (3, 7)
    ]
    assert [any("of 7 names the model decodes the 3" in line for line in each.notices) for each in said] == [
        True,
        False,
    ]


def test_gsnet_has_no_limit():
    assert "class_limit" not in {field.name for field in fields(build("gsnet").spec)}


@each_limited
def test_a_refused_class_that_is_present_costs_100_a_pixel_and_teaches_nothing(name):
    model = build(name, class_limit=3).train()
    kept = nearness(model, images()).topk(3, dim=1).indices[0].tolist()
    refused = next(i for i in range(len(NAMES)) if i not in kept)
    target = torch.full((1, 64, 64), 255)
    costs, gradients = [], []
    for label in (255, refused):
        target[:, :16] = label
        model.zero_grad()
        loss = model.losses(model(images(), NAMES), target)["loss_sem_seg"]
        loss.backward()
        costs.append(loss.item())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    # A quarter of the pixels, one of seven class maps.
    assert costs[1] - costs[0] == pytest.approx(100 / 4 / 7, rel=1e-5)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@each_limited
def test_cost_maps_show_all_cosines_and_the_embedding_of_the_kept_classes(name):
    model = build(name, class_limit=3)
    with torch.no_grad():
        maps = model(images(), NAMES, return_cost_maps=True).cost_maps
    assert torch.isfinite(maps["clip"]).all() and maps["clip"].shape == (1, 7, 12, 12)
    kept = nearness(model, images()).topk(3, dim=1).indices[0].sort().values
    assert torch.equal(torch.isfinite(maps["aggregated"][0]).flatten(1).all(dim=1).nonzero()[:, 0], kept)
    picture = draw_cost_maps(np.zeros((64, 64, 3), np.uint8), {"Fused": maps["aggregated"][0].numpy()}, NAMES)
    assert np.ptp(picture) > 0


@settings(max_examples=50)
@given(data=st.data(), classes=st.integers(1, 9), batch=st.integers(1, 3))
def test_taking_and_putting_classes_are_inverse(data, classes, batch):
    limit = data.draw(st.integers(1, classes))
    cost = torch.randn(batch, classes, 2, 3, 3, generator=torch.Generator().manual_seed(classes))
    kept = nearest_classes(cost, limit)
    whole = put_classes(take_classes(cost, kept), kept, classes, -100.0)
    for i in range(batch):
        for k in range(classes):
            expected = cost[i, k] if k in kept[i] else torch.full((2, 3, 3), -100.0)
            assert torch.equal(whole[i, k], expected)
    assert torch.equal(kept, kept.sort(dim=1).values)


@each_peer
def test_pooling_is_that_of_the_mode_and_leaves_no_trace_in_the_weights(name):
    published, both = build(name), build(name, test_pooling=2)
    assert published.state_dict().keys() == both.state_dict().keys()
    assert not torch.allclose(logits(published, images()), logits(both, images()), atol=1e-4)
    close(logits(published.train(), images()), logits(both.train(), images()))
    close(logits(both.eval(), images()), logits(both.train(), images()))
    other = build(name, pooling=3, test_pooling=2).eval()
    close(logits(other, images()), logits(both.eval(), images()))


@each_peer
def test_a_checkpoint_loads_into_a_model_of_another_pooling_and_of_no_other_attention(name, tmp_path):
    from dataclasses import asdict

    trained = build(name)
    torch.save({"model": trained.state_dict(), "options": asdict(trained.spec)}, tmp_path / "w.pth")
    rskt_seg.load_checkpoint(build(name, 1, test_pooling=2, padding="aligned"), tmp_path / "w.pth")
    with pytest.raises(rskt_seg.errors.CheckpointError, match=r"attention='linear' \(this model: 'full'\)"):
        rskt_seg.load_checkpoint(build(name, 1, attention="full"), tmp_path / "w.pth")
    loaded = rskt_seg.load(tmp_path / "w.pth").model
    assert method_of(loaded).name == name
    assert torch.equal(logits(loaded, images()), logits(trained, images()))


@each_peer
def test_a_finite_loss_reaches_every_trainable_parameter_and_no_frozen_one(name):
    model = build(name).train()
    loss = model.losses(model(images(2), NAMES), torch.randint(0, 7, (2, 80, 80)))["loss_sem_seg"]
    loss.backward()
    assert torch.isfinite(loss)
    # The dense last block uses values alone, so its query matrix trains by the published rule but is unused.
    last = len(model.clip.visual.transformer.resblocks) - 1
    unused = {f"clip.visual.transformer.resblocks.{last}.attn.q_proj_weight"}
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (parameter.requires_grad and key not in unused), key


CHANGES = {
    "num_layers": 1,
    "hidden_dim": 64,
    "pooling": 3,
    "test_pooling": 3,
    "window": 6,
    "attention": "full",
    "window_heads": 2,
    "padding": "aligned",
    "templates": ("a satellite photo of a {}", "an aerial image of a {}"),
    "loss": "cross_entropy",
    "mask_ignored": True,
    "clip_finetune": "full",
    "class_limit": 3,
    "rotations": False,
    "scaled_guides": False,
    "dino_finetune": "attention",
}
UNSEEN = ("encoder", "class_chunk")


def observe(model):
    """Everything an option can change: parameter shapes, what trains, the output in both modes, the loss."""
    shapes = {key: (tuple(p.shape), p.requires_grad) for key, p in model.named_parameters()}
    target = torch.zeros(1, 70, 90, dtype=torch.long)
    target[:, :30] = 255
    with torch.no_grad():
        output = model(images(1, 3, 70, 90), NAMES)
        trained = model.train()(images(1, 3, 70, 90), NAMES)
        return shapes, output.logits, trained.logits, model.losses(output, target)["loss_sem_seg"]


@each_peer
def test_the_list_of_options_is_complete(name):
    own = {field.name for field in fields(build(name).spec)}
    assert own <= {*CHANGES, *UNSEEN}
    assert {option for peer in PEERS for option in method_of(build(peer)).options} == {*CHANGES, *UNSEEN}


@each_peer
def test_every_option_changes_parameters_or_output(name):
    before = observe(build(name))
    for option in method_of(build(name)).options:
        if option in UNSEEN:
            continue
        after = observe(build(name, **{option: CHANGES[option]}))
        same = before[0] == after[0] and all(
            torch.allclose(a, b, atol=1e-6) for a, b in zip(before[1:], after[1:], strict=True)
        )
        assert not same, option


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 5}, "window=5 must divide the 12 x 12 grid"),
        ({"test_pooling": 13}, "test_pooling=13 exceeds the 12 x 12 grid"),
        ({"class_limit": -1}, "class_limit must be at least 0"),
        ({"window_heads": 5}, "window_heads=5 must divide hidden_dim=32"),
        ({"hidden_dim": 100}, "32 or a multiple of 64; found 100"),
        ({"clip_finetune": "freezeIMG"}, "clip_finetune must be one of attention, full, frozen"),
        ({"dino": True}, "no option 'dino'"),
        ({"templates": ("a photo",)}, "exactly one"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        rskt_seg.create_model("catseg_tiny", **options)
