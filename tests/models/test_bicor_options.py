"""Every option of BiCoR-Seg bites, every form of it learns, and models travel."""

import inspect
from dataclasses import fields

import pytest
import torch

from rskt_seg.errors import ConfigError
from rskt_seg.losses.separation import fisher_loss
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.bicor.decoder import upsample_cells
from tests.models.bicor_draw import BASELINE, FORMS, PAPER, TINY, build, close, image, labels, logits

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
        ({"num_layers": 0}, "num_layers must be between 1 and 100"),
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
