"""Libraries that cannot be imported, or that do not work, and why."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rskt_seg.diagnosis.environment import NOTE, OK, PROBLEM, Environment, Finding
from rskt_seg.diagnosis.maps import is_broken_by_variables
from rskt_seg.diagnosis.requirements import OPENCV


class Library(NamedTuple):
    """A library that is imported as a probe.

    Attributes:
        probe: Name of the probe, and of the library in findings.
        distribution: What installs it.
        needs: Probes whose failure explains its own.
    """

    probe: str
    distribution: str
    needs: tuple[str, ...] = ()


LIBRARIES = (
    Library("numpy", "numpy"),
    Library("pillow", "pillow"),
    Library("scipy", "scipy", ("numpy",)),
    Library("OpenCV", "opencv-python-headless", ("numpy",)),
    Library("pycocotools", "pycocotools", ("numpy",)),
    Library("matplotlib", "matplotlib", ("numpy",)),
    Library("rasterio", "rasterio", ("numpy",)),
    Library("torch", "torch", ("numpy",)),
    Library("torchvision", "torchvision", ("numpy", "torch")),
    Library("open_clip", "open-clip-torch", ("numpy", "torch", "torchvision")),
)
"""In the order in which they are imported."""

_PAIR = "pip install --force-reinstall torch torchvision   # both at once, from the same index"
_HEADLESS = f"pip uninstall -y {' '.join(OPENCV)} && pip install opencv-python-headless"
_NUMPY_ABI = re.compile(
    r"compiled using NumPy 1\.x|numpy\.dtype size changed|_ARRAY_API not found|binary incompatibility"
    r"|numpy\.core\.multiarray failed to import|Failed to initialize NumPy"
)
_OTHER_TORCH = re.compile(r"torchvision::\w+|undefined symbol|Couldn't load custom C\+\+")
_NO_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file")
_CUDA_LIBRARY = re.compile(r"lib(cu|nv|nccl|torch_)\w*")


def check_libraries(seen: Environment) -> Iterator[Finding]:
    """Name each library that cannot be imported; of those that fail for the same reason, the first."""
    for library in LIBRARIES:
        if library.probe not in seen.outcomes or _is_absent(seen, library) or seen.failed(*library.needs):
            continue
        outcome = seen.outcomes[library.probe]
        if library.probe == "rasterio" and is_broken_by_variables(seen):
            continue
        version = outcome.facts.get("version", seen.installed.get(library.distribution, ""))
        if outcome.error:
            text, cure = _explain(seen, library, outcome.error, f"{outcome.error} {outcome.said}")
            yield Finding(PROBLEM, library.probe, text, cure)
        elif found := _NUMPY_ABI.search(outcome.said):
            text, cure = _explain(seen, library, found[0], found[0])
            yield Finding(PROBLEM, library.probe, text, cure)
        elif version:
            yield Finding(OK, library.probe, version)


def check_opencv(seen: Environment) -> Iterator[Finding]:
    """Name the builds of OpenCV where there are several, which overwrite each other's files."""
    builds = [name for name in OPENCV if name in seen.installed]
    if len(builds) > 1:
        listed = " and ".join(f"{name} {seen.installed[name]}" for name in builds)
        text = f"{listed} install the same files, and the last one wins; keep one"
        yield Finding(PROBLEM, "OpenCV", text, _HEADLESS)


def check_detectron2(seen: Environment) -> Iterator[Finding]:
    """Say which Detectron2 is installed, or what is wrong with it."""
    outcome = seen.outcomes.get("Detectron2")
    if outcome is None or seen.failed("torch", "torchvision", "numpy", "pillow"):
        return
    if "MissingDetectron2Error" in outcome.error:
        text = (
            "is not installed: segmenting from the command line, training and evaluation need it, and "
            "`Segmenter` does not"
        )
        yield Finding(PROBLEM, "Detectron2", text, INSTALL_DETECTRON2)
        return
    facts = outcome.facts
    which = f"{facts.get('version', 'of unknown version')} in {facts.get('folder', 'an unknown folder')}"
    if missing := re.search(r"No module named '(\w+)'", outcome.error):
        text = f"{which} lacks {missing[1]}"
        yield Finding(PROBLEM, "Detectron2", text, 'pip install "rskt_seg[detectron2-deps]"')
    elif outcome.error:
        text = f"{which} does not work: {outcome.error}"
        yield Finding(PROBLEM, "Detectron2", text, INSTALL_DETECTRON2)
    else:
        yield Finding(OK, "Detectron2", f"{which}, {facts.get('kind', '')}")


