"""The forms run on a GPU without tensors of the CPU among theirs, though no GPU is here."""

import pytest
import torch
from benchmarks.forms import build_form, class_names, make_model
from benchmarks.training import FORMS, make_step

from tests.accelerator import Accelerator

MAY_UPLOAD = {
    "encoders/text.py:TextBank._encode",
    "plain.py:Plain.embed_text",
    "training.py:make_target",
}
"""The tokens of a vocabulary, and the labels of a step."""


@pytest.fixture
def gpu():
    model = make_model("rskt_tiny", torch.device("cpu"))
    accelerator = Accelerator(model)
    accelerator.move(model)
    with accelerator:
        yield accelerator, model, accelerator.put(torch.zeros(2, 3, 96, 96))


@pytest.mark.parametrize(("name", "precision"), [("plain", "fp32"), ("model", "fp32"), ("model", "bf16")])
def test_inference_stays_on_the_device(gpu, name, precision):
    accelerator, model, images = gpu
    form = build_form(model, name, precision)
    accelerator.events.clear()
    for call in (lambda: form.logits(images, class_names(3)), *form.stages(images, class_names(3)).values()):
        call()
    crossed = {each.where for each in accelerator.events if each.kind in ("upload", "download", "read")}
    assert crossed <= MAY_UPLOAD


@pytest.mark.parametrize("name", FORMS)
def test_a_training_step_stays_on_the_device(gpu, name):
    accelerator, model, images = gpu
    step = make_step(model, name, images, class_names(3))
    accelerator.events.clear()
    step.forward()
    step.backward()
    crossed = {each.where for each in accelerator.events if each.kind in ("upload", "download", "read")}
    assert crossed <= MAY_UPLOAD
