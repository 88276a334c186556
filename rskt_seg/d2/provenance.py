"""What a score came from: digests of weights, data and code, and the versions of what computed it."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import detectron2
import torch
import yaml
from detectron2.config import CfgNode

import rskt_seg

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow")
_IRRELEVANT = ("WEIGHTS", "ENCODERS")


def code_digest() -> str:
    """SHA-256 over the sources of this package, which a development checkout changes without a version."""
    root = Path(rskt_seg.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def versions(device: str) -> dict[str, str]:
    """What computed a score: packages, Python, and the device."""
    kind = torch.device(device)
    name = platform.machine() if kind.type == "cpu" else torch.get_device_module(kind).get_device_name(kind)
    packages = {package: version(package) for package in _PACKAGES}
    return {
        "rskt_seg": rskt_seg.__version__,
        "detectron2": detectron2.__version__,
        **packages,
        "Python": platform.python_version(),
        "device": f"{kind.type} ({name})",
    }


def settings(cfg: CfgNode) -> dict:
    """The whole configuration as plain values."""
    return yaml.safe_load(cfg.dump())


def scoring_digest(cfg: CfgNode) -> str:
    """SHA-256 over the settings that a score depends on besides weights and data."""
    tree = settings(cfg)
    model = {key: value for key, value in tree["MODEL"].items() if key not in _IRRELEVANT}
    return _digest({"MODEL": model, "INPUT": tree["INPUT"], "TEST": tree["TEST"]})


def listing_digest(paths: Iterable[str]) -> str:
    """SHA-256 over names, sizes and times of change of files: differs as soon as one was touched."""
    facts = [(path, stat.st_size, stat.st_mtime_ns) for path in paths for stat in [Path(path).stat()]]
    return _digest({"files": facts})


def _digest(content: Mapping) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
