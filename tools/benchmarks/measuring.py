"""A run: memory, equality, times and the limit of the machine, in this order and in one process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.against import ADVICE, Checkout, Published, PublishedCode
from benchmarks.equality import compare
from benchmarks.forms import (
    PER_CLASS,
    Form,
    build_form,
    class_names,
    form_keys,
    make_images,
    make_model,
    prompt_tokens,
)
from benchmarks.limit import TINY, Limit
from benchmarks.memory import Memory, Setting
from benchmarks.memory import measure as measure_memory
from benchmarks.results import PLAIN, Result, Saved, Timing, describe_machine
from benchmarks.timing import Sample, alternate, clock_of, repeats_of
from benchmarks.training import FORMS, Step, make_step, make_target, time_steps
from benchmarks.work import check_spec, necessary_work


@dataclass(frozen=True)
class Plan:
    """What a run measures.

    Attributes:
        preset: Preset of the model.
        classes: Numbers of classes.
        precisions: "fp32", "bf16" or both.
        batch: Images at a time.
        pairs: Rounds.
        threads: Threads of an operation; with more than one wall time counts.
        device: Type of the device.
        stages: Whether stages are timed beside the whole.
        memory: Whether memory is measured.
        training: Whether a training step is timed.
        small: Whether the products of the limit are small, to show the course of a run.
        against: The published code, which is timed beside our forms; None: it is not at hand.
    """

    preset: str
    classes: tuple[int, ...]
    precisions: tuple[str, ...]
    batch: int
    pairs: int
    threads: int
    device: str
    stages: bool
    memory: bool
    training: bool
    small: bool
    against: Checkout | None = None

    @property
    def clock(self) -> str:
        """What counts as time."""
        if self.device != "cpu":
            return "events of the device"
        return "CPU time" if self.threads == 1 else "wall time"


def measure(plan: Plan) -> Result:
    """Make a run.

    Args:
        plan: What to measure.

    Returns:
        What was found.

    Raises:
        UnequalError: A form computes something else than the plain one.
        ConfigError: The model is not the published one, there are not so many class names, or the published
            code cannot be used.
    """
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, or equality could not be asked for
    device = torch.device(plan.device)
    # What cannot be imported is told before anything is measured.
    code = None if plan.against is None else PublishedCode(plan.against, device)
    # While this process holds no models.
    memory = _measure_memory(plan) if plan.memory else []
    result = Result(describe_machine(device), {**asdict(plan), "clock": plan.clock}, memory=memory)
    return Run(plan, result, code).make()


def _measure_memory(plan: Plan) -> list[Memory]:
    fixed = (plan.device, plan.threads)
    settings = [
        Setting(plan.preset, name, precision, classes, plan.batch, *fixed)
        for classes in plan.classes
        for name, precision in form_keys(plan.precisions)
    ]
    if plan.training:
        least = min(plan.classes)
        settings += [Setting(plan.preset, form, "fp32", least, 1, *fixed, training=True) for form in FORMS]
    return [measure_memory(setting) for setting in settings]


class Run:
    """The models of a run, and its result as far as it has come."""

    def __init__(self, plan: Plan, result: Result, code: PublishedCode | None = None) -> None:
        device = torch.device(plan.device)
        self.plan, self.result, self.code = plan, result, code
        self.clock = clock_of(device, plan.threads)
        self.model = make_model(plan.preset, device)
        check_spec(self.model.spec)
        precisions = tuple(dict.fromkeys(("fp32", *plan.precisions)))
        self.limit = Limit(device, precisions, self.clock, TINY if plan.small else None)

    def make(self) -> Result:
        """Measure all that the plan asks for; the limit before, between and after."""
        self.limit.measure()
        forms = [build_form(self.model, *key) for key in form_keys(self.plan.precisions)]
        images = make_images(self.model, self.plan.batch)
        for index, classes in enumerate(self.plan.classes):
            with self._published(class_names(classes)) as published:
                others = [Form("published", "fp32", each) for each in published]
                self._time_whole([*forms, *others], images, classes)
            if self.plan.stages:
                # What the encoders of images do depends on no class.
                self._time_stages(forms, images, classes, PER_CLASS if index else None)
            self.limit.measure()
        del forms
        if self.plan.training:
            self._time_training()
            self.limit.measure()
        self.result.rates = self.limit.rates()
        return self.result

    @contextmanager
    def _published(self, names: Sequence[str]) -> Iterator[list[Published]]:
        """Yield the published model for these classes, if a run has it; it keeps those it was built for."""
        if self.code is None:
            yield []
            return
        with self.code.built(self.model, names) as published:
            self.result.settings["depth"] = published.depth
            yield [published]

    def _time_whole(self, forms: Sequence[Form], images: Tensor, classes: int) -> None:
        """Compare the forms, and time them if they are equal; the comparison has warmed them up."""
        names = class_names(classes)
        logits = {form.label: form.logits(images, names) for form in forms}
        for form in forms[1:]:
            equality = compare(form.label, form.precision, logits[PLAIN], logits[form.label])
            equality.require(ADVICE if form.name == "published" else "")
            self.result.equality.append(equality)
        calls = {form.label: _inference(form, images, names) for form in forms}
        samples = alternate(calls, self.plan.pairs, self.clock)
        work = necessary_work(self.model.spec, classes, prompt_tokens(self.model, names))
        self._keep("whole", classes, forms, samples, self.plan.batch * work.image)

    def _time_stages(
        self, forms: Sequence[Form], images: Tensor, classes: int, only: tuple[str, ...] | None
    ) -> None:
        """Time the stages, each form on the inputs that it computes itself."""
        names = class_names(classes)
        work = asdict(necessary_work(self.model.spec, classes, prompt_tokens(self.model, names)))
        by_form = {form.label: form.stages(images, names) for form in forms}
        for stage in by_form[PLAIN]:
            if only is not None and stage not in only:
                continue
            calls = {label: stages[stage] for label, stages in by_form.items()}
            repeats = repeats_of(min(self.clock.measure(call).seconds for call in calls.values()))
            samples = alternate(calls, self.plan.pairs, self.clock, repeats)
            flops = work[stage] * (1 if stage == "text" else self.plan.batch)
            self._keep(stage, classes if stage in PER_CLASS else None, forms, samples, flops)

    def _keep(
        self,
        stage: str,
        classes: int | None,
        forms: Sequence[Form],
        samples: dict[str, list[Sample]],
        work: float,
    ) -> None:
        self.result.timings += [
            Timing(stage, classes, form.label, form.precision, tuple(samples[form.label]), work)
            for form in forms
        ]

    def _time_training(self) -> None:
        """Time a training step of one image, with the fewest classes."""
        classes = min(self.plan.classes)
        names, images = class_names(classes), make_images(self.model, 1)
        steps = {form: make_step(self.model, form, images, names) for form in FORMS}
        with self._published(names) as published:
            for each in published:
                target = make_target(images, classes)
                each.module.train()
                steps["published"] = Step(each.module, partial(each.loss, images, target))
            times = time_steps(steps, self.plan.pairs, self.clock)
        for form, found in times.items():
            label = f"{form} fp32"
            for stage, samples in (
                ("training step", found.whole),
                ("forward", found.forward),
                ("backward", found.backward),
            ):
                self.result.timings.append(Timing(stage, classes, label, "fp32", tuple(samples), None))
            self.result.saved.append(Saved(label, classes, found.saved))


def _inference(form: Form, images: Tensor, names: Sequence[str]) -> Callable[[], object]:
    return lambda: form.logits(images, names)
