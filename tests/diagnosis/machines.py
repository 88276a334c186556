"""A machine without a fault, from which those of the tests differ in one thing."""

from dataclasses import replace

from rskt_seg.diagnosis import OK, Environment, Outcome, diagnose

SOUND = Environment(
    python="3.11.4",
    needed_python=">=3.11",
    installed={
        "torch": "2.11.0", "torchvision": "0.26.0", "numpy": "2.4.6", "open-clip-torch": "3.3.0",
        "opencv-python-headless": "5.0.0", "timm": "1.0.31", "rasterio": "1.4.4", "pyogrio": "0.13",
        "pillow": "13.0.0", "scipy": "1.17.1", "pycocotools": "2.0.11", "matplotlib": "3.11.2",
    },
    requirements={
        "rskt-seg": (
            "torch>=2.6", "torchvision", "open_clip_torch>=3.0", "numpy>=1.26", "opencv-python-headless",
            "rasterio>=1.4", 'pyogrio>=0.10; extra == "vector"',
        ),
        "torchvision": ("torch==2.11.0",),
        "open-clip-torch": ("timm>=1.0.17",),
    },
    outcomes={
        **{name: Outcome() for name in ("numpy", "pillow", "scipy", "OpenCV", "pycocotools", "matplotlib")},
        "rasterio": Outcome({"version": "1.4.4", "gdal": "3.10.3", "proj": "9.7.1"}),
        "torch": Outcome({"version": "2.11.0"}),
        "torchvision": Outcome({"version": "0.26.0"}),
        "open_clip": Outcome({"version": "3.3.0"}),
        "Detectron2": Outcome({"version": "0.5", "folder": "/site/detectron2", "kind": "sources alone"}),
    },
    memory=32 * 10**9,
    disk=100 * 10**9,
)  # fmt: skip


def with_outcome(probe, seen=SOUND, **outcome):
    """The machine on which a probe ends otherwise."""
    return replace(seen, outcomes={**seen.outcomes, probe: Outcome(**outcome)})


def with_installed(seen=SOUND, **versions):
    """The machine with other versions; None: not installed."""
    installed = {**seen.installed, **{name.replace("_", "-"): value for name, value in versions.items()}}
    return replace(seen, installed={name: value for name, value in installed.items() if value})


def faults(seen):
    """Every finding that is not "ok"; each is one line, and a problem has a cure."""
    found = [finding for finding in diagnose(seen) if finding.level != OK]
    for finding in found:
        assert "\n" not in finding.text + finding.cure
    return found


def only(seen, level, subject):
    """The only fault of a machine."""
    (found,) = faults(seen)
    assert (found.level, found.subject) == (level, subject), found
    return found
