"""Every model by name: what can be asked for, and what is refused."""

import pytest
import torch

import rskt_seg
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.methods import find_preset, model_names


def images(batch=1, height=64, width=96):
    return 255 * torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_the_closed_set_models_are_called_as_documented():
    options = {"num_layers": 2, "pooling": "topk", "topk_ratio": 0.02, "min_pixels": 64}
    # Shapes alone: the weights of full models take long to draw.
    with torch.device("meta"), torch.no_grad():
        model = rskt_seg.create_model("bicor_convnextb", 7, **options)
        assert model(torch.rand(1, 3, 64, 96)).logits.shape == (1, 7, 64, 96) and not model.training
        options = {
            "contexts": ("medium", "large"),
            "branch": "main",
            "gpe": True,
            "mcf": "squeeze",
            "ale": "d",
        }
        model = rskt_seg.create_model("fctl_vgg16", 2, **options)
        patches, contexts = (
            torch.rand(2, 3, 64, 64),
            {name: torch.rand(2, 3, 64, 64) for name in options["contexts"]},
        )
        assert model(patches, contexts=contexts).logits.shape == (2, 2, 64, 64)


@pytest.mark.parametrize("name", model_names())
def test_every_name_states_options_that_its_model_takes(name):
    method, options = find_preset(name)
    assert set(options) <= set(method.options)
    assert method.spec(*([5] if method.is_closed else []), **options)


@pytest.mark.parametrize(
    ("name", "branch"), [("fctl_mitb2", "main"), ("fctl_mitb5", "deepglobe"), ("fctl_tiny", "deepglobe")]
)
def test_encoders_and_branches_are_those_asked_for(name, branch):
    with torch.device("meta"):
        model = rskt_seg.create_model(name, 7, branch=branch)
    assert model.spec.encoder == find_preset(name)[1]["encoder"] and model.spec.branch == branch
    assert model.context_factors["large"] == (0 if branch == "deepglobe" else 3)


@pytest.mark.parametrize(("name", "classes"), [("rskt_tiny", []), ("bicor_tiny", [3]), ("fctl_tiny", [3])])
def test_an_option_wins_over_that_of_the_name(name, classes):
    changed = {"rskt_tiny": {"num_layers": 1}, "bicor_tiny": {"width": 32}, "fctl_tiny": {"patch_side": 64}}[
        name
    ]
    spec = rskt_seg.create_model(name, *classes, **changed).spec
    assert {option: getattr(spec, option) for option in changed} == changed


def test_class_names_give_the_number_of_classes():
    model = rskt_seg.create_model("bicor_tiny", class_names=["road", " tree "])
    assert model.class_names == ("road", "tree") and model.spec.num_classes == 2
    assert rskt_seg.create_model("fctl_tiny", 4).class_names is None
    with pytest.raises(VocabularyError, match="3 classes"):
        rskt_seg.create_model("fctl_tiny", 3, class_names=["road", "tree"])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["bicor_huge"], {}, "bicor_tiny"),
        (["bicor_tiny"], {}, "num_classes or class_names"),
        (["fctl_tiny"], {"branch": "main"}, "num_classes or class_names"),
        (["rskt_tiny", 7], {}, "vocabulary"),
        (["rskt_tiny"], {"class_names": ["road"]}, "vocabulary"),
        (["bicor_tiny", 7], {"num_layer": 2}, "did you mean 'num_layers'"),
        (["fctl_tiny", 7], {"dino": True}, "options are encoder, contexts"),
        (["fctl_tiny", 7], {"mcf": "sum"}, "mcf must be one of"),
        (["bicor_tiny", 1], {}, "num_classes must be"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        rskt_seg.create_model(*arguments, **options)


def test_images_of_several_sizes_are_one_clear_error():
    model = rskt_seg.create_model("bicor_tiny", 3)
    with pytest.raises(ConfigError, match="must have one size"):
        model([images()[0], images(1, 32, 32)[0]])
