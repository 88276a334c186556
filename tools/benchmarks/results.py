"""What a run has found, as one value that is written to JSON and read again."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.equality import Equality
from benchmarks.limit import Rate, peak
from benchmarks.memory import Memory, Setting
from benchmarks.timing import Ratio, Sample, ratio_of
from rskt_seg import __version__
from rskt_seg.analysis.measure import device_name
from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.reading import parse_json, read_text

PLAIN = "plain fp32"
"""Label of the form with which all are compared."""
PUBLISHED = "published fp32"
"""Label of the published code itself, where a run has it."""
CALIBRATED = 0.1
"""Greatest share by which the time of the plain form may differ from that of the published code."""
_TOLD_FLAGS = ("avx", "amx", "fma", "sse4", "neon", "asimd", "sve", "bf16")


@dataclass(frozen=True)
class Timing:
    """Samples of one form in one stage.

    Attributes:
        stage: "whole", one of `benchmarks.forms.STAGES`, or "training step", "forward", "backward".
        classes: Number of classes; None for stages that do not depend on it.
        form: Label of the form.
        precision: Its precision, whose peak is the limit.
        samples: In the order of the rounds.
        work: Necessary FLOPs of a call; None where they are not stated.
    """

    stage: str
    classes: int | None
    form: str
    precision: str
    samples: tuple[Sample, ...]
    work: float | None

    @property
    def key(self) -> str:
        """Name of the timing: stage, classes and form."""
        return "/".join([self.stage, *([] if self.classes is None else [str(self.classes)]), self.form])

    @property
    def seconds(self) -> float:
        """Median of the samples."""
        ordered = sorted(each.seconds for each in self.samples)
        middle = len(ordered) // 2
        return (ordered[middle] + ordered[~middle]) / 2


@dataclass(frozen=True)
class Saved:
    """What a training step keeps for its backward pass.

    Attributes:
        form: Label of the form.
        classes: Number of classes.
        bytes: Bytes of unique storages, parameters excluded.
    """

    form: str
    classes: int
    bytes: int


@dataclass
class Result:
    """A run: where and how, and all that was found, samples included."""

    environment: dict[str, Any]
    settings: dict[str, Any]
    rates: list[Rate] = field(default_factory=list)
    equality: list[Equality] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    saved: list[Saved] = field(default_factory=list)

    def ratio(self, timing: Timing, base: str = PLAIN) -> Ratio | None:
        """Return how many times faster a timing is than that of the same by another form.

        Args:
            timing: One of `timings`.
            base: Label of the other form.

        Returns:
            The ratio; None for the other form itself, and where it was not timed.
        """
        for each in self.timings:
            if (each.stage, each.classes, each.form) == (timing.stage, timing.classes, base):
                return None if each is timing else ratio_of(each.samples, timing.samples)
        return None

    def distance(self, timing: Timing) -> float | None:
        """Return the time by that of the necessary FLOPs at the peak of the machine; None if not stated."""
        if timing.work is None:
            return None
        return timing.seconds * peak(self.rates, timing.precision) / timing.work

    def figures(self) -> dict[str, float]:
        """Return every figure that a goal can name, as "rskt_vitb16 cpu/whole/17/form fp32/ratio"."""
        found: dict[str, float] = {}
        for timing in self.timings:
            if (ratio := self.ratio(timing)) is not None:
                found[f"{timing.key}/ratio"] = ratio.median
            if (against := self.ratio(timing, PUBLISHED)) is not None:
                found[f"{timing.key}/against"] = against.median
            if timing.form == PUBLISHED and ratio is not None:
                key = timing.key.removesuffix(PUBLISHED) + PLAIN
                found[f"{key}/calibration"] = abs(ratio.median - 1)
            if (distance := self.distance(timing)) is not None:
                found[f"{timing.key}/limit"] = distance
        for equality in self.equality:
            key = f"equality/{equality.classes}/{equality.form}"
            found[f"{key}/max_abs"], found[f"{key}/relative_l2"] = equality.max_abs, equality.relative_l2
        for memory in self.memory:
            if memory.extra is not None:
                what = "training memory" if memory.setting.training else "memory"
                found[f"{what}/{memory.setting.classes}/{memory.setting.label}/MB"] = memory.extra / 1e6
        for saved in self.saved:
            found[f"saved/{saved.classes}/{saved.form}/MB"] = saved.bytes / 1e6
        return {f"{self._subject}/{name}": value for name, value in found.items()}

    @property
    def _subject(self) -> str:
        """Return what was measured, so that no goal is held to the figures of something else."""
        plan = self.settings
        batch = f" batch {plan['batch']}" if plan["batch"] > 1 else ""
        threads = f" {plan['threads']} threads" if plan["threads"] > 1 else ""
        return f"{plan['preset']} {plan['device']}{batch}{threads}"

    def to_json(self) -> str:
        """Return everything as JSON, the figures too."""
        return json.dumps({**asdict(self), "figures": self.figures()}, indent=1) + "\n"


def read_result(path: Path) -> Result:
    """Read what `Result.to_json` has written.

    Args:
        path: The file.

    Returns:
        The result.

    Raises:
        ConfigError: There is no such file, or it is none of a benchmark.
    """
    try:
        raw: Any = parse_json(read_text(path))
        return Result(
            environment=dict(raw["environment"]),
            settings=dict(raw["settings"]),
            rates=[Rate(each["name"], each["precision"], tuple(each["rates"])) for each in raw["rates"]],
            equality=[Equality(**each) for each in raw["equality"]],
            timings=[_timing(each) for each in raw["timings"]],
            memory=[Memory(Setting(**each.pop("setting")), **each) for each in raw["memory"]],
            saved=[Saved(**each) for each in raw["saved"]],
        )
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no result of this benchmark, as --output writes it ({error!r})"
        ) from error


def _timing(raw: dict[str, Any]) -> Timing:
    samples = tuple(Sample(**each) for each in raw.pop("samples"))
    return Timing(samples=samples, **raw)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what a reader needs to know of where a run was made.

    Args:
        device: Device of the models.

    Returns:
        Versions, device, processor, its flags, threads and load.
    """
    return {
        "rskt_seg": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{device.type} ({device_name(device)})",
        "processor": device_name(torch.device("cpu")),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "flags": _flags(),
        "onednn": torch.backends.mkldnn.is_available(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _flags() -> list[str]:
    """Return the vector extensions that Linux states of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return [flag for flag in value.split() if flag.startswith(_TOLD_FLAGS)]
    return []
