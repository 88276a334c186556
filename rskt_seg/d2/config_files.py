"""Configuration files: where they are found, what they inherit, and the rows of ablation tables.

A configuration is a YAML file of Detectron2's keys, whose `_BASE_` names the files that it changes, or
`FILE.yaml:ROW`, a row of the tables in a file. configs/*/ablations.yaml hold those of the papers:

    output: output/fctl/inria/ablation_{row}   # optional: OUTPUT_DIR of every row
    tables:
      - table: fctl_table4                     # the published table, a file of rskt_seg/metrics/tables
        column: Inria Aerial                   # optional: the only column of it that is about these rows
        base: 4_fused.yaml                     # what the rows change
        overrides: {MODEL.FCTL.ALE: none}      # optional: what all rows change; dots stand for sections
        rows:
          table4_medium:                       # the ROW of FILE.yaml:ROW
            row: medium, no                    # the labels of the published row; none if nothing is printed
            base: 1_local.yaml                 # optional: in place of the table's
            overrides: {MODEL.FCTL: {CONTEXTS: [medium], SELF_CONTEXT: False, GPE: False}}
"""

import copy
import difflib
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rskt_seg.d2.ranges import leaves
from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.reading import brief, parse_yaml, read_text

logger = logging.getLogger(__name__)

Tree = dict[str, object]
"""What a YAML file holds: keys and values, sections nested."""

_BASE = "_BASE_"
_TABLES = "ablations.yaml"
_MOST_BASES = 32
"""The most files that a configuration inherits from, one through the other, or that one file names."""


@dataclass(frozen=True)
class ConfigSource:
    """A configuration on disk: a YAML file, or a row of the ablation tables in it.

    Attributes:
        path: The file.
        row: Name of the row; empty: the file itself.
    """

    path: Path
    row: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.row}" if self.row else str(self.path)


@dataclass(frozen=True)
class AblationRow:
    """A row of an ablation table: a configuration, and where its published figures stand.

    Attributes:
        config: The keys that the row sets, with the file that they change as `_BASE_`.
        table: The published table, such as "bicor_table4".
        row: The labels of its row in that table, joined by ", "; "" where nothing is printed of it.
        column: The column of that table that belongs to the row; "" if all do.
    """

    config: Tree
    table: str
    row: str
    column: str


def find_config(name: str, beside: Path = Path()) -> Path:
    """Return the file that a configuration is read from.

    Args:
        name: A path, relative to `beside`, or a name within the configurations of this project, such as
            "ovrsis/vitb_dlrsd.yaml" (a leading "configs/" may stay). The row in "FILE.yaml:ROW" is not looked
            at.
        beside: The folder that relative paths start from.

    Returns:
        The path of the file, which exists.

    Raises:
        ConfigError: There is no such file (the message lists near names), it is a folder, or `name` is an
            address on the network.
    """
    return resolve_config(name, beside).path


def resolve_config(name: str, beside: Path = Path()) -> ConfigSource:
    """Return the file and the row that `name` means, as `find_config`.

    Rows used to be files: "ablation_ROW.yaml", where there is none, means "ablations.yaml:ROW" in the same
    folder, and a warning says so.

    Args:
        name: As in `find_config`, with or without a row.
        beside: The folder that relative paths start from.

    Returns:
        The file, which exists, and the row, empty if `name` has none. The row is looked up only for the old
        names of files.

    Raises:
        ConfigError: As `find_config`; or no row follows the colon, or an old name means a row that does not
            exist.
    """
    if re.match(r"\w[\w+.-]*://", name):
        raise ConfigError(f"{name!r} is an address; configurations are read from files: download it first")
    match = re.fullmatch(r"(?P<file>.+\.ya?ml):(?P<row>[^/]*)", name, re.DOTALL)
    file, row = (match["file"], match["row"]) if match else (name, "")
    if found := _existing(file, beside):
        if match and not row:
            raise ConfigError(_which_row(found))
        return ConfigSource(found, row)
    old = re.fullmatch(r"ablation_(\w+)\.yaml", os.path.basename(file))
    tables = os.path.join(os.path.dirname(file), _TABLES)
    if old and (found := _existing(tables, beside)):
        source = ConfigSource(found, old[1])
        _find_row(source)
        logger.warning("%s is now called %s:%s", name, tables, old[1])
        return source
    if file and os.path.isdir(beside / os.path.expanduser(file)):
        raise ConfigError(f"configuration {name!r} is a folder; name a YAML file in it")
    near = _near(file.removeprefix("configs/"), config_names())
    raise ConfigError(f"configuration {name!r} does not exist, nor does this project have it{near}")


