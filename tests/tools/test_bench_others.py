"""The stage tables of the other methods: equality first, work counted, and what is no stage refused."""

import pytest
import torch
from benchmarks import plain_others
from benchmarks.equality import UnequalError
from benchmarks.others import FORM, TINY_PRESETS, measure_method, prepare
from benchmarks.report import report
from benchmarks.results import PLAIN, read_result

import rskt_seg
from rskt_seg.analysis import count_flops
from tests.tools.conftest import plan

PARTS = {
    "fctl": ("patch encoder", "context encoders", "fusion", "decoder"),
    "wsss": ("clip", "head"),
    "bicor": ("encoder", "aggregation", "layers", "head"),
}
BESIDE = {"fctl": ("scene",), "wsss": ("clip, with attention", "dino", "maps", "par"), "bicor": ()}
METHODS = pytest.mark.parametrize("method", sorted(PARTS))


def tiny(method):
    return plan(preset=TINY_PRESETS[method], pairs=1)


@pytest.fixture(scope="module")
def subjects():
    return {method: prepare(method, tiny(method)) for method in PARTS}


@METHODS
def test_every_stage_is_compared_and_then_timed(method, tmp_path):
    found = measure_method(method, tiny(method))
    stages = {*PARTS[method], *BESIDE[method], "whole"}
    assert {each.form for each in found.equality} == {f"{stage} of {FORM}" for stage in stages}
    assert {(each.stage, each.form) for each in found.timings} == {
        (stage, form) for stage in stages for form in (PLAIN, FORM)
    }
    # PAR multiplies no matrices, so that it has no distance to the limit.
    assert {each.stage for each in found.timings if each.work is None} == {"par"} & stages
    assert f"{TINY_PRESETS[method]} cpu/whole/{FORM}/ratio" in found.figures()
    (tmp_path / "run.json").write_text(found.to_json())
    assert report(read_result(tmp_path / "run.json")) == report(found)


@METHODS
def test_stages_make_up_the_work_of_the_whole(subjects, method):
    subject = subjects[method]
    with torch.inference_mode():
        for model in (subject.model, rskt_seg.optimize_for_inference(subject.model, packed=False)):
            calls = subject.calls(model)
            assert count_flops(calls["whole"]) == sum(count_flops(calls[stage]) for stage in PARTS[method])


@METHODS
def test_the_form_multiplies_no_more_than_the_plain_one(subjects, method):
    subject = subjects[method]
    with torch.inference_mode():
        form = subject.calls(rskt_seg.optimize_for_inference(subject.model, packed=False))
        for stage, call in (subject.calls(subject.model) | subject.plain).items():
            assert count_flops(form[stage]) <= count_flops(call), stage


def test_no_time_is_given_for_another_computation(monkeypatch):
    right = plain_others.refine_pixels
    monkeypatch.setattr(plain_others, "refine_pixels", lambda *args: 1.001 * right(*args))
    with pytest.raises(UnequalError, match="par of form fp32 differs from the plain form"):
        measure_method("wsss", tiny("wsss"))
