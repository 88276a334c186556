"""All findings about a machine, in the order of the report."""

from collections.abc import Callable, Iterator

from rskt_seg.diagnosis.environment import PROBLEM, Environment, Finding
from rskt_seg.diagnosis.libraries import (
    LIBRARIES,
    check_accelerator,
    check_detectron2,
    check_libraries,
    check_opencv,
)
from rskt_seg.diagnosis.maps import check_gdal
from rskt_seg.diagnosis.places import check_caches, check_configuration, check_datasets, check_room
from rskt_seg.diagnosis.requirements import (
    PROJECT,
    check_extras,
    check_python,
    check_requirements,
)

_COMPARING: tuple[Callable[[Environment], Iterator[Finding]], ...] = (
    check_python,
    check_requirements,
)
_CHECKS: tuple[Callable[[Environment], Iterator[Finding]], ...] = (
    check_libraries,
    check_opencv,
    check_accelerator,
    check_detectron2,
    check_gdal,
    check_datasets,
    check_caches,
    check_configuration,
    check_room,
)


def diagnose(seen: Environment) -> list[Finding]:
    """Return what is wrong with a machine, and what is well.

    Args:
        seen: What was seen of it.

    Returns:
        The findings; problems and notes name what cures them.
    """
    try:
        comparing = [finding for check in (*_COMPARING, check_extras) for finding in check(seen)]
    except ImportError:
        text = "the package `packaging`, which reads versions, is not here, so that none are compared"
        comparing = [Finding(PROBLEM, "requirements", text, "pip install packaging")]
    return comparing + [finding for check in _CHECKS for finding in check(seen)]


def versions(seen: Environment) -> dict[str, str]:
    """Return the versions of the libraries that matter, by the names of their distributions.

    Args:
        seen: What was seen of a machine.

    Returns:
        Those of this project's requirements, of libraries that are probed, and of Detectron2.
    """
    known = {library.distribution for library in LIBRARIES} | {"timm", "fvcore", "iopath", "huggingface-hub"}
    known |= {"detectron2", "detectron2-cdo", "pyogrio", "shapely", "distributed", "safetensors", PROJECT}
    return {name: seen.installed[name] for name in sorted(known & seen.installed.keys())}