def config_names() -> list[str]:
    """Return the names of this project's configuration files, such as "ovrsis/vitb_dlrsd.yaml"."""
    folder = _own_configs()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def read_config(name: str) -> Tree:
    """Return the keys that a configuration and its bases set.

    Args:
        name: A file, or a row of a file of ablation tables as "FILE.yaml:ROW" (see `find_config`).

    Raises:
        ConfigError: The file is missing, is not UTF-8 or not YAML, holds no mapping, nests too deeply or
            inherits from itself; it lacks the row, or needs one.
    """
    return _inherit(resolve_config(name), (), {})


def user_keys(name: str) -> set[str]:
    """Return the keys that files of a user set in a configuration: those outside of this project's folder.

    Args:
        name: As in `read_config`.

    Returns:
        Full names of keys, such as "TEST.EVAL_PERIOD".

    Raises:
        ConfigError: As `read_config`.
    """
    known: dict[str, Tree] = {}
    _inherit(resolve_config(name), (), known)
    found: set[str] = set()
    for each in known:
        source = resolve_config(each)
        if not source.path.resolve().is_relative_to(_own_configs().resolve()):
            own = _find_row(source).config if source.row else _read_yaml(source.path)
            found |= {key for key, _ in leaves(own)}
    return found


def output_folders(name: str) -> dict[str, list[Path]]:
    """Return which configurations write where, of those beside a configuration or beside one of its bases.

    Args:
        name: As in `read_config`.

    Returns:
        `OUTPUT_DIR` -> the files that set it themselves; tables, and what is no configuration, are left out.

    Raises:
        ConfigError: As `read_config`.
    """
    known: dict[str, Tree] = {}
    _inherit(resolve_config(name), (), known)
    found: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(resolve_config(each).path.parent for each in known):
        for path in sorted(folder.glob("*.yaml")):
            try:
                output = _read_yaml(path).get("OUTPUT_DIR")
            except ConfigError:
                continue
            if isinstance(output, str):
                found.setdefault(output, []).append(path)
    return found


def read_rows(path: Path) -> dict[str, AblationRow]:
    """Return the rows of the ablation tables in a file by name.

    Raises:
        ConfigError: The file cannot be read, holds no tables, or a table has keys that do not belong there.
    """
    tree = _read_yaml(path)
    if "tables" not in tree:
        raise ConfigError(f"{path} holds no ablation tables; give it without a row")
    _check_names(tree, ("output", "tables"), str(path))
    output, tables = tree.get("output", ""), tree["tables"]
    if not isinstance(tables, list) or not isinstance(output, str):
        raise ConfigError(f"{path}: tables must be a list of tables, and output a text")
    rows: dict[str, AblationRow] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{path}, table {number}"
        for name, row in _rows_of(_section(table, where), output, where):
            if name in rows:
                raise ConfigError(f"{where}: row {name} stands in an earlier table too")
            rows[name] = row
    return rows


def _rows_of(table: Tree, output: str, where: str) -> Iterator[tuple[str, AblationRow]]:
    """Yield the name and the content of each row of one table."""
    _check_names(table, ("table", "column", "base", "overrides", "rows"), where)
    for name, value in _section(table.get("rows"), f"{where}: rows").items():
        here = f"{where}, row {name}"
        row = _section({} if value is None else value, here)
        _check_names(row, ("row", "base", "overrides"), here)
        base = row.get("base", table.get("base"))
        if not isinstance(base, str):
            raise ConfigError(f"{here}: base must name a YAML file; found {brief(base)}")
        config: Tree = {_BASE: base}
        if output:
            config["OUTPUT_DIR"] = output.replace("{row}", name)
        for overrides in (table.get("overrides", {}), row.get("overrides", {})):
            _merge(_undotted(_section(overrides, f"{here}: overrides")), config, here)
        labels, column = str(row.get("row", "")), str(table.get("column", ""))
        yield name, AblationRow(config, str(table.get("table", "")), labels, column)


