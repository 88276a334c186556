"""The files of GDAL and PROJ, which another installation of GDAL often hides."""

from collections.abc import Iterator
from pathlib import Path

from rskt_seg.diagnosis.environment import NOTE, OK, PROBLEM, Environment, Finding

PROJ_VARIABLES = ("PROJ_DATA", "PROJ_LIB")
MAP_VARIABLES = (*PROJ_VARIABLES, "GDAL_DATA", "GDAL_DRIVER_PATH")
"""Environment variables that replace the files which rasterio brings along."""
PLAIN_RASTERIO = "rasterio without the variables of GDAL and PROJ"
"""Probe of rasterio in an environment without `MAP_VARIABLES`."""
_FILE_OF_GDAL_DATA = "gdalvrt.xsd"


def check_gdal(seen: Environment) -> Iterator[Finding]:
    """Say whether coordinate systems and rasters work, and which variable breaks them."""
    outcome = seen.outcomes.get("rasterio")
    if outcome is None or seen.failed("numpy"):
        return
    named = {name: seen.variables[name] for name in MAP_VARIABLES if seen.variables.get(name)}
    if is_broken_by_variables(seen):
        guilty = {name: value for name, value in named.items() if name in PROJ_VARIABLES} or named
        shown = ", ".join(f"{name}={value}" for name, value in guilty.items())
        reason = outcome.error or outcome.facts.get("fault", "")
        yield Finding(
            PROBLEM, "GDAL and PROJ", f"{shown} belongs to another installation: {reason}", _unset(guilty)
        )
        return
    if outcome.error:  # found among the libraries
        return
    if fault := outcome.facts.get("fault"):
        text = f"coordinate systems do not work: {fault}"
        yield Finding(PROBLEM, "GDAL and PROJ", text, "pip install --force-reinstall --no-deps rasterio")
        return
    yield Finding(OK, "GDAL and PROJ", f"GDAL {outcome.facts.get('gdal')}, PROJ {outcome.facts.get('proj')}")
    folder = named.pop("GDAL_DATA", None)
    if folder is not None and not Path(folder, _FILE_OF_GDAL_DATA).is_file():
        text = f"GDAL_DATA={folder} is no folder of GDAL's files (it lacks {_FILE_OF_GDAL_DATA})"
        yield Finding(PROBLEM, "GDAL and PROJ", text, "unset GDAL_DATA")
    elif folder is not None:
        named["GDAL_DATA"] = folder
    if named:
        shown = ", ".join(f"{name}={value}" for name, value in named.items())
        text = f"{shown} replaces the files of rasterio's own GDAL, so far without harm"
        yield Finding(NOTE, "GDAL and PROJ", text, _unset(named))


def is_broken_by_variables(seen: Environment) -> bool:
    """Return whether rasterio works without the variables of GDAL and PROJ, and not with them."""
    tried = [seen.outcomes[name] for name in ("rasterio", PLAIN_RASTERIO) if name in seen.outcomes]
    return [bool(each.error or each.facts.get("fault")) for each in tried] == [True, False]


def _unset(names: dict[str, str]) -> str:
    return f"unset {' '.join(names)}"
