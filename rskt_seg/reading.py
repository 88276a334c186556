"""Reading of the small files that users write: UTF-8 text, YAML and JSON, with bounds on what they ask for.

Every fault is an `UnreadableError` whose message completes "FILE cannot be read: ..."; callers name the file.
"""

import json
import os
import stat
from pathlib import Path

import yaml

from rskt_seg.errors import UnreadableError
from rskt_seg.quoting import printable

RENAME = "rename it, such as by convmv -f latin1 -t utf8 --notest FILE"
"""What to do about a name that is not UTF-8."""
_LARGEST_FILE = 1 << 22
"""The most bytes of a file; what people write by hand stays far below."""
_LARGEST, _DEEPEST = 10_000, 32
"""The most values and levels of a YAML file, aliases written out; Detectron2's own: a few hundred on five."""
_YAML_ERRORS = (
    RecursionError, yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
)  # fmt: skip
"""What reading YAML raises: besides PyYAML's own errors those of values that are not what their tag says."""


def read_bytes(path: Path) -> bytes:
    """Return the content of a small file.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        UnreadableError: It is a folder or a device, cannot be opened, or is over 4 MiB.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            # Opening a pipe would wait for a writer, and a device can be endless.
            what = "it is a folder" if stat.S_ISDIR(kind) else "it is a pipe or a device"
            raise UnreadableError(f"{what}; name a file")
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, UnreadableError):
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableError(reason or str(error)) from error
    if len(content) > _LARGEST_FILE:
        raise UnreadableError(f"it has over {_LARGEST_FILE >> 20} MiB, too much for a file written by hand")
    return content


def read_text(path: Path) -> str:
    """Return the content of a small UTF-8 file, without a byte order mark.

    Args:
        path: The file.

    Returns:
        The text.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        UnreadableError: `read_bytes` refuses it, or it is not UTF-8.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UnreadableError(
            f"it is not UTF-8 ({error.reason} in line {line}); save it as UTF-8 text"
        ) from error


def file_name(text: str) -> str:
    """Return the name of a file that a UTF-8 text states, as Python takes it where the locale is another.

    Args:
        text: The name in the text.

    Returns:
        The same name; in a locale without its characters with the surrogates that stand for their bytes.
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def text_of_name(name: str) -> str:
    """Return the name of a file as a UTF-8 text states it, the inverse of `file_name`.

    Args:
        name: The name as Python has it.

    Returns:
        The same name without surrogates.

    Raises:
        UnreadableError: Its bytes are not UTF-8.
    """
    for part in name.split("/"):
        try:
            part.encode("utf-8", "surrogateescape").decode("utf-8")
        except UnicodeError as error:
            raise UnreadableError(f"the name {printable(part)} is not UTF-8; {RENAME}") from error
    return name.encode("utf-8", "surrogateescape").decode("utf-8")


def parse_yaml(text: str) -> object:
    """Return the plain values that a YAML text holds.

    Nothing in the text is executed, and its size is known before its aliases are written out.

    Args:
        text: The text.

    Returns:
        Dictionaries, lists, texts, numbers and dates; None if the text is empty.

    Raises:
        UnreadableError: It is not YAML, repeats a key, has a value that its tag does not allow, or is over
            10,000 values or 32 levels.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UnreadableError:
        raise
    except RecursionError as error:
        raise UnreadableError(f"it nests too deeply (over {_DEEPEST} levels; maximum recursion)") from error
    except _YAML_ERRORS as error:
        raise UnreadableError(" ".join(str(error).split())) from error


def parse_json(text: str) -> object:
    """Return the values that a JSON text holds.

    Args:
        text: The text.

    Returns:
        Dictionaries, lists, texts, numbers, booleans and None.

    Raises:
        UnreadableError: It is not JSON, nests too deeply, or has a number that Python refuses.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UnreadableError("it nests too deeply") from error
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def read_json(path: Path) -> object:
    """Return the values of a small JSON file whose absence or damage only means that it states nothing.

    Args:
        path: The file.

    Returns:
        As `parse_json`; None if there is no such file, or it cannot be read.
    """
    try:
        return parse_json(read_text(path))
    except (OSError, UnreadableError):
        return None


def brief(value: object) -> str:
    """Return a value for a message: as Python writes it, the middle of a long one left out.

    Args:
        value: A value of a file.

    Returns:
        One line of at most 100 characters, without control characters.
    """
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-30:]}"


def _check_nodes(root: yaml.Node) -> None:
    """Raise `UnreadableError` if a text repeats keys, or is too much with its aliases written out."""
    nodes, count = [(root, 1)], 0
    while nodes:
        node, depth = nodes.pop()
        count += 1
        if depth > _DEEPEST or count > _LARGEST:
            raise UnreadableError(f"it has over {_DEEPEST} levels or {_LARGEST} values")
        if isinstance(node, yaml.MappingNode):
            _check_repeated(node)
            nodes += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(child, depth + 1) for child in node.value]


def _check_repeated(node: yaml.MappingNode) -> None:
    """Raise `UnreadableError` if a key repeats; the safe loader silently keeps the last of its values."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise UnreadableError(f"the key {brief(key.value)} repeats in line {key.start_mark.line + 1}")
            seen.add(key.value)
