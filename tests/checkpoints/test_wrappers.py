"""Checkpoints of wrapped models load where the wrapper is known; otherwise its prefix is named."""

import pytest
import torch

import rskt_seg
from rskt_seg.checkpoints.files import unwrap
from rskt_seg.checkpoints.wrappers import common_prefix, shared_prefixes
from rskt_seg.errors import CheckpointError

COMPILED = ["_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.", "sem_seg_head.model._orig_mod."]


def tiny(seed=0, name="rskt_tiny", classes=None):
    torch.manual_seed(seed)
    return rskt_seg.create_model(name, classes)


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def assert_same(model, other):
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("prefix", COMPILED)
@pytest.mark.parametrize(("name", "classes"), [("rskt_tiny", None), ("bicor_tiny", 2), ("fctl_tiny", 2)])
def test_the_prefix_of_a_wrapper_is_removed_and_reported(tmp_path, prefix, name, classes):
    source, target = tiny(1, name, classes), tiny(2, name, classes)
    torch.save({"state_dict": prefixed(source.state_dict(), prefix)}, tmp_path / "w.pth")
    report = rskt_seg.load_checkpoint(target, tmp_path / "w.pth")
    assert_same(target, source)
    assert f"w.pth (without the prefix {prefix!r} of all its names)" in str(report)
    assert len(report.loaded) == len(source.state_dict())


def test_a_checkpoint_without_a_wrapper_is_reported_as_it_is():
    source, target = tiny(1), tiny(2)
    report = rskt_seg.load_checkpoint(target, source.state_dict())
    assert report.source == "state dict"


def test_a_prefix_that_one_name_lacks_is_not_removed():
    state = tiny(1).state_dict()
    mixed = prefixed(state, "_orig_mod.") | {"decoder.head.bias": state["decoder.head.bias"]}
    with pytest.raises(CheckpointError, match=r"_orig_mod\."):
        rskt_seg.load_checkpoint(tiny(2), mixed)


@pytest.mark.parametrize("prefix", ["network.", "a.b."])
def test_an_unknown_prefix_is_named_with_the_way_to_remove_it(prefix):
    state = prefixed(tiny(1).state_dict(), prefix)
    with pytest.raises(CheckpointError) as error:
        rskt_seg.load_checkpoint(tiny(2), state)
    text = str(error.value)
    assert f"all of which begin with {prefix!r}" in text and f"key.removeprefix({prefix!r})" in text
    assert "Build the model" not in text and "\n" not in text


def test_weights_of_another_program_are_told_by_their_names():
    state = {"backbone.stem.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError) as error:
        rskt_seg.load_checkpoint(tiny(), state)
    text = str(error.value)
    assert "found 2 others, such as backbone.stem.weight, head.bias" in text
    assert "choose a checkpoint of RSKT-Seg" in text and "Build the model" not in text


def test_faults_that_are_left_without_the_prefix_are_told_with_it():
    state = prefixed(tiny(1).state_dict(), "_orig_mod.")
    del state["_orig_mod.decoder.head.bias"]
    with pytest.raises(CheckpointError, match=r"prefix '_orig_mod\.'.* 1 missing: decoder\.head\.bias"):
        rskt_seg.load_checkpoint(tiny(2), state)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("role", ["clip", "dino"])
def test_encoders_load_without_the_prefix_of_a_wrapper_too(role, prefix):
    source, target = tiny(1), tiny(2)
    state = source.get_submodule(role).state_dict()
    report = rskt_seg.load_encoder(target, role, prefixed(state, prefix))
    plain = tiny(3)
    rskt_seg.load_encoder(plain, role, state)
    assert_same(target.get_submodule(role), plain.get_submodule(role))
    assert repr(prefix) in str(report) or "module." in prefix


def test_an_encoder_that_fits_in_no_way_is_refused_and_changes_nothing():
    model, untouched = tiny(2), tiny(2)
    with pytest.raises(CheckpointError, match=r"without the prefix '_orig_mod\.'.*missing"):
        rskt_seg.load_encoder(model, "dino", {"_orig_mod.pos_embed": torch.zeros(1)})
    assert_same(model, untouched)


@pytest.mark.parametrize("keys", [("model_state_dict",), ("state_dict", "model"), ("model", "state_dict")])
def test_nested_state_dicts_are_found(keys):
    content = {"a": torch.ones(1)}
    for key in reversed(keys):
        content = {key: content, "epoch": 3}
    assert list(unwrap(content, "w.pth").state) == ["a"]


def test_several_state_dicts_are_not_chosen_from():
    content = {"model": {"a": torch.ones(1)}, "teacher": {"a": torch.zeros(1)}}
    with pytest.raises(
        CheckpointError, match=r"w\.pth: expected one state dict, found several: model, teacher"
    ):
        unwrap(content, "w.pth")
    assert list(unwrap({"teacher": content["teacher"], "student": {}}, "w.pth").state) == ["a"]


def test_a_dictionary_within_itself_ends():
    content = {}
    content["model"] = content
    with pytest.raises(CheckpointError, match="found no tensors"):
        unwrap(content, "loop")


def test_prefixes_are_those_of_all_names():
    assert shared_prefixes(["module.model.a", "module.model.b.c"]) == ("module.", "module.model.")
    assert (
        shared_prefixes(["module.a", "model.a"]) == shared_prefixes([]) == shared_prefixes(["module."]) == ()
    )
    assert common_prefix(["net.a.b", "net.a.c"]) == "net.a." and common_prefix(["net.ab", "net.ac"]) == "net."
    assert common_prefix(["a.b", "c.d"]) == "" and common_prefix(["a.b"]) == "a."
