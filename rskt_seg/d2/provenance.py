"""Provenance of a score: digests of settings, data and code, and the versions of the software."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import detectron2
from detectron2.config import CfgNode

import rskt_seg
from rskt_seg.devices import describe_device

_PACKAGE = Path(rskt_seg.__file__).parent
_UNUSED = "synthetic"
_TOKENIZER_WORDS = "encoders/tiny_words.txt"
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow")
_IRRELEVANT = (
    "WEIGHTS", "ENCODERS", "SAVE_PREDICTIONS", "EVAL_PERIOD", "BEST_BY", "PATIENCE", "PICTURES",
)  # fmt: skip


def code_digest(package: Path = _PACKAGE) -> str:
    """Return the SHA-256 of the code that scores depend on; a checkout can change without its version.

    It covers the sources of the package but `synthetic`, the drawn scenes of the demonstration, which no
    other room imports. Of the data files it covers the words of the tiny tokenizer alone. The others cannot
    change the scores of a given checkpoint: class descriptions are encoded in its weights, frozen
    encoders are compared with the digest that it states, lists of splits choose files, which
    `listing_digest` covers, and published tables are printed beside the scores.

    Args:
        package: Folder of the package.
    """
    sources = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != _UNUSED]
    whole = hashlib.sha256()
    for path in sorted([*sources, package / _TOKENIZER_WORDS]):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def versions(device: str) -> dict[str, str]:
    """Return name -> version of the software that computes a score, and the name of the device.

    Args:
        device: `MODEL.DEVICE`.
    """
    packages = {package: version(package) for package in _PACKAGES}
    return {
        "rskt_seg": rskt_seg.__version__,
        "detectron2": detectron2.__version__,
        **packages,
        "Python": platform.python_version(),
        "device": describe_device(device),
    }


def settings(cfg: CfgNode) -> dict[str, Any]:
    """Return the whole configuration as plain values, as its YAML has them, in the order of the keys."""
    # No string is shared with anything else: pickled files have other bytes where strings happen to be one.
    tree: dict[str, Any] = json.loads(json.dumps(cfg, sort_keys=True))  # reading YAML takes far longer
    return tree


def scoring_digest(cfg: CfgNode) -> str:
    """Return the SHA-256 of the settings that a score depends on besides weights and data."""
    tree = settings(cfg)
    model, test = (
        {key: value for key, value in tree[section].items() if key not in _IRRELEVANT}
        for section in ("MODEL", "TEST")
    )
    return _digest({"MODEL": model, "INPUT": tree["INPUT"], "TEST": test})


def listing_digest(paths: Iterable[str]) -> str:
    """Return the SHA-256 of names, sizes and modification times of files."""
    facts = [(path, stat.st_size, stat.st_mtime_ns) for path in paths for stat in [Path(path).stat()]]
    return _digest({"files": facts})


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
