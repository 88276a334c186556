"""What `rskt-seg doctor` sees of a machine. Libraries are imported in a process of its own: a broken one can
end it or wait for ever."""

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from rskt_seg.diagnosis.environment import Environment, Outcome
from rskt_seg.diagnosis.maps import MAP_VARIABLES, PLAIN_RASTERIO
from rskt_seg.diagnosis.requirements import NEIGHBOURS, PROJECT, canonical

LIMIT_S = 240
"""Seconds that all probes together may take."""
PATIENCE_S = 100
"""Seconds after which a process is ended; where nothing is wrong, all probes take ten."""
_CODE = (
    "import json, sys; order = json.loads(sys.argv[1]); sys.path[:] = order['path']; "
    "from rskt_seg.commands.doctor_probes import answer; answer(order['probes'], order['config'])"
)
_MOST_SAID = 2000


def observe(config: str = "") -> Environment:
    """Look at this machine.

    Args:
        config: A configuration whose weights and datasets are looked for; "" for none.

    Returns:
        What findings are computed from.
    """
    variables = dict(os.environ)
    deadline = time.monotonic() + LIMIT_S
    probes = [name for name in PROBES if name != CONFIGURATION or config]
    outcomes = run_probes(probes, variables, deadline, config)
    if any(variables.get(name) for name in MAP_VARIABLES):
        plain = {name: value for name, value in variables.items() if name not in MAP_VARIABLES}
        if "rasterio" in (again := run_probes(["rasterio"], plain, deadline)):
            outcomes[PLAIN_RASTERIO] = again["rasterio"]
    found = reversed(list(metadata.distributions()))  # of several, Python imports the first
    installed = {canonical(each.metadata["Name"] or ""): each.version for each in found}
    requirements = {}
    needed_python = ""
    for name in (PROJECT, *NEIGHBOURS):
        if name in installed:
            requirements[name] = tuple(metadata.requires(name) or ())
    if PROJECT in installed:
        needed_python = metadata.metadata(PROJECT)["Requires-Python"] or ""
    folder = Path.cwd()
    return Environment(
        python=platform.python_version(),
        installed=installed,
        requirements=requirements,
        needed_python=needed_python,
        variables=variables,
        outcomes=outcomes,
        folder=folder,
        has_nvidia=any(map(os.path.exists, ("/proc/driver/nvidia/version", "/dev/nvidiactl"))),
        memory=_available_memory(),
        disk=shutil.disk_usage(folder).free,
    )


def run_probes(
    names: Sequence[str], variables: Mapping[str, str], deadline: float, config: str = ""
) -> dict[str, Outcome]:
    """Run probes in another process; where it dies, the next ones run in a new process.

    Args:
        names: Names of probes, in the order in which they run.
        variables: The environment of the process.
        deadline: When to give up, on the clock of `time.monotonic`.
        config: The configuration of the probe "configuration".

    Returns:
        What became of each; those that the deadline left no time for are absent.
    """
    outcomes: dict[str, Outcome] = {}
    left = list(names)
    while left and (seconds := min(PATIENCE_S, deadline - time.monotonic())) > 0:
        answers, end = _start(left, variables, seconds, config)
        outcomes.update(zip(left, answers, strict=False))
        left = left[len(answers) :]
        if left:
            outcomes[left.pop(0)] = Outcome(error=end)
    return outcomes


def _start(
    probes: Sequence[str], variables: Mapping[str, str], seconds: float, config: str
) -> tuple[list[Outcome], str]:
    """Return the answers of a process, and how it ended if there are fewer answers than probes."""
    order = json.dumps({"path": sys.path, "probes": probes, "config": config})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, order],
            stdin=subprocess.DEVNULL, capture_output=True, env=variables, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired as expired:
        output, end = expired.stdout or b"", f"no answer within {seconds:.0f} s"
    else:
        output, end = done.stdout, _describe_end(done)
    lines = [line for line in output.decode().split("\n")[:-1] if line]
    return [Outcome(**json.loads(line)) for line in lines], end


def _describe_end(done: "subprocess.CompletedProcess[bytes]") -> str:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = f": {said[-1]}" if said else ""
    if done.returncode < 0:
        return f"Python was ended by {signal.Signals(-done.returncode).name} while importing it{last}"
    return f"Python ended with status {done.returncode} while importing it{last}"


def answer(probes: Sequence[str], config: str) -> None:
    """Run probes in this process, and write a JSON line about each to standard output.

    Args:
        probes: Keys of `PROBES`.
        config: The configuration of the probe "configuration".
    """
    # What libraries print must not come between the answers.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in probes:
        facts: dict[str, str] = {}
        error = ""
        with tempfile.TemporaryFile() as said:
            stderr = os.dup(2)
            os.dup2(said.fileno(), 2)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("default")
                    PROBES[name](facts, config)
            except (Exception, SystemExit) as caught:
                error = " ".join(f"{type(caught).__name__}: {caught}".split())[:_MOST_SAID]
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            text = said.read(_MOST_SAID).decode(errors="replace")
        replies.write(json.dumps({"facts": facts, "error": error, "said": text}) + "\n")
        replies.flush()


