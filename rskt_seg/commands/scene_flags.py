"""The flags of scenes, and the names of the files that a command line means."""

import argparse
import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rskt_seg.commands.entry import positive
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.reading import read_text

_DEFAULTS = {
    "window": None, "overlap": None, "blend": "hann", "chunk": None, "part": None, "bounds": None,
    "scores": False, "batch": None, "restart": False, "workers": 0, "scheduler": None,
    "polygons": None, "min_area": None, "simplify": None,
}  # fmt: skip
_HOW = {"batch", "chunk", "restart", "workers", "scheduler"}
"""Flags that change how a map is computed, not what it is."""
_IMAGES = {
    ".tif", ".tiff", ".vrt", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".img", ".ecw", ".sid",
    ".nc", ".hdf", ".h5", ".grd", ".asc", ".bil", ".ntf", ".dat",
}  # fmt: skip
"""Endings of the files that are taken from a folder, in lower case."""


def add_scene_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of scenes and of what becomes of scores.

    Args:
        parser: The parser.
    """
    add = parser.add_argument_group("classes").add_argument
    add("--threshold", type=float, metavar="P", help='score (0..1) below which a pixel is "other"')
    add(
        "--background", metavar="NAMES",
        help='names that compete with the classes and are written as "other", such as "shadow, cloud"',
    )  # fmt: skip
    add = parser.add_argument_group("scenes, images over twice the side that the model sees").add_argument
    add("--whole", action="store_true", help="reduce them to what the model sees")
    add(
        "--window", metavar="SIDE",
        help="side of a window, in pixels (384) or on the ground (120m) (default: what suits the model)",
    )  # fmt: skip
    add("--overlap", type=float, metavar="SHARE", help="of neighbouring windows, 0..0.75")
    add(
        "--blend", default="hann", choices=("hann", "mean"),
        help="how windows are merged: fading into each other (default), or all equally as published",
    )  # fmt: skip
    add("--bounds", metavar="L,B,R,T", help="the part to segment, in coordinates of the scene")
    add("--part", metavar="ROW,COLUMN,HEIGHT,WIDTH", help="the part to segment, in pixels")
    add(
        "--polygons", metavar="FORMATS",
        help='gpkg, geojson or parquet, several by commas, or none (default: gpkg if the extra "vector" is '
        "installed)",
    )  # fmt: skip
    add("--min-area", metavar="AREA", help='smallest polygon: "50 m2" or "12 px"')
    add("--simplify", type=float, metavar="TOLERANCE", help="of polygons, in units of the coordinates")
    add("--scores", action="store_true", help="also write the score of each class (NAME_scores.tif)")
    add("--batch", type=positive, metavar="N", help="windows at a time (default: 1 on a CPU, else 4)")
    add("--chunk", type=positive, metavar="SIDE", help="px that are computed and kept at a time")
    add("--workers", type=int, default=0, metavar="N", help="processes, each with a model of its own")
    add("--scheduler", metavar="ADDRESS", help="tcp://host:port of a Dask cluster (extra dask)")
    add("--restart", action="store_true", help="compute anew what a former run has left")


def refuse_scene_flags(args: argparse.Namespace) -> None:
    """Refuse flags of scenes where images are segmented as a whole.

    Args:
        args: The parsed command line.

    Raises:
        ConfigError: One is given.
    """
    given = [
        f"--{name.replace('_', '-')}" for name, default in _DEFAULTS.items() if getattr(args, name) != default
    ]
    if given:
        raise ConfigError(
            f"{', '.join(given)} is for scenes in windows, and images are seen as a whole with --whole, "
            "--sliding, --crf, --gt and what explains a result; leave one of them out"
        )


def wants_windows(args: argparse.Namespace) -> bool:
    """Return whether a flag asks for what windows alone can give, so that small images go through them too.

    Args:
        args: The parsed command line.
    """
    asked = (name for name, default in _DEFAULTS.items() if getattr(args, name) != default)
    return any(name not in _HOW and (name, args.polygons) != ("polygons", "none") for name in asked)


def names_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `Segmenter` that say what becomes of scores.

    Args:
        args: The parsed command line.

    Returns:
        Name -> value.
    """
    names = [] if args.background is None else [name.strip() for name in args.background.split(",")]
    return {"background": names, "threshold": args.threshold, "text_cache": True}


def numbers(flag: str, text: str | None, names: Sequence[str]) -> tuple[float, ...] | None:
    """Parse the value of a flag that takes several numbers.

    Args:
        flag: The flag, for the message.
        text: Its value, or None.
        names: What each number is.

    Returns:
        The numbers; None for None.

    Raises:
        ConfigError: Other numbers, or something else.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != len(names):
        raise ConfigError(f"{flag} expects {','.join(names)}; found {text!r}")
    return found


def expand(
    patterns: Iterable[str], output: Path | None = None, within: tuple[Path, ...] = ()
) -> list[Path | str]:
    """Replace folders, lists and glob patterns by the files that they stand for.

    Args:
        patterns: File names; folders, of which all images are taken; `.txt` files with one of these a line;
            patterns with * ? [ ]; names of GDAL's own. A name that does not exist stays in the list, so that
            it is reported with the other files that fail.
        output: Folder of the results, which no folder of images can be.
        within: The lists that name these patterns, the outermost first.

    Returns:
        The files without repetition, in the order of the patterns; names of GDAL's own as text.

    Raises:
        ImageReadError: A pattern matches no file, a folder or a list holds no image, or a list cannot be read
            or names itself.
        ConfigError: A name is empty, or the results would lie among the images of a folder.
    """
    files: list[Path | str] = []
    for pattern in patterns:
        if not pattern.strip():
            raise ConfigError("a scene has an empty name, which would be all images of this folder; name it")
        path = Path(pattern)
        if path.is_dir():
            if output is not None and output.resolve() == path.resolve():
                raise ConfigError(
                    f"the results would lie among the images of {path}, and be taken for images next time; "
                    f"choose another folder, such as --output {path / 'maps'}"
                )
            images = (each for each in path.iterdir() if each.suffix.lower() in _IMAGES)
            inside = sorted(each for each in images if each.is_file())
            if not inside:
                raise ImageReadError(f"{path} holds no image; expected files such as {path / 'scene.tif'}")
            files.extend(inside)
        elif path.suffix.lower() == ".txt" and path.is_file():
            files.extend(_expand_list(path, within))
        elif path.exists() or not glob.has_magic(pattern):
            files.append(_source(pattern))
        else:
            found = sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
            if not found:
                raise ImageReadError(f"no file matches {pattern!r}")
            files.extend(Path(name) for name in found)
    return list(dict.fromkeys(files))


def _expand_list(path: Path, within: tuple[Path, ...]) -> list[Path | str]:
    """Return the files that a list stands for, at least one."""
    if path.resolve() in within:
        raise ImageReadError(f"the list {path} names itself; expected a scene a line")
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ImageReadError(f"the list {path} names no image; expected a scene a line")
    return expand(names, within=(*within, path.resolve()))


def _source(name: str) -> Path | str:
    """Return a file as a path, and a name of GDAL's own as text."""
    from rskt_seg.geo.sources import as_source  # with numpy and Pillow, for which --help need not wait

    return as_source(name)
