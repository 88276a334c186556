"""Laws of the BiCoR-Seg model, stated on the tiny encoder: the code path is that of the full model."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rskt_seg.errors import ConfigError, DatasetError, LabelError
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.bicor.decoder import Aggregation
from rskt_seg.models.bicor.synergy import HBIS, pool_weights
from tests.models import plain_bicor as plain
from tests.models.bicor_draw import FORMS, TINY, build, close, image, labels, logits, options_of


@pytest.fixture(scope="module")
def model():
    return build()


@settings(max_examples=20)
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


@settings(max_examples=40)
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


def test_scores_are_probabilities(model):
    with torch.no_grad():
        output = model(image())
    torch.testing.assert_close(model.scores(output), output.logits.softmax(dim=1))


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
