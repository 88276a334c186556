"""The plain form computes what the model does, by none of its modules; what differs gets no time."""

import sys

import bench
import pytest
import torch
from benchmarks import measuring
from benchmarks.equality import UnequalError, compare
from benchmarks.forms import STAGES, Form, build_form, class_names, make_images
from benchmarks.plain import Plain
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rskt_seg.commands.entry import run
from tests.tools.conftest import plan


@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (2, 5), (1, 19)])
def test_the_plain_form_equals_the_model(model, batch, classes):
    images, names = make_images(model, batch), class_names(classes)
    plain, found = (build_form(model, name, "fp32").logits(images, names) for name in ("plain", "model"))
    assert found.std() > 0.1
    assert compare("model fp32", "fp32", plain, found).holds


def test_every_stage_of_the_plain_form_equals_that_of_the_model(model):
    images, names = make_images(model, 2), class_names(4)
    plain, found = (build_form(model, name, "fp32").stages(images, names) for name in ("plain", "model"))
    assert tuple(plain) == tuple(found) == STAGES
    for stage in STAGES:
        expected, given = plain[stage](), found[stage]()
        if stage == "remote":
            expected, given = expected.taps, given.taps
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4, msg=stage)


def test_the_plain_form_calls_no_module_so_that_it_stays_as_slow_as_it_is(model, monkeypatch):
    images, names = make_images(model, 1), class_names(2)
    plain = Plain(model)

    def refuse(self, *args, **kwargs):
        raise AssertionError(f"{type(self).__name__} was called")

    monkeypatch.setattr(nn.Module, "__call__", refuse)
    with torch.no_grad():
        plain(images, names)


def test_the_plain_form_encodes_text_once_in_evaluation_and_in_every_step_of_training(model, monkeypatch):
    plain, images, names, texts = Plain(model), make_images(model, 1), class_names(2), []
    encode = plain.embed_text
    monkeypatch.setattr(plain, "embed_text", lambda words: texts.append(words) or encode(words))
    for grad, expected in ((False, 1), (True, 2)):
        texts.clear()
        with torch.set_grad_enabled(grad):
            for _ in range(2):
                plain(images, names)
        assert len(texts) == expected


def broken(model, name, precision):
    """A form whose head is wrong, unless it is the plain one."""
    if name == "plain":
        return build_form(model, name, precision)
    other = measuring.make_model("rskt_tiny", torch.device("cpu"))
    with torch.no_grad():
        other.decoder.head.bias += 1e-3 if precision == "fp32" else 1.0
    return Form(name, precision, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_time_is_given_for_a_form_that_computes_something_else(monkeypatch, capsys, precision):
    monkeypatch.setattr(measuring, "build_form", broken)
    monkeypatch.setattr(measuring, "alternate", lambda *_: pytest.fail("timed"))
    with pytest.raises(UnequalError, match="No time is given"):
        measuring.measure(plan(precisions=(precision,)))
    monkeypatch.setattr(sys, "argv", ["bench.py", "--tiny", "--classes", "2", "--precision", precision])
    assert run(bench.main) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "differs from the plain form" in err


@given(st.integers(1, 5), st.sampled_from(["fp32", "bf16"]), st.booleans())
def test_logits_that_are_not_finite_are_not_equal(classes, precision, both):
    plain = torch.randn(1, classes, 4, 4)
    found = plain.clone()
    found[0, 0, 1, 1] = torch.nan
    assert not compare("form", precision, found if both else plain, found).holds


def test_a_clear_label_may_not_change_however_small_the_distance_is():
    plain = torch.zeros(1, 2, 64, 64)
    plain[:, 0], plain[:, 1] = 5.0, -5.0
    plain[0, :, 0, 0] = torch.tensor([1.0, -1.0])
    found = plain.clone()
    assert compare("form", "bf16", plain, found).holds
    found[0, :, 0, 0] = torch.tensor([-0.01, 0.01])
    equality = compare("form", "bf16", plain, found)
    assert equality.relative_l2 < 5e-3 and equality.flipped == 1 and not equality.holds
    plain[0, :, 0, 0] = torch.tensor([1e-3, -1e-3])
    equality = compare("form", "bf16", plain, found)
    assert equality.changed > 0 and equality.flipped == 0 and equality.holds
