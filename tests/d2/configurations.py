"""What the tests of configuration files go through: files, and in the place of a file of tables its rows."""

from pathlib import Path

import yaml
from detectron2.config import CfgNode

from rskt_seg.d2.config_files import ConfigSource, read_config, read_rows
from tests.d2.test_config import leaves

ROOT = Path(__file__).resolve().parents[2] / "configs"
TABLES = sorted(ROOT.rglob("ablations.yaml"))


def configurations(folder: Path) -> list[ConfigSource]:
    """Return every configuration in a folder and in the folders below it."""
    found: list[ConfigSource] = []
    for path in sorted(folder.rglob("*.yaml")):
        found += (
            [ConfigSource(path, row) for row in read_rows(path)] if path in TABLES else [ConfigSource(path)]
        )
    return found


def name_of(source: ConfigSource) -> str:
    """Return the name by which a configuration is found, such as "bicor/ablations.yaml:table4_hbis"."""
    return str(ConfigSource(source.path.relative_to(ROOT), source.row))


def own_keys(source: ConfigSource) -> dict:
    """Return what a file or a row itself sets."""
    return (
        read_rows(source.path)[source.row].config if source.row else yaml.safe_load(source.path.read_text())
    )


def repeated_keys(source: ConfigSource) -> set[str]:
    """Return the keys that a configuration sets to what they are in its base already."""
    own = own_keys(source)
    base = own.pop("_BASE_", None)
    below = leaves(CfgNode(read_config(str(source.path.parent / base)))) if base else {}
    return {key for key, value in leaves(own).items() if key in below and plain(below[key]) == plain(value)}


def plain(value: object) -> object:
    """Return a value as a configuration reads it: `(1, 2)` and `[1, 2]` are one."""
    decoded = CfgNode._decode_cfg_value(value)
    return list(decoded) if isinstance(decoded, tuple) else decoded
