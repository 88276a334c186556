"""Laws of the BiCoR-Seg model, stated on the tiny encoder: the code path is that of the full model."""

import inspect
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rskt_seg.errors import ConfigError, DatasetError, LabelError
from rskt_seg.losses.separation import fisher_loss
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.bicor.decoder import Aggregation, upsample_cells
from rskt_seg.models.bicor.synergy import HBIS, pool_weights
from tests.models import plain_bicor as plain

TINY = {"num_classes": 5, "encoder": "tiny", "width": 32, "stochastic_depth": 0.0, "min_pixels": 4}
BASELINE = {"interaction": "cross_attention", "min_pixels": 64}


def options_of(options):
    """The tiny options with changes; those that the changes leave unread go back to their defaults."""
    merged = {**TINY, **options}
    if merged.get("pooling", "topk") != "topk" or merged.get("topk_ratio") == 1.0:
        del merged["min_pixels"]
    return merged


def build(seed=0, **options):
    """A model whose every part matters: random weights with a little noise on all."""
    torch.manual_seed(seed)
    model = BiCoR(BiCoRSpec(**options_of(options))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def image(seed=0, height=64, width=96, batch=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def labels(seed=0, height=64, width=96, batch=1, classes=5):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (batch, height, width), generator=rng)
    target[:, : height // 4] = 255
    return target


@pytest.fixture(scope="module")
def model():
    return build()


def logits(model, images, **kwargs):
    with torch.no_grad():
        return model(images, **kwargs).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 75), st.integers(1, 75), st.integers(1, 2), st.sampled_from(["published", "aligned"]))
