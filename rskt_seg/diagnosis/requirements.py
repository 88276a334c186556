"""Installed versions beside those that distributions require."""

import re
from collections.abc import Iterator

from rskt_seg.diagnosis.environment import NOTE, OK, PROBLEM, Environment, Finding

PROJECT = "rskt-seg"
"""Name of this distribution."""
NEIGHBOURS = ("torchvision", "open-clip-torch", "timm")
"""Distributions whose own requirements matter: they break where these are not met."""


def check_python(seen: Environment) -> Iterator[Finding]:
    """Compare the version of Python."""
    from packaging.specifiers import SpecifierSet

    if seen.needed_python and seen.python not in SpecifierSet(seen.needed_python):
        cure = "make a virtual environment with a newer Python: make PYTHON=/path/to/python3.11 .venv/.ready"
        yield Finding(PROBLEM, "Python", f"{seen.python} is here, {seen.needed_python} is needed", cure)
    else:
        yield Finding(OK, "Python", seen.python)


def check_requirements(seen: Environment) -> Iterator[Finding]:
    """Compare what is installed with what this project requires, and with its extras."""
    if PROJECT not in seen.requirements:
        text = "this checkout is not installed, so that the versions it needs are not compared"
        yield Finding(NOTE, "requirements", text, "pip install --no-deps --no-build-isolation -e .")
        return
    wrong = list(_unmet(seen, PROJECT, ""))
    for subject, text, cure in wrong:
        yield Finding(PROBLEM, subject, text, cure)
    if not wrong:
        yield Finding(
            OK, "requirements", "every package that rskt_seg requires is here, in a version it takes"
        )
    for name in NEIGHBOURS:
        for subject, text, cure in _unmet(seen, name, ""):
            if all(subject != known for known, _, _ in wrong):
                yield Finding(PROBLEM, subject, text, cure)


def check_extras(seen: Environment) -> Iterator[Finding]:
    """Name the extras of this project that are not complete; that of developers aside."""
    for extra, purpose in EXTRAS.items():
        unmet = list(_unmet(seen, PROJECT, extra))
        if unmet:
            text = f"{purpose}: {'; '.join(f'{subject}: {text}' for subject, text, _ in unmet)}"
            yield Finding(NOTE, f"extra {extra}", text, f'pip install "rskt_seg[{extra}]"')


EXTRAS = {
    "vector": "polygons of maps",
    "export": "ONNX files of models",
    "dask": "scenes on a Dask cluster",
    "app": "the page of rskt-seg serve",
    "crf": "dense CRF of the weakly supervised method",
    "wandb": "curves of trainings on Weights & Biases",
}
"""Extra -> what it is for; that of Detectron2 is checked by importing it."""


def canonical(name: str) -> str:
    """Return the name of a distribution as `Environment` has it: in lower case, with hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _unmet(seen: Environment, name: str, extra: str) -> Iterator[tuple[str, str, str]]:
    """Yield package, finding and cure for each requirement of a distribution that is not met."""
    from packaging.requirements import Requirement

    for line in seen.requirements.get(name, ()):
        required = Requirement(line)
        if required.marker is None:
            applies = not extra
        else:
            applies = required.marker.evaluate({"extra": extra}) and (
                not extra or not required.marker.evaluate({"extra": ""})
            )
        if not applies:
            continue
        found = seen.installed.get(canonical(required.name))
        wish = f"{required.name}{required.specifier}"
        if found is None and _stands_in(seen, canonical(required.name)):
            continue
        if found is None:
            yield required.name, "is not installed", f'pip install "{wish}"'
        elif not required.specifier.contains(found, prereleases=True):
            by = "rskt_seg" if name == PROJECT else f"{name} {seen.installed.get(name, '')}".strip()
            yield (
                required.name,
                f"{found} is here, and {by} takes {required.specifier}",
                f'pip install "{wish}"',
            )


def _stands_in(seen: Environment, name: str) -> bool:
    """Return whether another build of the same library is installed, as GUI users have of OpenCV."""
    return name == "opencv-python-headless" and any(other in seen.installed for other in OPENCV)


OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""Distributions that all install the module cv2, the preferred first."""
