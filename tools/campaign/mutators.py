"""Damage to files: bytes that change, go missing or come twice, and values of another type."""

import json
import random
from collections.abc import Callable, Sequence

import yaml

Mutator = Callable[[bytes, random.Random], bytes]
_HEADERS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"GIF89a",
    b"PK\x03\x04",
    b"BM",
    b"\x1f\x8b\x08",
    b"RIFF\0\0\0\0WEBP",
    b"%PDF-1.7",
    b"<!DOCTYPE html>",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"version https://git-lfs",
    b"\x80\x02}q\0.",
    b"{",
    b"[",
    b"---\n",
    b"\0",
)
_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    255,
    256,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "text",
    "../x",
    "/etc/passwd",
    "http://127.0.0.1:9/x",
    "1e3",
    "\u202e",
    [],
    [[]],
    {},
    {"a": 1},
    ["a", 2],
)


def mutate(content: bytes, rng: random.Random, mutators: Sequence[Mutator]) -> tuple[bytes, str]:
    """Damage a file once or, one time in five, several times.

    Args:
        content: The file.
        rng: The source of chance.
        mutators: What may be done.

    Returns:
        The damaged file, which differs from the first, and what was done.
    """
    done: list[str] = []
    changed = content
    wanted = 1 if rng.random() < 0.8 else rng.randint(2, 4)
    while len(done) < wanted or changed == content:
        mutator = rng.choice(mutators)
        changed = mutator(changed, rng)
        done.append(mutator.__name__.strip("_").replace("_", " "))
    return changed, "+".join(done)


def _spot(content: bytes, rng: random.Random) -> int:
    """Choose a place: near the beginning or the end, where formats keep tables, as often as elsewhere."""
    size = max(len(content), 1)
    near = min(size, 512)
    return rng.choice(
        (rng.randrange(size), rng.randrange(size), rng.randrange(near), size - 1 - rng.randrange(near))
    )


def _piece(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = _spot(content, rng)
    return start, min(len(content), start + rng.choice((1, 2, 4, 16, 64, 512, max(1, len(content) // 4))))


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 1, 4, 16))):
        changed[_spot(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set_bytes(content: bytes, rng: random.Random) -> bytes:
    start, end = _piece(content, rng)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((0, 1, _spot(content, rng), _spot(content, rng), max(0, len(content) - 1)))]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = _spot(content, rng)
    return content[:start] + rng.randbytes(rng.choice((1, 2, 8, 100))) + content[start:]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\0", b"\n", rng.randbytes(100), content))


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start, end = _piece(content, rng)
    return content[:start] + content[end:]


def _swap(content: bytes, rng: random.Random) -> bytes:
    size = max(1, min(rng.choice((16, 512, 4096)), len(content) // 4))
    a, b = sorted((_spot(content, rng), _spot(content, rng)))
    if b < a + size or b + size > len(content):
        return content
    return (
        content[:a]
        + content[b : b + size]
        + content[a + size : b]
        + content[a : a + size]
        + content[b + size :]
    )


def _zero(content: bytes, rng: random.Random) -> bytes:
    start, end = _piece(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _piece(content, rng)
    return content[:end] + content[start:end] + content[end:]


def _header(content: bytes, rng: random.Random) -> bytes:
    head = rng.choice(_HEADERS)
    return head + content[rng.choice((0, len(head))) :]


BYTES: tuple[Mutator, ...] = (
    _flip,
    _flip,
    _flip,
    _set_bytes,
    _zero,
    _swap,
    _truncate,
    _insert,
    _append,
    _cut_out,
    _duplicate,
    _header,
)
"""What happens to any file; flipped bits, which leave its length as it is, are the most frequent."""


def _retype(content: bytes, rng: random.Random) -> bytes:
    """Replace a value of a YAML or JSON text, at any depth, by one of another type, or its key."""
    try:
        tree = yaml.safe_load(content)
        is_json = content.lstrip()[:1] in (b"{", b"[")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):  # damaged before
        return content
    if not isinstance(tree, dict | list) or not tree:
        return content
    holder, key = _choose_place(tree, rng)
    value = rng.choice(_VALUES)
    how = rng.choice(("value", "value", "value", "key", "remove", "wrap"))
    if how == "value":
        holder[key] = value
    elif how == "wrap":
        holder[key] = [holder[key]]
    elif how == "remove" or not isinstance(holder, dict):
        del holder[key]
    elif isinstance(value, str | int | float | None):
        holder[value] = holder.pop(key)
    return (json.dumps(tree) if is_json else yaml.safe_dump(tree, allow_unicode=True)).encode()


def _choose_place(tree: dict | list, rng: random.Random) -> tuple[dict | list, object]:
    """Walk into nested dictionaries and lists; return a holder and a key or position in it."""
    holder = tree
    while True:
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return holder, key
        holder = inner


def _double_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"".join(lines)


def _break_text(content: bytes, rng: random.Random) -> bytes:
    start = _spot(content, rng)
    marks = (
        b"\t",
        b"'",
        b'"',
        b": ",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\x28",
        b",",
        b"&a *a",
        b"!!python/none ",
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
        b"#",
        b"{",
        b"}",
        b"[" * 2000,
        b"- " * 2000,
        b"=1+1",
        b"\x1b[31m",
    )
    return content[:start] + rng.choice(marks) + content[start:]


TEXTS: tuple[Mutator, ...] = (*BYTES, _double_line, _break_text, _break_text)
"""What happens to a text."""
TREES: tuple[Mutator, ...] = (*TEXTS, *[_retype] * len(TEXTS))
"""What happens to a YAML or JSON text: as often as not a value gets another type."""