def _undotted(keys: Tree) -> Tree:
    """Return `keys` with sections for dots: {"A.B": 1} becomes {"A": {"B": 1}}."""
    tree: Tree = {}
    for key, value in keys.items():
        *sections, last = key.split(".")
        branch: Tree = {last: _undotted(value) if isinstance(value, dict) else value}
        for section in reversed(sections):
            branch = {section: branch}
        _merge(branch, tree, key)
    return tree


def _inherit(source: ConfigSource, children: Sequence[ConfigSource], known: dict[str, Tree]) -> Tree:
    """Return the keys of `source` over those of its bases.

    Args:
        source: The configuration.
        children: Those that inherit from it, outermost first.
        known: Name -> keys of the configurations that are complete; added to. Each is read once, however many
            inherit from it.

    Returns:
        The keys, which belong to `known` too: they are copied, never changed.
    """
    if any(source.row == child.row and source.path.samefile(child.path) for child in children):
        raise ConfigError(f"{_BASE} makes a circle: {' -> '.join(map(str, (*children, source)))}")
    if len(children) > _MOST_BASES:
        raise ConfigError(f"{children[0]}: its {_BASE} lead through over {_MOST_BASES} files, to {source}")
    if (name := str(source)) in known:
        return known[name]
    own = _find_row(source).config if source.row else _read_yaml(source.path)
    if "tables" in own:
        raise ConfigError(_which_row(source.path))
    bases = own.pop(_BASE, [])
    bases = bases if isinstance(bases, list) else [bases]
    if len(bases) > _MOST_BASES:
        raise ConfigError(f"{source}: {_BASE} must name at most {_MOST_BASES} files; found {len(bases)}")
    tree: Tree = {}
    for base in bases:
        if not isinstance(base, str):
            raise ConfigError(f"{source}: {_BASE} must name a YAML file; found {brief(base)}")
        try:
            parent = resolve_config(base, source.path.parent)
        except ConfigError as error:
            raise ConfigError(f"{source}: its {_BASE}: {error}") from error
        _merge(_inherit(parent, (*children, source), known), tree, str(source))
    _merge(own, tree, str(source))
    known[name] = tree
    return tree


def _merge(tree: Tree, into: Tree, source: str) -> None:
    """Write `tree` over `into`, section by section."""
    for key, value in tree.items():
        if not isinstance(value, dict) or key not in into:
            into[key] = copy.deepcopy(value)
        elif isinstance(below := into[key], dict):
            _merge(value, below, source)
        else:
            raise ConfigError(
                f"{source}: {key} is a section of keys, and in its base the value {brief(below)}"
            )


def _read_yaml(path: Path) -> Tree:
    """Return what one YAML file holds, without its bases."""
    try:
        tree = parse_yaml(read_text(path))
    except FileNotFoundError as error:
        raise ConfigError(f"configuration {path} does not exist") from error
    except UnreadableError as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
    return _section(tree, f"{path} cannot be read as a configuration")


def _section(value: object, where: str) -> Tree:
    """Return `value`, which must be a mapping with text as keys."""
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{where}: KEY: VALUE lines expected; found {found}")
    if other := [key for key in value if not isinstance(key, str)]:
        raise ConfigError(f"{where}: keys must be names; found {brief(other[0])}")
    return value


def _existing(file: str, beside: Path) -> Path | None:
    """Return the path of `file` in `beside` or among this project's configurations; None if there is none."""
    places = (beside / os.path.expanduser(file), _own_configs() / file.removeprefix("configs/"))
    return next((path for path in places if os.path.isfile(path)), None)


def _own_configs() -> Path:
    """Return the folder of this project's configurations: in the package if installed, else beside it."""
    package = Path(str(resources.files("rskt_seg")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _find_row(source: ConfigSource) -> AblationRow:
    rows = read_rows(source.path)
    if source.row not in rows:
        instead = _near(source.row, rows) or f"; it holds {_some(rows)}"
        raise ConfigError(f"{source.path} has no row {source.row!r}{instead}")
    return rows[source.row]


def _which_row(path: Path) -> str:
    return f"{path} holds {_some(read_rows(path))}; name one as {path}:ROW"


def _some(rows: Collection[str]) -> str:
    return f"{len(rows)} rows such as {', '.join(list(rows)[:3])}"


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _check_names(keys: Tree, known: Sequence[str], where: str) -> None:
    """Raise `ConfigError` if a table has keys besides `known`."""
    for key in keys:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{_near(key, known) or f'; known are {known}'}")
