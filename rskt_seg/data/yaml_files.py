"""YAML files in which users describe data: keys, words and paths, with errors that name file and key."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from rskt_seg.errors import DatasetError, UnreadableError
from rskt_seg.reading import brief, file_name, parse_yaml, read_text

_WORD = re.compile(r"[A-Za-z0-9]\w*(-\w+)*", re.ASCII)


def read_yaml(path: Path, page: str) -> object:
    """Return the plain values of a YAML file that describes a dataset.

    Args:
        path: The file.
        page: The page that describes such files, for the message if there is none.

    Returns:
        As `rskt_seg.reading.parse_yaml`.

    Raises:
        DatasetError: It is missing, cannot be read or is not YAML.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; see {page}") from error
    except UnreadableError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    try:
        return parse_yaml(text)
    except UnreadableError as error:
        raise DatasetError(f"{path} is not valid YAML: {error}") from error


def check_keys(tree: object, known: Mapping[str, bool], where: str) -> dict[str, object]:
    """Return a mapping of a YAML file if it has all required and no unknown keys.

    Args:
        tree: The value that should be the mapping.
        known: Key -> whether it is required.
        where: File and key of the value, for messages.

    Returns:
        The mapping.

    Raises:
        DatasetError: It is no mapping, lacks a key, or has an unknown one; the message names the nearest.
    """
    if not isinstance(tree, dict):
        raise DatasetError(f"{where} must hold the keys {', '.join(known)}; found {brief(tree)}")
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise DatasetError(f"{where}: unknown key {brief(key)}; {hint}")
    if missing := [key for key, needed in known.items() if needed and key not in tree]:
        raise DatasetError(f"{where}: missing key {', '.join(missing)}")
    return tree


def check_word(value: object, where: str) -> str:
    """Return a value that is a word of letters, digits, - and _.

    Args:
        value: The value.
        where: File and key of the value, for messages.

    Returns:
        The word.

    Raises:
        DatasetError: It is something else.
    """
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise DatasetError(f"{where} must be a word of letters, digits, - and _; found {brief(value)}")
    return value


def check_path(value: object, where: str) -> str:
    """Return a value that is a path, as Python takes it.

    Args:
        value: The value.
        where: File and key of the value, for messages.

    Returns:
        The path.

    Raises:
        DatasetError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise DatasetError(f"{where} must be a path; found {brief(value)}")
    return file_name(value)


def check_share(value: object, where: str) -> float:
    """Return a value that is a number of 0..1.

    Args:
        value: The value.
        where: File and key of the value, for messages.

    Returns:
        The share.

    Raises:
        DatasetError: It is something else.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise DatasetError(f"{where} must be a share of 0..1, such as 0.1; found {brief(value)}")
    return float(value)