def _importing(module: str) -> Callable[[dict[str, str], str], None]:
    """Return a probe that imports a module."""

    def probe(facts: dict[str, str], config: str) -> None:
        importlib.import_module(module)
        version = vars(sys.modules[module.split(".")[0]]).get("__version__")
        if isinstance(version, str):
            facts["version"] = version

    return probe


def _probe_torch(facts: dict[str, str], config: str) -> None:
    import torch

    facts["version"] = torch.__version__
    if torch.version.cuda or torch.version.hip:
        facts["build"] = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    torch.ones(2).numpy()

    from rskt_seg.devices import default_device, describe_device

    kind = default_device()
    if kind == "cpu":
        return
    facts["device"] = describe_device(kind)
    try:
        total = (torch.ones(64, 64, device=kind) @ torch.ones(64, 64, device=kind)).sum().item()
        if total != 64**3:
            facts["device_error"] = f"a product of matrices of ones sums to {total}, not {64**3}"
        free, whole = torch.get_device_module(kind).mem_get_info()
        facts |= {"free": str(free), "total": str(whole)}
    except (RuntimeError, AttributeError, AssertionError) as error:
        facts["device_error"] = " ".join(str(error).split())


def _probe_torchvision(facts: dict[str, str], config: str) -> None:
    import torch
    import torchvision

    facts["version"] = torchvision.__version__
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)


def _probe_rasterio(facts: dict[str, str], config: str) -> None:
    from rskt_seg.geo.installation import describe_gdal

    facts |= describe_gdal()


def _probe_detectron2(facts: dict[str, str], config: str) -> None:
    if spec := importlib.util.find_spec("detectron2"):
        facts["folder"] = str((spec.submodule_search_locations or ["?"])[0])
        facts["version"] = str(importlib.import_module("detectron2").__version__)
        compiled = importlib.util.find_spec("detectron2._C") is not None
        facts["kind"] = "with compiled operators" if compiled else "without compiled operators, as is enough"
        if facts["version"] == "0.5":
            facts["kind"] += "; names that NumPy and Pillow have removed are set for it"
    importlib.import_module("rskt_seg.d2")


def _probe_datasets(facts: dict[str, str], config: str) -> None:
    from rskt_seg.data.catalog import ROOT_VARIABLE, SPLITS

    facts |= {"variable": ROOT_VARIABLE, "default": "datasets"}
    here = _present_splits()
    for split in SPLITS:
        names = [each.split for each in SPLITS if each.dataset == split.dataset and each.name in here]
        facts[split.dataset] = ", ".join(names)


def _present_splits() -> set[str]:
    from rskt_seg.data.catalog import ROOT_VARIABLE
    from rskt_seg.data.checking import select_splits
    from rskt_seg.errors import DatasetNotFoundError

    try:
        root = os.environ.get(ROOT_VARIABLE, "datasets")
        return {split.name for split in select_splits("all", root)}
    except DatasetNotFoundError:
        return set()


def _probe_caches(facts: dict[str, str], config: str) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    from rskt_seg.encoders.text_files import default_folder

    facts["weights of the hub"] = HF_HUB_CACHE
    facts["text embeddings"] = str(default_folder() or "")


def _probe_configuration(facts: dict[str, str], config: str) -> None:
    from rskt_seg.d2 import load_config
    from rskt_seg.d2.weights import check_weights
    from rskt_seg.data.catalog import SPLITS
    from rskt_seg.errors import WeightsNotFoundError

    facts["name"] = config
    cfg = load_config(config)
    try:
        check_weights(cfg)
    except WeightsNotFoundError as error:
        facts["weights"] = str(error)
    here, known = _present_splits(), {split.name for split in SPLITS}
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    facts["absent"] = ", ".join(name for name in names if name in known and name not in here)


CONFIGURATION = "configuration"
PROBES: dict[str, Callable[[dict[str, str], str], None]] = {
    "numpy": _importing("numpy"),
    "pillow": _importing("PIL.Image"),
    "scipy": _importing("scipy.ndimage"),
    "OpenCV": _importing("cv2"),
    "pycocotools": _importing("pycocotools.mask"),
    "matplotlib": _importing("matplotlib.figure"),
    "rasterio": _probe_rasterio,
    "torch": _probe_torch,
    "torchvision": _probe_torchvision,
    "open_clip": _importing("open_clip"),
    "Detectron2": _probe_detectron2,
    "datasets": _probe_datasets,
    "caches": _probe_caches,
    CONFIGURATION: _probe_configuration,
}
"""Name of each probe -> what fills in its facts; in the order in which they run."""


def _available_memory() -> int | None:
    """Return the bytes that this process can still have: of the machine, and of its control group."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        pass
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            found.append(int(limit) - int((group / "memory.current").read_text()))
    except OSError:
        pass
    return min(found, default=None)