def test_logits_have_the_size_of_the_images_and_heatmaps_cover_their_cells(height, width, batch, padding):
    model = build(padding=padding)
    with torch.no_grad():
        output = model.train()(image(0, height, width, batch))
    assert output.logits.shape == output.auxiliary.shape == (batch, 5, height, width)
    assert [tuple(x.shape) for x in output.heatmaps] == [(batch, 5, -(-height // 4), -(-width // 4))] * 2
    assert [tuple(x.shape) for x in output.class_embeddings] == [(batch, 5, 32)] * 2


@pytest.mark.parametrize("size", [(64, 96), (36, 44), (76, 32)])
def test_multiples_of_four_give_the_literal_computation_without_padding(model, size):
    with torch.no_grad():
        close(logits(model, image(1, *size, batch=2)), plain.logits(model, image(1, *size, batch=2)))


@pytest.mark.parametrize(("padding", "multiple"), [("published", 4), ("aligned", 32)])
def test_layers_see_no_cell_of_the_padding(model, padding, multiple):
    height, width = 42, 59
    images = image(2, height, width)
    normalised = (images - model.pixel_mean) / model.pixel_std
    with torch.no_grad():
        padded = F.pad(normalised, (0, -width % multiple, 0, -height % multiple))
        features = model.aggregation(list(model.convnext(padded).taps.values()))
        classes = model.decoder.class_embeddings[None]

        def refined(features, classes):
            for layer in model.decoder.layers:
                classes, features, _ = plain.hbis(layer, classes, features)
            return plain.head(model.decoder.head, classes, features)[..., :height, :width]

        close(logits(model, images, padding=padding), refined(features[..., :11, :15], classes))
        if padding == "aligned":
            assert not torch.allclose(
                logits(model, images, padding=padding), refined(features, classes), atol=1e-3
            )


def test_both_paddings_agree_where_nothing_is_padded_and_differ_elsewhere(model):
    sized, uneven = image(3, 64, 32), image(3, 52, 60)
    assert torch.equal(logits(model, sized, padding="aligned"), logits(model, sized, padding="published"))
    aligned, published = (logits(model, uneven, padding=p) for p in ("aligned", "published"))
    assert not torch.allclose(aligned, published, atol=1e-3)


def test_logits_do_not_depend_on_the_other_images_of_the_batch(model):
    one, two = image(1), image(2)
    together = logits(model, torch.cat([one, two]))
    close(together[:1], logits(model, one))
    close(together[1:], logits(model, two))
    assert torch.equal(logits(model, [one[0], two[0]]), together)


def test_bytes_give_what_floats_give(model):
    pixels = image().to(torch.uint8)
    assert torch.equal(logits(model, pixels), logits(model, pixels.float()))


def test_permuting_the_class_embeddings_permutes_the_logits(model):
    order = [3, 0, 4, 1, 2]
    permuted = build()
    with torch.no_grad():
        permuted.decoder.class_embeddings.copy_(model.decoder.class_embeddings[order])
    close(logits(permuted, image()), logits(model, image())[:, order])


def test_training_mode_computes_the_same_logits_and_adds_the_auxiliary_ones():
    model = build()
    evaluated, trained = model(image()), model.train()(image())
    assert torch.equal(evaluated.logits, trained.logits)
    assert evaluated.auxiliary is None
    features = model.features(image(), "published")
    static = model.decoder.head.auxiliary(model.decoder.class_embeddings)
    up = model.decoder.head.upsample(features)
    close(trained.auxiliary, torch.einsum("nc,bchw->bnhw", static, up))


@pytest.mark.parametrize("head", ["shuffle", "product"])
def test_the_auxiliary_loss_leaves_the_class_embeddings_alone(head):
    model = build(head=head).train()
    model.losses(model(image()), labels())["loss_aux"].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert "aggregation.mix.weight" in trained and "decoder.class_embeddings" not in trained


def test_images_are_normalised_as_the_encoders_weights_expect(model):
    expected = torchvision.models.ConvNeXt_Base_Weights.IMAGENET1K_V1.transforms()
    torch.testing.assert_close(model.pixel_mean.flatten() / 255, torch.tensor(expected.mean))
    torch.testing.assert_close(model.pixel_std.flatten() / 255, torch.tensor(expected.std))


def test_residual_branches_are_dropped_in_training_only_and_more_often_in_depth():
    model = build(stochastic_depth=0.5)
    rates = [block.stochastic_depth.p for i in (1, 3, 5, 7) for block in model.convnext.features[i]]
    assert rates == pytest.approx([0.5 * i / 4 for i in range(5)])
    assert torch.equal(logits(model, image()), logits(model, image()))
    model.train()
    assert len({float(logits(model, image()).sum()) for _ in range(8)}) > 1


FORMS = [
    {},
    {"topk_ratio": 0.3},
    {"topk_ratio": 1.0},
    {"pooling": "threshold", "threshold": 0.55},
    {"pooling": "percentile", "percentile": 0.8},
    {"pooling": "all"},
    {"inner_steps": 2, "temperature": 2.0, "film_weight": 0.3},
    {"heatmap_inputs": "raw"},
    {"pooled_inputs": "raw"},
    {"gate": "class"},
    {"candidate": "context"},
    {"assignment": "heatmap"},
    {"mixing": "learned", "film_weight": 0.4},
    {
        "heatmap_inputs": "raw",
        "pooled_inputs": "raw",
        "gate": "class",
        "candidate": "context",
        "assignment": "heatmap",
        "mixing": "learned",
    },
]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_a_layer_equals_the_literal_equations_with_gradients(options):
    torch.manual_seed(0)
    layer = HBIS(BiCoRSpec(**options_of(options)), pixel_width=12, class_width=6).double()
    features = torch.randn(2, 12, 7, 9, dtype=torch.double, requires_grad=True)
    classes = torch.randn(2, 4, 6, dtype=torch.double, requires_grad=True)
    inputs = (classes, features, *layer.parameters())

    def through(results):
        probes = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in results]
        return torch.autograd.grad(
            sum((x * probe).sum() for x, probe in zip(results, probes, strict=True)), inputs
        )

    new_classes, pixels, heat = layer(classes, features.flatten(2).transpose(1, 2))
    ours = (new_classes, pixels.transpose(1, 2).reshape(features.shape), heat.reshape(2, 4, 7, 9))
    literal = plain.hbis(layer, classes, features)
    for actual, expected in zip((*ours, *through(ours)), (*literal, *through(literal)), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([options for options in FORMS if set(options) & {"pooling", "topk_ratio"}]),
    st.integers(1, 40),
    st.floats(-80, 20),
    st.integers(0, 10**6),
)
def test_pooling_weights_are_the_literal_ones_for_any_scores(options, pixels, shift, seed):
    spec = BiCoRSpec(**options_of(options))
    scores = torch.randn(2, 3, pixels, generator=torch.Generator().manual_seed(seed)) * 3 + shift
    actual = pool_weights(scores, spec)
    heat = scores.sigmoid()
    expected = torch.stack([torch.stack([plain.weights(row, spec) for row in rows]) for rows in heat])
    # Equal heatmap values (saturated, or zero) may be chosen in any order: then only the mass is one law.
    if all(len(row.unique()) == pixels for row in heat.flatten(0, 1)):
        torch.testing.assert_close(actual, expected)
    assert (actual >= 0).all() and (actual.sum(dim=2) <= 1 + 1e-5).all()
    assert not actual.requires_grad


def test_pooling_takes_at_least_the_minimum_rounds_half_to_even_and_never_exceeds_the_map():
    scores = torch.randn(1, 1, 250)

    def kept(ratio, least, pixels=250):
        spec = BiCoRSpec(**{**TINY, "topk_ratio": ratio, "min_pixels": least})
        return int((pool_weights(scores[..., :pixels], spec) > 0).sum())

    assert kept(0.01, 1) == 2  # 2.5 pixels
    assert kept(0.02, 64) == 64
    assert kept(0.02, 64, pixels=30) == 30
    assert kept(0.5, 64) == 125


def test_the_folded_aggregation_equals_projecting_first_with_gradients():
    torch.manual_seed(0)
    module = Aggregation((3, 5, 7), 4).double()
    sizes = ((3, 12, 9), (5, 6, 4), (7, 3, 2))
    stages = [torch.randn(2, *size, dtype=torch.double, requires_grad=True) for size in sizes]
    folded, literal = module(stages), plain.aggregation(module, stages)
    torch.testing.assert_close(folded, literal)
    inputs = (*stages, *module.parameters())
    probe = torch.randn_like(folded)
    for actual, expected in zip(
        torch.autograd.grad((folded * probe).sum(), inputs),
        torch.autograd.grad((literal * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result


def test_no_tensor_holds_every_class_channel_and_pixel():
    layer = HBIS(BiCoRSpec(num_classes=20), pixel_width=24, class_width=24)
    classes, pixels = torch.randn(2, 20, 24, requires_grad=True), torch.randn(2, 300, 24, requires_grad=True)
    with Largest() as seen:
        sum(x.sum() for x in layer(classes, pixels)).backward()
    assert seen.elements == 2 * 300 * 24


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"num_layers": 1}, 88_921_600),
        ({"num_layers": 2}, 89_513_984),
        ({"num_layers": 3}, 90_106_368),
        ({"num_classes": 6}, 89_513_984 - 256),
    ],
)
def test_parameters_are_as_many_as_published(options, count):
    with torch.device("meta"):
        model = BiCoR(BiCoRSpec(**{"num_classes": 7, **options}))
    assert sum(p.numel() for p in model.parameters()) == count
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert parts["convnext"] == 87_564_416
    assert parts["aggregation"] == 492_544 + 262_144
    assert {sum(p.numel() for p in layer.parameters()) for layer in model.decoder.layers} == {592_384}
    assert sum(p.numel() for p in model.decoder.head.parameters()) == 128 + 8_192


def multiply_adds(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("side", "literal", "cheap"), [(256, 21.96, 20.51), (512, 87.82, 81.62), (1024, 351.3, 326.1)]
)
def test_the_literal_form_has_the_published_multiply_adds_and_ours_fewer(side, literal, cheap):
    with torch.device("meta"):
        model = BiCoR(BiCoRSpec(num_classes=7, topk_ratio=1.0)).eval().requires_grad_(False)
        images = torch.empty(1, 3, side, side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "weights", lambda heat, spec: heat)  # a choice by value, which "meta" lacks
        assert multiply_adds(lambda: plain.logits(model, images)) == pytest.approx(literal, rel=2e-4)
    assert multiply_adds(lambda: model(images)) == pytest.approx(cheap, rel=5e-4)


CHANGES = {
    "num_classes": 4,
    "encoder": None,
    "num_layers": 1,
    "width": 48,
    "stochastic_depth": 0.5,
    "padding": "aligned",
    "interaction": "cross_attention",
    "attention_heads": 4,
    "pooling": "all",
    "topk_ratio": 0.5,
    "min_pixels": 9,
    "threshold": 0.6,
    "percentile": 0.5,
    "inner_steps": 2,
    "temperature": 2.0,
    "film_weight": 0.25,
    "heatmap_inputs": "raw",
    "pooled_inputs": "raw",
    "gate": "class",
    "candidate": "context",
    "assignment": "heatmap",
    "mixing": "learned",
    "head": "product",
    "label_smoothing": 0.0,
    "mask_ignored": True,
    "aux_weight": 0.2,
    "heat_weight": 0.2,
    "heat_loss": "heatmap",
    "fisher_weight": 0.2,
    "final_fisher_weight": 0.0,
    "between": "center",
}
CONTEXTS = {
    "interaction": {"min_pixels": 64},
    "attention_heads": BASELINE,
    "threshold": {"pooling": "threshold"},
    "percentile": {"pooling": "percentile"},
}
LOSSES_ALONE = {
    "label_smoothing",
    "mask_ignored",
    "aux_weight",
    "heat_weight",
    "heat_loss",
    "fisher_weight",
    "final_fisher_weight",
    "between",
}


def observe(options):
    """What an option can change: parameter shapes, logits (in training mode), the loss terms."""
    model = build(**options)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    model.train()
    with torch.no_grad():
        output = model(image(3, 52, 60, batch=2))
        target = labels(1, 52, 60, 2, classes=4)
        return shapes, output.logits, model.losses(output, target)


def test_the_list_of_options_is_complete():
    assert set(CHANGES) == {field.name for field in fields(BiCoRSpec)}


@pytest.mark.parametrize("option", [name for name in CHANGES if name != "encoder"])
def test_every_option_changes_parameters_or_logits_or_losses(option):
    context = CONTEXTS.get(option, {})
    before, after = observe(context), observe({**context, option: CHANGES[option]})
    same_shapes = before[0] == after[0]
    same_logits = same_shapes and torch.equal(before[1], after[1])
    terms = [{key: float(value) for key, value in seen[2].items()} for seen in (before, after)]
    if option in LOSSES_ALONE:
        assert same_logits and terms[0] != pytest.approx(terms[1], rel=1e-5)
    else:
        assert not same_shapes or not torch.allclose(before[1], after[1], atol=1e-5)


@pytest.mark.parametrize(("encoder", "width"), [("convnextb", 1024), ("tiny", 128)])
def test_the_encoder_option_chooses_the_encoder(encoder, width):
    with torch.device("meta"):
        model = BiCoR(BiCoRSpec(num_classes=7, encoder=encoder))
    assert model.convnext.widths[-1] == width
    assert not [name for name, _ in model.convnext.named_modules() if "pool" in name or "classifier" in name]


PAPER = {
    **FORMS[-1],
    "head": "product",
    "label_smoothing": 0.0,
    "aux_weight": 0.0,
    "heat_loss": "heatmap",
    "final_fisher_weight": 0.0,
    "between": "center",
}
TRAINED = [
    *FORMS,
    PAPER,
    BASELINE,
    {"head": "product"},
    {"aux_weight": 0.0},
    {"topk_ratio": 1.0, "num_layers": 3},
]


@pytest.mark.parametrize("options", TRAINED, ids=str)
def test_a_finite_loss_reaches_every_parameter(options):
    model = build(**options).train()
    losses = model.losses(model(image(0, batch=2)), labels(batch=2))
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_no_gradient_reaches_what_is_frozen():
    model = build().train()
    model.convnext.requires_grad_(False)
    sum(model.losses(model(image(0, batch=2)), labels(batch=2)).values()).backward()
    assert all((p.grad is None) == name.startswith("convnext.") for name, p in model.named_parameters())


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_terms_of_the_loss_are_those_of_their_weights(batch):
    model = build().train()
    output, target = model(image(0, batch=batch)), labels(batch=batch)
    losses = model.losses(output, target)
    assert list(losses) == [
        "loss_ce",
        "loss_dice",
        "loss_aux",
        "loss_heat",
        "loss_fisher",
        "loss_final_fisher",
    ]
    doubled = build(aux_weight=0.8, heat_weight=0.2, fisher_weight=0.2, final_fisher_weight=2.0).train()
    twice = doubled.losses(output, target)
    for key, loss in losses.items():
        factor = 1 if key in ("loss_ce", "loss_dice") else 2
        torch.testing.assert_close(twice[key], factor * loss)
    assert bool(losses["loss_fisher"] == 0) == (batch == 1)
    first, last = (fisher_loss(embeddings) for embeddings in output.class_embeddings)
    torch.testing.assert_close(losses["loss_fisher"], 0.1 * (first + last))
    torch.testing.assert_close(losses["loss_final_fisher"], last)
    without = build(aux_weight=0.0, heat_weight=0.0, fisher_weight=0.0, final_fisher_weight=0.0).train()
    assert list(without.losses(without(image(0)), labels())) == ["loss_ce", "loss_dice"]


def test_the_heatmap_loss_lays_cells_over_the_pixels_they_hold():
    model = build(heat_weight=1.0, num_layers=1)
    output = model(image(0, 42, 59))
    target = labels(0, 42, 59)
    heat = upsample_cells(output.heatmaps[0])[..., :42, :59]
    sole = build(heat_weight=0.0, num_layers=1)
    as_logits = type(output)(heat, (), output.class_embeddings)
    expected = sole.losses(as_logits, target)
    actual = model.losses(output, target)
    torch.testing.assert_close(actual["loss_heat"], expected["loss_ce"] + expected["loss_dice"])


def test_evaluation_has_no_auxiliary_term_and_nothing_labelled_still_gives_a_finite_loss():
    model = build()
    output = model(image(0, batch=2))
    assert "loss_aux" not in model.losses(output, labels(batch=2))
    losses = model.losses(output, torch.full((2, 64, 96), 255))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not any(losses[key].any() for key in ("loss_ce", "loss_dice", "loss_heat"))


def test_scores_are_probabilities(model):
    with torch.no_grad():
        output = model(image())
    torch.testing.assert_close(model.scores(output), output.logits.softmax(dim=1))


@pytest.mark.parametrize("options", [{}, PAPER, BASELINE], ids=["published", "paper", "baseline"])
def test_the_state_dict_round_trips(options, tmp_path):
    source, target = build(1, **options), build(2, **options)
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(logits(source, image()), logits(target, image()))
    torch.save(source, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(logits(again, image()), logits(source, image()))


@pytest.mark.parametrize("options", [{}, BASELINE], ids=["hbis", "baseline"])
def test_the_model_computes_in_the_precision_it_is_given(options):
    reference = logits(build(**options), image())
    half = build(**options).bfloat16()
    actual = logits(half, image())
    assert actual.dtype == torch.bfloat16
    # A changed choice of the highest responses moves single logits far; the mean tells.
    assert float((actual.float() - reference).abs().mean()) < 0.2 * float(reference.std())
    model = build(**options).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(model.losses(model(image(0, batch=2)), labels(batch=2)).values())
    loss.backward()
    assert torch.isfinite(loss)
    close(logits(build(**options).double(), image()).float(), reference)


def test_a_model_built_without_autograd_runs():
    with torch.inference_mode():
        assert build()(image()).logits.shape[1] == 5


def test_the_whole_model_is_one_graph():
    model = build()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    close(compiled(image()).logits.detach(), logits(model, image()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet"}, "encoder must be one of convnextb, tiny"),
        ({"num_classes": 1}, "num_classes must be between 2 and 255; found 1"),
        ({"num_classes": "7"}, "num_classes must be of type int"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"num_layers": True}, "num_layers must be of type int"),
        ({"width": 40}, "width must be a multiple of 16"),
        ({"topk_ratio": 1.5}, "topk_ratio must be between"),
        ({"topk_ratio": float("nan")}, "topk_ratio must be between"),
        ({"heat_weight": -0.1}, "heat_weight must be at least 0"),
        ({"mask_ignored": 1}, "mask_ignored must be of type bool"),
        ({"attention_heads": 4}, "attention_heads=4 has no effect with interaction='hbis'"),
        ({**BASELINE, "gate": "class"}, "gate='class' has no effect with interaction='cross_attention'"),
        ({**BASELINE, "heat_weight": 0.2}, "heat_weight=0.2 has no effect"),
        ({**BASELINE, "attention_heads": 5}, "attention_heads=5 must divide width=32"),
        ({"threshold": 0.6}, "threshold=0.6 has no effect with pooling='topk'"),
        ({"percentile": 0.6, "pooling": "threshold"}, "percentile=0.6 has no effect"),
        ({"pooling": "all", "min_pixels": 9}, "min_pixels=9 has no effect with pooling='all'"),
        ({"topk_ratio": 1.0, "min_pixels": 9}, "min_pixels=9 has no effect with topk_ratio=1.0"),
        ({"heat_weight": 0.0, "heat_loss": "heatmap"}, "heat_loss='heatmap' has no effect with heat_weight"),
        (
            {"fisher_weight": 0.0, "final_fisher_weight": 0.0, "between": "center"},
            "between='center' has no effect with no Fisher loss",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    tiny = {key: value for key, value in TINY.items() if key != "min_pixels"}
    with pytest.raises(ConfigError, match=message):
        BiCoRSpec(**{**tiny, **options})


def test_whole_numbers_stand_for_floats():
    assert BiCoRSpec(num_classes=6, topk_ratio=1) == BiCoRSpec(num_classes=6, topk_ratio=1.0)


def test_every_option_is_described():
    source = inspect.getsource(BiCoRSpec)
    for field in fields(BiCoRSpec):
        line = next(
            i for i, text in enumerate(source.splitlines()) if text.strip().startswith(f"{field.name}:")
        )
        assert source.splitlines()[line + 1].strip().startswith('"""'), field.name


def test_bad_calls_are_refused(model):
    with pytest.raises(ConfigError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(3, 64, 64))
    with pytest.raises(ConfigError, match=r"\(B, 3, H, W\)"):
        model(torch.zeros(1, 4, 64, 64))
    with pytest.raises(ConfigError, match="not empty"):
        model([])
    with pytest.raises(ConfigError, match="must have one size"):
        model([torch.zeros(3, 64, 64), torch.zeros(3, 64, 96)])
    with pytest.raises(ConfigError, match="padding must be"):
        model(image(), padding="none")
    output = model(image())
    with pytest.raises(LabelError, match="found \\[9\\]"):
        model.losses(output, torch.full((1, 64, 96), 9))
    with pytest.raises(DatasetError, match="size of their images"):
        model.losses(output, torch.zeros(1, 32, 96, dtype=torch.long))
