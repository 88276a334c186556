"""Description files as the tests write them."""

import json

import pytest

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.knowledge import read_knowledge

TEMPLATE = "an aerial view of {name}."


def sentences(name, count=10, opening=TEMPLATE + " It exhibits "):
    return [f"{opening.replace('{name}', name)}pattern number {k}." for k in range(count)]


def document(**changes):
    classes = [
        {"name": "ship", "id": 1, "descriptions": sentences("ship")},
        {"name": "car", "id": 4, "class": "Moving car", "descriptions": sentences("car")},
    ]
    good = {"dataset": "mine", "version": 1, "template": TEMPLATE, "generator": "me", "classes": classes}
    return {key: value for key, value in (good | changes).items() if value is not None}


def line_of(path, text):
    """The line of the last occurrence of a piece of the file."""
    content = path.read_text(encoding="utf-8")
    return content[: content.rindex(text)].count("\n") + 1


def write(folder, content):
    path = folder / "mine.json"
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return path


def refusal(path):
    """The message with which a file is refused, which names the file."""
    with pytest.raises(ConfigError) as refused:
        read_knowledge(path)
    assert str(path) in str(refused.value)
    return str(refused.value)
