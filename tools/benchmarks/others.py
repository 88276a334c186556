"""The other methods with a stage table: what is called of their forms, and a run of one of them.

A stage is called with inputs that the model as trained has computed, the same for all forms. Needed work is
what the inference form multiplies, counted by PyTorch's counter on its form without packed layers: there are
no formulas. Stages that multiply no matrices have no distance.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import rskt_seg
from benchmarks import plain_others as plain
from benchmarks.equality import compare
from benchmarks.forms import class_names
from benchmarks.limit import TINY, Limit
from benchmarks.measuring import Plan
from benchmarks.results import PLAIN, Result, Timing, describe_machine
from benchmarks.timing import alternate, clock_of, repeats_of
from rskt_seg.analysis import count_flops
from rskt_seg.inference.patches import score_map
from rskt_seg.models.fctl.geometry import Grid, window_tensor
from rskt_seg.models.wsss.par import ParOptions, refine_pixels

Calls = dict[str, Callable[[], Tensor]]
FORM = "form fp32"
PRESETS = {"fctl": "fctl_vgg16", "wsss": "prior_wsss_vitb16", "bicor": "bicor_convnextb"}
"""Method -> its preset of published size."""
TINY_PRESETS = {"fctl": "fctl_tiny", "wsss": "prior_wsss_tiny", "bicor": "bicor_tiny"}
"""Method -> its preset for tests."""
_CLASSES = 7
_SIDE = 512
_OVERLAP = 50


@dataclass(frozen=True)
class Subject:
    """A method as it is measured.

    Attributes:
        model: The model as trained.
        calls: Form of the model -> stage -> call; "whole" goes from pixels to logits.
        plain: Stages of the plain form; those that are missing are computed by the model.
    """

    model: Any
    calls: Callable[[Any], Calls]
    plain: Calls


def _draw(*shape: int) -> Tensor:
    """Draw pixels 1..255: no margin of an image is black by chance."""
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(1)).float()


def fctl(model: Any, batch: int, side: int) -> Subject:
    """Prepare FCtL: patches amid a scene, and a scene of four patches, whose contexts leave it."""
    side = model.working_side
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)  # where training starts, contexts have no effect
    images = {name: _draw(batch, 3, side, side) for name in ("patch", *model.spec.contexts)}
    pixels = images.pop("patch")
    scene = _draw(2 * side - _OVERLAP, 2 * side - _OVERLAP, 3).numpy().astype(np.uint8)
    encoded = model.encoder(pixels / 255)
    features = {"local": encoded.final}
    features |= {name: model.encode_context(name, each).map for name, each in images.items()}
    encoder = model.encoder
    grids = (Grid(encoded.final.shape[2], side, encoder.stride, encoder.offset),) * 2
    windows = {name: window_tensor((0.0, 0.0, 1.0, 1.0), model.device) for name in features}
    skips = encoded.taps[4], encoded.taps[3]
    return Subject(
        model,
        lambda form: {
            "patch encoder": lambda: form.encoder(pixels / 255).final,
            "context encoders": lambda: torch.cat(
                [form.encode_context(name, each).map for name, each in images.items()]
            ),
            "fusion": lambda: form.fusion(features, windows, grids)[0],
            "decoder": lambda: form.decoder(skips, encoded.final, (side, side)),
            "whole": lambda: form(pixels, images).logits,
            "scene": lambda: score_map(form, scene, overlap=_OVERLAP),
        },
        {},
    )


def bicor(model: Any, batch: int, side: int) -> Subject:
    """Prepare BiCoR-Seg: images of one size."""
    images = _draw(batch, 3, side, side)
    pixels = (images - model.pixel_mean) / model.pixel_std
    stages = list(model.convnext(pixels).taps.values())
    features = model.aggregation(stages)
    refined = model.decoder.refine(features)

    def whole() -> Tensor:
        x = (images - model.pixel_mean) / model.pixel_std
        maps = plain.aggregate(model.aggregation, list(model.convnext(x).taps.values()))
        head: Tensor = model.decoder.head(*plain.refine(model.decoder, maps))
        return head

    return Subject(
        model,
        lambda form: {
            "encoder": lambda: form.convnext(pixels).final,
            "aggregation": lambda: form.aggregation(stages),
            "layers": lambda: form.decoder.refine(features).features,
            "head": lambda: form.decoder.head(refined.features, refined.class_embeddings[-1]),
            "whole": lambda: form(images).logits,
        },
        {
            "aggregation": lambda: plain.aggregate(model.aggregation, stages),
            "layers": lambda: plain.refine(model.decoder, features)[0],
            "whole": whole,
        },
    )


def wsss(model: Any, batch: int, side: int) -> Subject:
    """Prepare the weakly supervised method: tiles at one scale, and four maps for pseudo labels."""
    spec, visual = model.spec, model.clip.visual
    model.text_enriched.normal_(generator=torch.Generator().manual_seed(2))
    images = _draw(batch, 3, side, side)
    pixels = (images - model.clip_mean) / model.clip_std
    patch = model.dino_stride
    resized = torch.nn.functional.interpolate(images, (side // patch * patch,) * 2, mode="bilinear")
    resized = (resized - model.dino_mean) / model.dino_std
    taps = [level - 1 for level in spec.clip_levels]
    levels = plain.see_by_clip(visual, pixels, taps)
    evidence = model(images, evidence=True).evidence
    present = torch.arange(len(model.foreground)).expand(batch, -1) < 3
    maps = torch.rand(4, side, side, generator=torch.Generator().manual_seed(3))
    par = ParOptions(spec.par_dilations, spec.par_iters, spec.par_w1, spec.par_w2)
    first = spec.first_layer - 1

    def attention(form: Any) -> Tensor:
        traced = form.clip.visual.traced(pixels, taps, first, antialias=True).attention
        return torch.stack([traced[index] for index in sorted(traced)], dim=1)

    def whole() -> Tensor:
        x = (images - model.clip_mean) / model.clip_std
        head: Tensor = model.decoder(model.clip_adapter(plain.see_by_clip(visual, x, taps)))
        return head

    return Subject(
        model,
        lambda form: {
            "clip": lambda: torch.stack(
                list(form.clip.visual.tapped(pixels, taps, antialias=True).taps.values())
            ),
            "head": lambda: form.decoder(form.clip_adapter(levels)),
            "whole": lambda: form(images).logits,
            "clip, with attention": lambda: attention(form),
            "dino": lambda: form.dinov2(resized),
            "maps": lambda: form.cams(evidence, present).final,
            "par": lambda: refine_pixels(images[0], maps, **asdict(par)),
        },
        {
            "clip": lambda: torch.stack(plain.see_by_clip(visual, pixels, taps)),
            "whole": whole,
            "clip, with attention": lambda: plain.attention_of_clip(visual, pixels, first),
            "dino": lambda: plain.see_by_dino(model.dinov2, resized),
            "par": lambda: plain.refine_pixels(images[0], maps, par),
        },
    )


_SUBJECTS: Mapping[str, Callable[[Any, int, int], Subject]] = {"fctl": fctl, "wsss": wsss, "bicor": bicor}


@torch.no_grad()
def prepare(method: str, plan: Plan) -> Subject:
    """Build a model with random weights, and the inputs of its stages.

    Args:
        method: A key of `PRESETS`.
        plan: States preset, batch, device and whether images are small.

    Returns:
        What is measured.
    """
    torch.manual_seed(0)
    model = rskt_seg.create_model(plan.preset, class_names=class_names(_CLASSES))
    model = model.to(torch.device(plan.device)).eval().requires_grad_(False)
    return _SUBJECTS[method](model, plan.batch, 64 if plan.small else _SIDE)


def _keep(call: Callable[[], Tensor], outputs: list[Tensor]) -> None:
    outputs.append(call())


@torch.inference_mode()
def measure_method(method: str, plan: Plan) -> Result:
    """Make a run: equality of every stage first, then times in turns.

    Args:
        method: A key of `PRESETS`.
        plan: What to measure; one precision, no training, no memory.

    Returns:
        What was found. Differences are relative to the greatest value of the plain form.

    Raises:
        UnequalError: A stage of the form computes something else than the plain one.
    """
    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    clock = clock_of(device, plan.threads)
    result = Result(describe_machine(device), {**asdict(plan), "method": method, "clock": plan.clock})
    subject = prepare(method, plan)
    limit = Limit(device, ("fp32",), clock, TINY if plan.small else None)
    limit.measure()
    forms = {
        PLAIN: subject.calls(subject.model) | subject.plain,
        FORM: subject.calls(rskt_seg.optimize_for_inference(subject.model)),
    }
    counted = subject.calls(rskt_seg.optimize_for_inference(subject.model, packed=False))
    for stage in forms[PLAIN] if plan.stages else ("whole",):
        calls = {name: form[stage] for name, form in forms.items()}
        outputs: list[Tensor] = []
        first = [clock.measure(partial(_keep, call, outputs)) for call in calls.values()]
        expected, found = outputs
        unit = expected.abs().max()
        shape = expected.shape if stage == "whole" else (1, 1, -1)  # whatever has no classes has no labels
        equality = compare(
            f"{stage} of {FORM}", "fp32", (expected / unit).reshape(shape), (found / unit).reshape(shape)
        )
        equality.require()
        result.equality.append(equality)
        repeats = repeats_of(min(sample.seconds for sample in first))
        samples = alternate(calls, plan.pairs, clock, repeats)
        work = count_flops(counted[stage])
        result.timings += [
            Timing(stage, None, name, "fp32", tuple(samples[name]), work or None) for name in calls
        ]
    limit.measure()
    result.rates = limit.rates()
    return result
