"""The inference form of a model computes what the model computes, and can do nothing else."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rskt_seg
from rskt_seg.errors import ConfigError
from rskt_seg.layers.attention import attend
from rskt_seg.layers.fourier import FourierConv
from rskt_seg.layers.inference_form import FormBuilder, InferenceLinear, PackedLinear, packing_pays
from rskt_seg.methods.use import make_strategy
from rskt_seg.models.cost_volumes.decoder import Decoder, Guide, UpsampleStage
from rskt_seg.models.rskt.fusion import FusionLayer
from rskt_seg.models.rskt.spec import RSKTSpec
from rskt_seg.segmenter import Segmenter

NAMES = ("water", "road", "building")
IMAGE = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
PACKED = pytest.mark.parametrize("packed", [True, False])
MODELS = [
    ("rskt_tiny", {}),
    ("rskt_tiny", {"fusion": "concat"}),
    ("rskt_tiny", {"dino": False, "remote_clip": False, "rotations": False}),
    ("rskt_tiny", {"aggregator": "original"}),
    ("rskt_tiny", {"dino_in_set": True}),
    ("rskt_tiny", {"guided_values": True, "text_in_pooling": True, "cost_projection": True}),
    ("catseg_tiny", {}),
    ("ovrs_tiny", {}),
    ("gsnet_tiny", {}),
    ("clip_zeroshot_tiny", {}),
    ("bicor_tiny", {}),
    ("fctl_tiny", {}),
    ("prior_wsss_tiny", {}),
]


def build(name="rskt_tiny", **options):
    torch.manual_seed(0)
    method, _ = rskt_seg.methods.find_preset(name)
    return rskt_seg.create_model(name, class_names=NAMES if method.is_closed else None, **options)


def scores(model):
    closed = rskt_seg.methods.method_of(model).is_closed
    strategy = make_strategy(model, None if closed else NAMES, {})
    with torch.inference_mode():
        return strategy.score_map(IMAGE)


@PACKED
@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda value: str(value))
def test_a_form_gives_the_scores_of_its_model(name, options, packed):
    model = build(name, **options)
    form = rskt_seg.optimize_for_inference(model, packed=packed)
    assert type(form) is type(model) and form.spec == model.spec and not form.training
    assert (scores(form) - scores(model)).abs().max() <= 2e-5


@PACKED
@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda value: str(value))
def test_half_precision_moves_logits_by_little(name, options, packed):
    model = build(name, **options)
    exact, rounded = (
        scores(model),
        scores(rskt_seg.optimize_for_inference(model, precision="bf16", packed=packed)),
    )
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() <= 1.5e-2 * exact.norm()


def test_building_a_form_leaves_the_model_as_it_is():
    model = build()
    before, state = scores(model), copy.deepcopy(model.state_dict())
    rskt_seg.optimize_for_inference(model)
    assert torch.equal(scores(model), before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_released_model_gave_its_weights_away_and_the_form_still_works():
    model = build()
    expected, held = scores(model), sum(p.numel() for p in model.parameters())
    form = rskt_seg.optimize_for_inference(model, release=True)
    assert (scores(form) - expected).abs().max() <= 2e-5
    shared = {id(p) for p in form.parameters()}
    left = sum(p.numel() for p in model.parameters() if id(p) not in shared)
    assert left == 0 and sum(p.numel() for p in form.parameters()) < held / 2


def test_a_form_cannot_be_saved_or_differentiated():
    form = rskt_seg.optimize_for_inference(build())
    with pytest.raises(ConfigError, match="save the model it was made from"):
        form.state_dict()
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    with pytest.raises(ConfigError, match="train the model it was made from"):
        form(images, NAMES)


def test_precisions_that_are_unknown_or_slow_here_are_refused():
    with pytest.raises(ConfigError, match=r"one of fp32, bf16, fp16; found 'int8'"):
        rskt_seg.optimize_for_inference(build(), precision="int8")
    with pytest.raises(ConfigError, match="needs a GPU"):
        rskt_seg.optimize_for_inference(build(), precision="fp16")


def test_a_form_of_random_weights_is_noticed_and_one_of_trained_weights_is_not():
    model = build()
    assert any(
        "random" in notice
        for notice in Segmenter(rskt_seg.optimize_for_inference(model), NAMES).predict(IMAGE).notices
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    form = rskt_seg.optimize_for_inference(model)
    assert not any("random" in notice for notice in Segmenter(form, NAMES).predict(IMAGE).notices)


def test_a_segmenter_takes_the_precision_of_its_matrix_products():
    model = build()
    plain = Segmenter(model, NAMES).predict(IMAGE).score_map
    exact, halves = (
        Segmenter(model, NAMES, precision=each).predict(IMAGE).score_map for each in ("fp32", "bf16")
    )
    assert (exact - plain).abs().max() <= 2e-5
    assert 0 < (halves - plain).norm() <= 1.5e-2 * plain.norm()


def test_nothing_is_packed_where_no_cpu_computes():
    assert not packing_pays(torch.device("meta"))


@settings(max_examples=20)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(["none", "silu", "gelu", "relu6"]),
    st.booleans(),
)
def test_packed_layers_equal_plain_ones(inputs, outputs, rows, activation, biased):
    generator = torch.Generator().manual_seed(inputs)
    weight, x = (torch.randn(n, inputs, generator=generator) for n in (outputs, rows))
    bias = torch.randn(outputs, generator=generator) if biased else None
    layers = [kind(weight, bias, activation) for kind in (InferenceLinear, PackedLinear)]
    plain, packed = (layer(x) for layer in layers)
    assert torch.allclose(plain, packed, atol=1e-5)
    factor = torch.randn(rows, outputs, generator=generator)
    expected = torch.nn.functional.linear(x, weight, bias) * factor
    assert all(torch.allclose(layer.times(x, factor), expected, atol=1e-4) for layer in layers)


def test_an_activation_that_limits_to_6_does():
    layers = [kind(torch.eye(3), None, "relu6") for kind in (InferenceLinear, PackedLinear)]
    x = torch.tensor([[-1.0, 4.0, 9.0]])
    assert all(layer(x).tolist() == [[0.0, 4.0, 6.0]] for layer in layers)


@settings(max_examples=20)
@given(st.integers(2, 30), st.sampled_from([1, 3, 5, 7]), st.integers(1, 3))
def test_a_fourier_convolution_equals_the_direct_one(side, kernel, images):
    torch.manual_seed(side)
    conv = nn.Conv2d(3, 2, kernel, padding=kernel // 2)
    x = torch.randn(images, 3, side, side)
    with torch.no_grad():
        assert torch.allclose(FourierConv(conv, side)(x), conv(x), atol=1e-5)


@settings(max_examples=20)
@given(
    images=st.integers(1, 3),
    classes=st.integers(1, 9),
    chunk=st.integers(1, 10),
    sides=st.tuples(st.sampled_from([2, 4, 6]), st.sampled_from([2, 4, 6])),
    shared_text=st.booleans(),
)
def test_a_fusion_layer_equals_its_form_in_parts_of_any_size(images, classes, chunk, sides, shared_text):
    torch.manual_seed(0)
    layer = FusionLayer(RSKTSpec(hidden_dim=16, class_chunk=chunk), 12).eval()
    x, guidance = torch.randn(images, classes, 16, *sides), torch.randn(images, 12, *sides)
    text = torch.randn(1 if shared_text else images, classes, 16)
    with torch.inference_mode():
        expected = layer(x, guidance, text)
        found = FormBuilder(torch.float32, packed=False).convert(layer)(x.clone(), guidance, text)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


def test_a_fusion_layer_behind_another_takes_its_memory():
    layer = FusionLayer(RSKTSpec(hidden_dim=16), 16).eval()
    form = FormBuilder(torch.float32, packed=False).convert(layer)
    guidance, text = torch.randn(2, 16, 4, 4), torch.randn(1, 3, 16)
    with torch.inference_mode():
        first = form(torch.randn(2, 3, 16, 4, 4), guidance, text)
        assert form(first, guidance, text).data_ptr() == first.data_ptr()


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 2))
def test_a_composed_upsampling_stage_equals_the_stage(height, width, classes, images):
    torch.manual_seed(height)
    stage = UpsampleStage(12, 16, 4, 2)
    x = torch.randn(images, classes, 12, height, width)
    guides = [torch.randn(images, 4, 2 * height, 2 * width) for _ in range(2)]
    form = FormBuilder(torch.float32, packed=False).convert(stage)
    with torch.no_grad():
        plain, fast = (each(x, each.convolve_guidance(guides)) for each in (stage, form))
    assert torch.allclose(plain, fast, atol=1e-4)


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9))
def test_a_decoder_in_half_precision_returns_logits_in_float32(classes, images, chunk):
    torch.manual_seed(0)
    decoder = Decoder(32, 2, chunk).eval()
    x = torch.randn(images, classes, 32, 5, 6)
    guides = [[torch.randn(images, c, a, b) for _ in range(2)] for c, a, b in ((8, 10, 12), (4, 20, 24))]
    with torch.inference_mode():
        exact, halves = (
            decoder(x, guides),
            FormBuilder(torch.bfloat16, packed=False).convert(decoder)(x, guides),
        )
    assert halves.dtype == torch.float32
    assert 0 < (halves - exact).norm() <= 1.5e-2 * exact.norm()
    # Values of a few bits would make ties, and a label of chance.
    assert not torch.equal(halves, halves.bfloat16().float())


def test_a_guide_is_computed_in_the_precision_of_the_form():
    torch.manual_seed(0)
    guide, x = Guide(nn.ConvTranspose2d(6, 4, 2, stride=2), 4, 3), torch.randn(2, 6, 5, 5)
    with torch.inference_mode():
        exact = guide(x)
        same, halves = (
            FormBuilder(dtype, packed=False).convert(guide)(x) for dtype in (torch.float32, torch.bfloat16)
        )
    assert torch.equal(same, exact) and halves.dtype == torch.bfloat16
    assert (halves.float() - exact).norm() <= 1.5e-2 * exact.norm()


@pytest.mark.parametrize("length", [1, 511, 513, 1100])
def test_attention_in_half_precision_equals_the_fused_kernel(length):
    q, k, v = torch.randn(3, 2, length, 128).unbind()
    with torch.inference_mode():
        halves = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), 2)
        exact = attend(q, k, v, 2)
    assert halves.dtype == torch.bfloat16
    assert (halves.float() - exact).norm() <= 1.5e-2 * exact.norm()


def test_a_form_is_one_graph_from_pixels_to_logits():
    form = rskt_seg.optimize_for_inference(build(num_layers=1, rotations=False), packed=False)
    images = torch.randint(0, 256, (2, 3, 96, 96)).float()

    def segment(images, text):
        return form.decode(form.encode(form.squares(images, None), text), text).logits

    compiled = torch.compile(segment, fullgraph=True, backend="eager")  # raises where the graph would break
    with torch.no_grad():
        assert torch.equal(compiled(images, form.embed_text(NAMES)), form(images, NAMES).logits)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_a_gelu_behind_a_linear_layer_is_fused_if_it_is_the_exact_one(approximate):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(approximate), nn.Linear(8, 4))
    form = FormBuilder(torch.float32, packed=True).convert(layers)
    assert any(isinstance(each, nn.Identity) for each in form) is (approximate == "none")
    with torch.no_grad():
        assert torch.allclose(form(torch.eye(6)), layers(torch.eye(6)), atol=1e-6)
