"""A closed-set model starts from a checkpoint of other classes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rskt_seg
from rskt_seg.checkpoints.files import WeightFile
from rskt_seg.errors import CheckpointError
from rskt_seg.methods import create_model, registered_methods
from rskt_seg.methods.carry import carry_classes
from rskt_seg.methods.load import load_weights
from tests.checkpoints.test_fctl import encoders as published_contexts
from tests.checkpoints.test_fctl import published as published_fctl
from tests.models.fctl_draw import build, surroundings

OLD = ("background", "road", "tree", "Water")
NEW = ("background", "water", "silo", "road", "canal")
CLOSED = [method.name for method in registered_methods() if method.is_closed]
PRESETS = {"bicor": "bicor_tiny", "fctl": "fctl_tiny", "wsss": "prior_wsss_tiny"}


def model_of(method: str, names, seed: int = 0, **options):
    """A model of which no value is 0, so that none is taken for another."""
    torch.manual_seed(seed)
    model = create_model(PRESETS[method], class_names=names, **options)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + seed)
            elif tensor.dtype == torch.bool:
                tensor.fill_(seed == 0)
    return model


def checkpoint(model, **changes) -> WeightFile:
    facts = {"options": vars(model.spec), "class_names": model.class_names}
    return WeightFile(dict(model.state_dict()), **{**facts, **changes})


def carried(model, content: WeightFile, contexts=None):
    """Load a checkpoint of other classes; return what became of them."""
    fitted, _, classes = carry_classes(model, "w.pth", content, contexts)
    load_weights(model, "w.pth", fitted)
    return classes


def test_the_presets_of_these_tests_are_all_closed_sets():
    assert set(PRESETS) == set(CLOSED)


@pytest.mark.parametrize("method", CLOSED)
def test_rows_of_classes_in_common_go_to_their_places_and_all_else_stays_what_it_was(method):
    options = {"learn_upsampling": True} if method == "fctl" else {}
    old, new = model_of(method, OLD, 0, **options), model_of(method, NEW, 1, **options)
    before = {key: tensor.clone() for key, tensor in new.state_dict().items()}
    classes = carried(new, checkpoint(old))
    assert (classes.carried, classes.new) == (("background", "water", "road"), ("silo", "canal"))
    assert classes.left == ("tree",) and "3 carried over by name (background, water, road)" in str(classes)
    state, given = new.state_dict(), old.state_dict()
    changed = {key for key in state if state[key].shape != given[key].shape}
    assert changed and changed == set(classes.tensors)
    for key in state.keys() - changed:
        assert torch.equal(state[key], given[key]), key
    for key in changed - {"text_enriched"}:
        lacks = len(NEW) - len(state[key])  # the background, which only some have
        places = [(OLD.index("Water"), 1), (OLD.index("road"), 3), *([] if lacks else [(0, 0)])]
        for i, j in places:
            if state[key].ndim == 4 and state[key].shape[0] == state[key].shape[1]:
                for k, m in places:
                    assert torch.equal(state[key][j, m], given[key][i, k])
                assert torch.equal(state[key][j, 2], before[key][j, 2])
            else:
                assert torch.equal(state[key][j - lacks], given[key][i - lacks]), key
        for j in (2, 4):
            assert torch.equal(state[key][j - lacks], before[key][j - lacks]), key
    if method == "wsss":
        assert torch.equal(state["text_enriched"], before["text_enriched"])


@settings(max_examples=8)
@given(order=st.permutations(OLD))
def test_the_logits_of_a_model_with_its_classes_in_another_order_are_in_that_order(order):
    torch.manual_seed(0)
    old = create_model("bicor_tiny", class_names=OLD).eval()
    new = create_model("bicor_tiny", class_names=order).eval()
    if tuple(order) == OLD:
        assert carry_classes(new, "w.pth", checkpoint(old)) is None
        return
    carried(new, checkpoint(old))
    image = 255 * torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        found, expected = new(image).logits, old(image).logits
    torch.testing.assert_close(found, expected[:, [OLD.index(name) for name in order]], atol=1e-4, rtol=1e-4)


def test_trained_upsampling_goes_along_with_the_classes_on_both_its_sides():
    old = build(num_classes=4, learn_upsampling=True)
    new = build(seed=1, num_classes=4, learn_upsampling=True)
    old.class_names, new.class_names = OLD, OLD[::-1]
    with torch.no_grad():
        for name, parameter in old.named_parameters():
            if ".up" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    carried(new, checkpoint(old))
    patch, around = 255 * torch.rand(1, 3, 64, 64), surroundings(old)
    windows = {name: torch.tensor([[-0.5, -1.75, 2.5, 4.0]]) for name in old.spec.contexts}
    with torch.no_grad():
        found, expected = (model(patch, around, windows).logits for model in (new, old))
    torch.testing.assert_close(found, expected.flip(1), atol=1e-4, rtol=1e-4)


def test_a_background_of_another_name_and_kind_is_no_reason_to_refuse():
    old = model_of("wsss", OLD, 0)
    new = model_of("wsss", ("road", "clutter", "water"), 1, background="class:clutter", descriptions="")
    carried(new, checkpoint(old))
    given, state = old.state_dict(), new.state_dict()
    assert torch.equal(state["decoder.classifier.weight"][[0, 2]], given["decoder.classifier.weight"][[1, 3]])
    assert torch.equal(state["vpe.prototypes"], given["vpe.prototypes"][[0, 2]])


@pytest.mark.parametrize("method", CLOSED)
def test_the_same_classes_are_loaded_as_ever_and_other_options_refused(method):
    old, same = model_of(method, OLD, 0), model_of(method, OLD, 1)
    assert carry_classes(same, "w.pth", checkpoint(old)) is None
    option, value = {
        "bicor": ("topk_ratio", 0.5),
        "fctl": ("gpe", not old.spec.__dict__.get("gpe")),
        "wsss": ("dim", 32),
    }[method]
    other = model_of(method, NEW, 1, **{option: value})
    with pytest.raises(CheckpointError, match=f"saved from a model with .*{option}="):
        carried(other, checkpoint(old))


def test_unknown_classes_start_anew_where_there_are_more_or_fewer_of_them():
    old, new = model_of("bicor", OLD, 0), model_of("bicor", NEW, 1)
    before = new.state_dict()["decoder.class_embeddings"].clone()
    classes = carried(new, checkpoint(old, options=None, class_names=None))
    assert not classes.stated and classes.new == NEW and "does not state its classes" in str(classes)
    assert torch.equal(new.state_dict()["decoder.class_embeddings"], before)
    as_many = model_of("bicor", NEW[:4], 1)
    assert carry_classes(as_many, "w.pth", checkpoint(old, options=None, class_names=None)) is None


def test_a_published_model_of_several_files_starts_one_of_other_classes():
    options = {"num_classes": 3, "context_encoder": "frozen"}
    old, new = build(**options), build(seed=1, **options | {"num_classes": 5})
    new.class_names = NEW
    files = published_contexts(old)
    classes = carried(new, WeightFile(published_fctl(old)), files)
    assert classes.new == NEW
    for key, tensor in new.state_dict().items():
        assert torch.equal(tensor, old.state_dict()[key]) or key in classes.tensors, key


def test_what_is_no_checkpoint_of_the_method_is_refused_and_the_model_unchanged():
    new = model_of("bicor", NEW, 1)
    before = {key: tensor.clone() for key, tensor in new.state_dict().items()}
    with pytest.raises(CheckpointError, match="is a checkpoint of FCtL, the model is one of BiCoR-Seg"):
        carried(new, checkpoint(model_of("fctl", OLD, 0)))
    old = model_of("bicor", OLD, 0)
    with pytest.raises(CheckpointError, match="states 3 class names and has weights of 4 classes"):
        carried(new, checkpoint(old, class_names=OLD[:3]))
    state = dict(old.state_dict())
    del state["decoder.head.norm.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.head\.norm\.weight"):
        carried(new, WeightFile(state, class_names=OLD))
    assert all(torch.equal(before[key], tensor) for key, tensor in new.state_dict().items())


def test_open_vocabularies_have_nothing_to_carry():
    model = create_model("rskt_tiny")
    assert carry_classes(model, "w.pth", WeightFile(dict(model.state_dict()), class_names=OLD)) is None


def test_an_evaluation_keeps_refusing_other_classes(tmp_path):
    old = model_of("bicor", OLD, 0)
    torch.save({"model": old.state_dict(), "class_names": OLD}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"was trained on .*MODEL\.WEIGHTS$"):
        rskt_seg.load_checkpoint(model_of("bicor", NEW[:4], 1), tmp_path / "w.pth")
