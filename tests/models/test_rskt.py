"""Laws of the RSKT-Seg model, stated on the tiny encoders: the code path is that of the full models."""

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F

import rskt_seg
from rskt_seg.errors import ConfigError, LabelError, VocabularyError
from rskt_seg.models.cost_volumes.cost import rotated_cost, rotated_features
from rskt_seg.models.rskt import RSKTSpec

NAMES = ["water", "trees", "buildings", "road", "ship"]


def build(seed=0, **options):
    """A model whose every part matters: random weights with a little noise on the zero biases."""
    torch.manual_seed(seed)
    model = rskt_seg.create_model("rskt_tiny", **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def image(seed=0, height=64, width=64):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.fixture(scope="module")
def model():
    return build()


def logits(model, images, names=NAMES, **kwargs):
    with torch.no_grad():
        return model(images, names, **kwargs).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_logits_have_a_map_per_class_at_four_times_the_cost_grid(model):
    assert logits(model, image()).shape == (1, 5, 48, 48)
    assert model.grid_side == 12 and model.working_side == 96


@pytest.mark.parametrize("aggregator", ["efficient", "original"])
def test_permuting_the_vocabulary_permutes_the_logits(aggregator):
    model = build(aggregator=aggregator)
    order = [3, 0, 4, 1, 2]
    close(logits(model, image(), [NAMES[i] for i in order]), logits(model, image())[:, order])


def test_a_second_vocabulary_is_honoured_after_a_first(model):
    first = logits(model, image())
    second = logits(model, image(), ["sand", "court"])
    assert second.shape[1] == 2
    close(second, logits(build(), image(), ["sand", "court"]))
    close(logits(model, image()), first)


def test_logits_do_not_depend_on_the_other_images_of_the_batch(model):
    one, two = image(1), image(2)
    together = logits(model, torch.cat([one, two]))
    close(together[:1], logits(model, one))
    close(together[1:], logits(model, two))


def test_a_list_of_images_of_different_sizes_gives_what_each_gives_alone(model):
    small, wide = image(1, 40, 56), image(2, 70, 150)
    together = logits(model, [small[0], wide[0]])
    close(together[:1], logits(model, small))
    close(together[1:], logits(model, wide))


def test_text_is_encoded_again_after_a_training_step_and_after_loading():
    model = build(clip_finetune="attention")
    before = logits(model, image())
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD(
        [p for n, p in model.named_parameters() if n.startswith("clip.transformer")], 5.0
    )
    model(image(), NAMES).logits.square().sum().backward()
    optimizer.step()
    model.eval()
    after = logits(model, image())
    assert not torch.allclose(before, after, atol=1e-4)
    fresh = build(clip_finetune="attention")
    fresh.load_state_dict(model.state_dict())
    close(after, logits(fresh, image()))
    rskt_seg.load_checkpoint(model, state)
    close(before, logits(model, image()))


def test_turning_the_image_turns_the_cost_volume_and_cycles_its_rotations(model):
    text = model.embed_text(NAMES).detach()
    square = torch.randn(2, 3, 96, 96)

    def cost(x):
        with torch.no_grad():
            return rotated_cost(rotated_features(model.clip.visual, x, 4, ())[0], text)

    upright, turned = cost(square), cost(torch.rot90(square, 1, (2, 3)))
    # Rotation r of the turned image is rotation r + 1 of the upright one, seen in the turned frame.
    expected = torch.rot90(upright[:, :, [1, 2, 3, 0]], 1, (3, 4))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


def test_classes_in_chunks_equal_all_at_once_with_gradients():
    whole, chunked = build(class_chunk=64), build(class_chunk=2)
    outputs = [m.train()(image(), NAMES).logits for m in (whole, chunked)]
    close(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for (name, a), (_, b) in zip(whole.named_parameters(), chunked.named_parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(
                a.grad, b.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


CHANGES = {
    "encoder": None,
    "num_layers": 1,
    "hidden_dim": 64,
    "num_heads": 4,
    "fusion": "concat",
    "rotations": False,
    "dino": False,
    "remote_clip": False,
    "aggregator": "original",
    "pooling": 3,
    "test_pooling": 3,
    "window": 6,
    "attention": "full",
    "window_heads": 2,
    "padding": "aligned",
    "templates": ("a satellite photo of a {}", "an aerial image of a {}"),
    "prompt_mode": "channels",
    "cost_projection": True,
    "dino_in_set": True,
    "guided_values": True,
    "text_in_pooling": True,
    "loss": "cross_entropy",
    "mask_ignored": True,
    "clip_finetune": "full",
    "dino_finetune": "attention",
    "class_chunk": 1,
}


def observe(model):
    """Everything an option can change: parameter shapes, what trains, the output, the loss."""
    shapes = {name: (tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()}
    with torch.no_grad():
        output = model.train()(image(3, 70, 90), NAMES)
        target = torch.zeros(1, 70, 90, dtype=torch.long)
        target[:, :30] = 255
        loss = model.losses(output, target)["loss_sem_seg"]
        evaluated = model.eval()(image(3, 70, 90), NAMES)
    return shapes, torch.cat([output.logits, evaluated.logits]), loss


def test_the_list_of_options_is_complete():
    assert set(CHANGES) == {field.name for field in fields(RSKTSpec)}


@pytest.mark.parametrize("option", [name for name in CHANGES if name not in ("encoder", "class_chunk")])
def test_every_option_changes_parameters_or_output(option):
    base = {}
    if option in ("pooling", "test_pooling", "window", "attention", "window_heads"):
        base = {"aggregator": "original"}
    if option == "prompt_mode":
        base = {"templates": CHANGES["templates"]}
    before, after = observe(build(**base)), observe(build(**base, **{option: CHANGES[option]}))
    same = before[0] == after[0] and torch.allclose(before[1], after[1], atol=1e-6)
    assert not (same and torch.allclose(before[2], after[2], atol=1e-7))


@pytest.mark.parametrize(
    ("encoder", "side", "grid", "width"),
    [("vitb16", 384, 24, 768), ("vitl14", 336, 24, 1024), ("tiny", 96, 12, 128)],
)
def test_the_encoder_option_chooses_the_encoders(encoder, side, grid, width):
    with torch.device("meta"):
        model = rskt_seg.models.rskt.RSKT(RSKTSpec(encoder=encoder, num_layers=0))
    assert (model.working_side, model.grid_side) == (side, grid)
    assert model.clip.visual.ln_post.weight.shape == (width,)


def test_class_chunk_bounds_the_classes_processed_at_a_time():
    model = build(class_chunk=2)
    seen = []
    stage = model.decoder.stages[0]
    stage.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    logits(model, image())
    assert seen == [2, 2, 1]


PAPER_FORMS = ("cost_projection", "dino_in_set", "guided_values", "text_in_pooling")


@pytest.mark.parametrize("options", [{"aggregator": "original"}, {}, *({name: True} for name in PAPER_FORMS)])
def test_a_finite_loss_reaches_every_trainable_parameter_and_no_frozen_one(options):
    model = build(**options, clip_finetune="attention").train()
    target = torch.randint(0, 5, (2, 80, 80))
    images = torch.cat([image(1), image(2)])
    loss = model.losses(model(images, NAMES), target)["loss_sem_seg"]
    loss.backward()
    assert torch.isfinite(loss)
    # The dense last block uses values alone, so its query matrix trains by the published rule but is unused.
    last = len(model.clip.visual.transformer.resblocks) - 1
    unused = {f"clip.visual.transformer.resblocks.{last}.attn.q_proj_weight"}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (parameter.requires_grad and name not in unused), name


@pytest.mark.parametrize(
    ("policy", "trains", "frozen"),
    [
        ("attention", "clip.visual.transformer.resblocks.0.attn.q_proj_weight", "clip.positional_embedding"),
        ("full", "clip.transformer.resblocks.0.mlp.c_fc.weight", "clip.visual.proj"),
        ("freezeIMG", "clip.positional_embedding", "clip.visual.transformer.resblocks.0.attn.q_proj_weight"),
        ("frozen", "decoder.head.weight", "clip.transformer.resblocks.0.attn.v_proj_weight"),
    ],
)
def test_fine_tuning_policies_are_the_published_ones(policy, trains, frozen):
    parameters = dict(build(clip_finetune=policy).named_parameters())
    assert parameters[trains].requires_grad and not parameters[frozen].requires_grad
    assert not any(p.requires_grad for n, p in parameters.items() if n.startswith(("remote_clip.", "dino.")))


def test_published_padding_shifts_what_aligned_padding_keeps_in_place(model):
    sized = image(5, 64, 96)
    torch.testing.assert_close(logits(model, sized), logits(model, sized, padding="published"))
    uneven = image(5, 65, 96)
    padded = F.pad((uneven - model.pixel_mean) / model.pixel_std, (0, 0, 0, 31))
    padded = padded * model.pixel_std + model.pixel_mean
    close(logits(model, uneven, padding="published"), logits(model, padded))
    assert not torch.allclose(logits(model, uneven, padding="aligned"), logits(model, padded), atol=1e-3)


def test_scores_are_sigmoids_for_the_published_loss_and_softmax_for_cross_entropy():
    for loss, expected in (("bce", torch.sigmoid), ("cross_entropy", lambda x: x.softmax(dim=1))):
        model = build(loss=loss)
        with torch.no_grad():
            output = model(image(), NAMES)
        torch.testing.assert_close(model.scores(output), expected(output.logits))


def test_cost_maps_are_returned_on_request_one_per_class(model):
    with torch.no_grad():
        output = model(image(), NAMES, return_cost_maps=True)
    assert list(output.cost_maps) == ["clip", "dino", "aggregated"]
    assert all(maps.shape == (1, 5, 12, 12) for maps in output.cost_maps.values())
    assert float(output.cost_maps["clip"].abs().max()) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, "fusion must be one of separate, concat, mean; found 'sum'"),
        ({"num_layers": -1}, "num_layers"),
        ({"pooling": 1}, "pooling=1 has no effect with aggregator='efficient'"),
        ({"aggregator": "original", "window": 5}, r"window=5 must divide the 12 x 12 grid"),
        ({"dino": False, "dino_in_set": True}, "dino_in_set=True has no effect with dino=False"),
        ({"rotations": "False"}, "rotations must be of type bool; found 'False'"),
        ({"num_layers": True}, "num_layers must be of type int"),
        ({"num_heads": 5}, "num_heads=5 must divide hidden_dim=32"),
        ({"hidden_dim": 100}, "32 or a multiple of 64; found 100"),
        ({"aggregator": "original", "pooling": 13}, "pooling=13 exceeds the 12 x 12 grid"),
        ({"templates": ("a photo",)}, "exactly one"),
        ({"num_layer": 2}, "did you mean 'num_layers'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        rskt_seg.create_model("rskt_tiny", **options)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="rskt_vitb16"):
        rskt_seg.create_model("rskt_huge")


def test_the_model_computes_in_the_precision_it_is_given(model):
    reference = logits(model, image(), padding="aligned")
    half = build().bfloat16()
    with torch.no_grad():
        actual = half(image(), NAMES, padding="aligned").logits
    assert actual.dtype == torch.bfloat16
    assert float((actual.float() - reference).abs().mean()) < 0.1 * float(reference.std())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(image(), NAMES)
    close(logits(model, image(), padding="aligned"), reference)


def test_a_model_built_without_autograd_runs():
    with torch.inference_mode():
        assert build()(image(), NAMES).logits.shape[1] == 5


def test_a_whole_model_survives_pickling(model, tmp_path):
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(logits(again, image()), logits(model, image()))


def test_bad_calls_are_refused(model):
    with pytest.raises(ConfigError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(3, 8, 8), NAMES)
    with pytest.raises(ConfigError, match="padding must be"):
        model(image(), NAMES, padding="none")
    with pytest.raises(VocabularyError):
        model(image(), [])
    with pytest.raises(LabelError, match="found \\[9\\]"):
        model.losses(model(image(), NAMES), torch.full((1, 8, 8), 9))