INSTALL_DETECTRON2 = (
    "pip install --no-deps --no-build-isolation --require-hashes -r requirements-detectron2.txt"
)


def check_accelerator(seen: Environment) -> Iterator[Finding]:
    """Say on what models run, and why not on a GPU."""
    outcome = seen.outcomes.get("torch")
    if outcome is None or outcome.error:
        return
    facts = outcome.facts
    build = f"torch is built for {facts['build']}" if facts.get("build") else "torch is a build for the CPU"
    if facts.get("device_error"):
        text = f"{facts.get('device', 'the device')} is seen and does not compute: {facts['device_error']}"
        yield Finding(PROBLEM, "GPU", f"{build}; {text}", "install a torch build for this GPU and its driver")
    elif facts.get("device"):
        free, total = (int(facts.get(name, "0")) for name in ("free", "total"))
        memory = f", {free / 1e9:.1f} of {total / 1e9:.1f} GB free" if total else ""
        yield Finding(OK, "GPU", f"{facts['device']}{memory}; {build}")
        if total and free < _LITTLE_DEVICE_MEMORY:
            text = f"other processes have all but {free / 1e9:.1f} GB of the memory of the GPU"
            yield Finding(NOTE, "GPU", text, "end them, or give `--device cpu`")
    elif seen.has_nvidia and facts.get("build"):
        reason = next((line for line in outcome.said.splitlines() if "driver" in line.casefold()), "")
        text = f"{build}, and it sees none although a driver is here{f': {reason}' if reason else ''}"
        cure = "install a newer driver, or a torch build for the CUDA version that `nvidia-smi` states"
        yield Finding(PROBLEM, "GPU", text, cure)
    elif seen.has_nvidia:
        yield Finding(NOTE, "GPU", f"the driver of an NVIDIA GPU is here, and {build}", _PAIR)
    elif facts.get("build"):
        yield Finding(NOTE, "GPU", f"{build}, and no driver of a GPU is here: models run on the CPU")
    else:
        yield Finding(OK, "GPU", f"{build}: models run on the CPU")


_LITTLE_DEVICE_MEMORY = 2 << 30


def _is_absent(seen: Environment, library: Library) -> bool:
    """Return whether nothing installs it, which is found by the comparison of requirements."""
    names = OPENCV if library.probe == "OpenCV" else (library.distribution,)
    return bool(seen.requirements) and not any(name in seen.installed for name in names)


def _explain(seen: Environment, library: Library, error: str, evidence: str) -> tuple[str, str]:
    """Return what an error of a library means, and its cure."""
    name, distribution = library.probe, library.distribution
    again = f"pip install --force-reinstall --no-deps {distribution}"
    if name == "torchvision" and _OTHER_TORCH.search(evidence):
        torch, vision = (seen.installed.get(each, "?") for each in ("torch", "torchvision"))
        return f"{vision} was not built for torch {torch}: {error}", _PAIR
    if _NUMPY_ABI.search(evidence):
        numpy = seen.installed.get("numpy", "?")
        text = f"was compiled for another NumPy than {numpy}: {error}"
        return text, f"pip install --upgrade --force-reinstall {distribution}"
    missing = _NO_LIBRARY.search(evidence)
    if missing and name == "OpenCV":
        text = f"is a build with windows, and this machine has no {missing[1]}"
        return text, _HEADLESS
    if missing and name in ("torch", "torchvision"):
        kind = "CUDA library" if _CUDA_LIBRARY.match(missing[1]) else "library"
        return f"does not find the {kind} {missing[1]}", _PAIR
    return f"cannot be used: {error}", _PAIR if name in ("torch", "torchvision") else again
