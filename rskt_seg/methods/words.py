"""What the text encoder of a model makes of class names, and where it keeps it."""

import logging
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from rskt_seg.encoders.text import TextTower, prompts
from rskt_seg.encoders.text_files import TextFiles, default_folder
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.predict import evaluating
from rskt_seg.methods.registry import method_of
from rskt_seg.reading import brief
from rskt_seg.typing import SegmentationModel
from rskt_seg.vocabulary import check_names

logger = logging.getLogger(__name__)

_ROWS = 1024
"""Names that are compared with all others at a time; bounds memory."""
_SHOWN = 10
_MANY_PIECES = 3
"""Pieces of a word from which on CLIP has hardly seen it: words that are common in captions are one piece."""
_WORD = re.compile(r"[^\W\d_]+")


class NearNames(NamedTuple):
    """Two names that are nearly the same to a model.

    Attributes:
        first: A name.
        second: A later one.
        cosine: Of the means of their prompts, at most 1.
    """

    first: str
    second: str
    cosine: float


class CutName(NamedTuple):
    """A name that the text encoder does not read as it is written.

    Attributes:
        name: The name.
        reason: The error, if it is refused; else what becomes of it, as the end of a sentence.
        is_refused: Whether the model refuses it.
    """

    name: str
    reason: str
    is_refused: bool


def keep_texts(model: SegmentationModel, where: str | os.PathLike[str] | bool | None) -> None:
    """Make a model find its text embeddings on disk, and keep new ones there.

    Args:
        model: A model of a registered method, or its inference form. One without a text encoder stays as it
            is.
        where: A folder; True: `rskt_seg.encoders.text_files.default_folder()`, with a warning if there is
            none; None or False: leave the model as it is.

    Raises:
        ConfigError: `where` is something else.
    """
    if where is None or where is False:
        return
    if where is not True and not isinstance(where, str | os.PathLike):
        raise ConfigError(f"text_cache must be a folder, True or None; found {brief(where)}")
    text_tower = method_of(model).text_tower
    if text_tower is None:
        return
    folder = default_folder() if where is True else where
    if folder is None:
        logger.warning("text embeddings are not kept: this user has no home folder; set XDG_CACHE_HOME")
    else:
        text_tower(model).bank.files = TextFiles(folder)


def templates_of(model: SegmentationModel) -> tuple[str, ...]:
    """Return the prompt templates by which a model is asked for names, one `{}` each.

    They are an option of open-vocabulary models, `create_model(NAME, templates=(...))`.

    Args:
        model: A model of a registered method.

    Returns:
        P templates; () for a model without a text encoder.
    """
    text_tower = method_of(model).text_tower
    return () if text_tower is None else text_tower(model).bank.templates


def nearly_equal(
    model: SegmentationModel, names: Sequence[str], limit: float = 0.95
) -> tuple[NearNames, ...]:
    """Find names that a model can hardly tell from each other.

    Args:
        model: A model with a text encoder.
        names: T names, as `Segmenter.prompts`.
        limit: Cosine from which on two names are nearly the same.

    Returns:
        The pairs, nearest first.

    Raises:
        ConfigError: The model has no text encoder.
        VocabularyError: The names cannot be used, or not be encoded.
    """
    tower, names = _tower(model), check_names(names)
    with evaluating(model):
        means = F.normalize(tower.bank(tower.clip, names).float().mean(dim=1), dim=-1)  # (T, E)
    pairs = []
    for start in range(0, len(names), _ROWS):
        cosines = means[start : start + _ROWS] @ means.T
        for row, column in torch.triu(cosines >= limit, 1 + start).nonzero().tolist():
            cosine = min(1.0, float(cosines[row, column]))
            pairs.append(NearNames(names[start + row], names[column], cosine))
    return tuple(sorted(pairs, key=lambda pair: -pair.cosine))


def cut_words(model: SegmentationModel, names: Sequence[str]) -> tuple[CutName, ...]:
    """Find names that are too long for the text encoder, or whose words it does not know as such.

    Args:
        model: A model with a text encoder.
        names: T names, as `Segmenter.prompts`.

    Returns:
        Names that have too many tokens in their longest prompt, have words outside the list of a small
        encoder, or have words that the tokenizer cuts into three or more pieces.

    Raises:
        ConfigError: The model has no text encoder.
        VocabularyError: The names cannot be used.
    """
    bank = _tower(model).bank
    longest = max(bank.templates, key=bank.tokenizer.length)
    found = []
    for name in check_names(names):
        try:
            bank.tokenizer(prompts([name], [longest]))
        except VocabularyError as error:
            found.append(CutName(name, str(error), True))
            continue
        pieces = {word: bank.tokenizer.pieces(word) for word in _WORD.findall(name)}
        if rare := [_in_pieces(word, each) for word, each in pieces.items() if len(each) >= _MANY_PIECES]:
            found.append(CutName(name, f"is read in pieces: {', '.join(rare)}", False))
    return tuple(found)


def _in_pieces(word: str, pieces: Sequence[str]) -> str:
    shown = "|".join(pieces)
    return shown if shown.isprintable() and "\ufffd" not in shown else f"{word} ({len(pieces)} pieces)"


def word_notices(model: SegmentationModel, names: Sequence[str], limit: float = 0.95) -> tuple[str, ...]:
    """Return what a user should know of how a model reads class names, one line each.

    Args:
        model: Any model; one without a text encoder has no notices.
        names: T names, as `Segmenter.prompts`.
        limit: As for `nearly_equal`.

    Returns:
        At most 10 lines on pairs of names and 10 on words, and how many more there are.

    Raises:
        VocabularyError: The names cannot be used, or not be encoded.
    """
    if method_of(model).text_tower is None:
        return ()
    near = [
        f"{pair.first!r} and {pair.second!r} are nearly the same to the model (cosine {pair.cosine:.3f}): "
        "make one class of them, or use other words"
        for pair in nearly_equal(model, names, limit)
    ]
    cut = [
        f"{each.name!r} {each.reason}; the model may hardly know it: try a more common word"
        for each in cut_words(model, names)  # none is refused, or `nearly_equal` had raised
    ]
    return (*_shortened(near, "pairs of names"), *_shortened(cut, "names"))


def _shortened(lines: list[str], what: str) -> list[str]:
    rest = len(lines) - _SHOWN
    return lines if rest <= 0 else [*lines[:_SHOWN], f"and {rest} more such {what}"]


def _tower(model: SegmentationModel) -> TextTower:
    method = method_of(model)
    if method.text_tower is None:
        raise ConfigError(f"{method.title} models are not asked by words")
    return method.text_tower(model)
