"""From the best class of every pixel and its score to the values of a map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.class_colors import class_colors, no_class_color
from rskt_seg.class_facts import is_threshold
from rskt_seg.errors import VocabularyError
from rskt_seg.labels import MOST_CLASSES
from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.reading import brief
from rskt_seg.vocabulary import Vocabulary, check_names

OTHER = "other"
"""Name of the legend for pixels that the background wins, or whose winner scores too little."""


@dataclass(frozen=True, eq=False)
class Decision:
    """How the scores of T asked classes become values of a map. The names of the background come last.

    Attributes:
        ids: (T,) int64 values of the map, `other` for the names of the background.
        thresholds: (T,) float32: a class that wins a pixel with less leaves it to `other`; 0: never.
        other: Value of such pixels; None if there can be none.
        legend: What the values mean, with `other` if it is not None.
    """

    ids: np.ndarray
    thresholds: np.ndarray
    other: int | None
    legend: Legend

    def apply(self, best: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return the values of a map.

        Args:
            best: (H, W) integers in 0..T-1, the winning class of each pixel.
            score: (H, W) float32, its score in 0..1.

        Returns:
            (H, W) of `legend.dtype`. Pixels without data are for the caller to mark.
        """
        values: np.ndarray = self.ids.astype(self.legend.dtype)[best]
        if self.other is not None and self.thresholds.any():
            values[score < self.thresholds[best]] = self.other
        return values


def make_decision(
    vocabulary: Vocabulary,
    *,
    background: Sequence[str] = (),
    threshold: float | None = None,
    colors_background: int | None = None,
    is_closed: bool = False,
) -> tuple[Vocabulary, Decision]:
    """Return the vocabulary to ask a model for, and what becomes of its scores.

    Args:
        vocabulary: The classes of the map. Ids that it does not give follow the order, from 0; colours that
            it does not give are those of `rskt_seg.class_colors`.
        background: Names that compete with the classes and are written as no class; an entry `"a, b"` is two.
        threshold: Score in 0..1 below which a pixel has no class, for classes without one of their own; 0 or
            None: none.
        colors_background: Position of the class that is shown in dark grey if it has no colour of its own, as
            `Segmenter.background`; None: there is none.
        is_closed: Whether the classes belong to the model, which then cannot be asked for other names.

    Returns:
        Names, synonyms and thresholds of what the model is asked for; and the decision.

    Raises:
        VocabularyError: A name is both class and background, or the background cannot be asked for; the
            threshold is outside 0..1; or no id is left for `other`.
    """
    if threshold is not None and not is_threshold(threshold):
        raise VocabularyError(f"expected a threshold in 0..1; found {brief(threshold)}")
    hidden = _background_names(vocabulary, background, is_closed)
    own = vocabulary.thresholds or (None,) * len(vocabulary.names)
    filled = [(threshold or 0.0) if each is None else each for each in own]
    filled += [0.0] * len(hidden)
    thresholds = np.array(filled, np.float32)
    ids = vocabulary.ids or tuple(range(len(vocabulary.names)))
    other = max(ids) + 1 if hidden or thresholds.any() else None
    if other == MOST_CLASSES:
        raise VocabularyError(
            f"pixels without a class need an id above the highest of the classes, {max(ids)}, and ids end at "
            f"{MOST_CLASSES - 1}; give that class a lower one, or leave threshold and background out"
        )
    colors = class_colors(vocabulary.names, vocabulary.colors, colors_background)
    entries = [LegendEntry(*each) for each in zip(ids, vocabulary.names, colors, strict=True)]
    if other is not None:
        entries.append(LegendEntry(other, _free_name(vocabulary), no_class_color(colors)))
    asked = Vocabulary(
        (*vocabulary.names, *hidden),
        (*vocabulary.synonyms, *((name,) for name in hidden)),
        vocabulary.remarks,
        thresholds=tuple(filled) if thresholds.any() else None,
    )
    values = np.array([*ids, *[other or 0] * len(hidden)], np.int64)
    return asked, Decision(values, thresholds, other, Legend(tuple(sorted(entries))))


def normalise(scores: np.ndarray) -> None:
    """Divide scores by their sum over the classes, in place, so that they sum to one.

    Their order stays, but two that nearly are equal may become equal by rounding.

    Args:
        scores: (T, H, W) float32 from 0; of a pixel where all are 0, each becomes 1 / T. NaN stays.
    """
    total = scores.sum(axis=0, dtype=np.float64)
    nothing = total == 0
    total[nothing] = len(scores)
    for each in scores:  # all at once would take copies of them in float64
        each[nothing] = 1
        each /= total


def unchosen_notice(names: Sequence[str], pixels: Sequence[int]) -> str | None:
    """Return a line about the names that no pixel chose; None if each was chosen.

    Args:
        names: T names that a model was asked for.
        pixels: T numbers of pixels whose best class each name was, whatever the threshold.

    Returns:
        The line, which lists at most 10 of them.
    """
    if not any(pixels):
        return "no pixel has data, so that the map is empty; check the part, and what is nodata"
    unchosen = [name for name, count in zip(names, pixels, strict=True) if not count]
    if not unchosen:
        return None
    more = f" and {len(unchosen) - 10} more" if len(unchosen) > 10 else ""
    shown = ", ".join(map(repr, unchosen[:10])) + more
    return f"{len(unchosen)} of {len(names)} names were the best of no pixel: {shown}"


def _background_names(vocabulary: Vocabulary, background: Sequence[str], is_closed: bool) -> tuple[str, ...]:
    """Return the names of the background, checked."""
    if not isinstance(background, str) and not background:
        return ()
    names = check_names([part for entry in check_names(background) for part in entry.split(", ")])
    if is_closed:
        raise VocabularyError(
            f"the classes of this model are fixed, so that it cannot be asked for {brief(', '.join(names))}; "
            "leave the background out"
        )
    classes = {name.casefold() for group in vocabulary.synonyms for name in group}
    if both := [name for name in names if name.casefold() in classes]:
        raise VocabularyError(
            f"{both[0]!r} is a name of a class and of the background; keep it in one of them"
        )
    return names


def _free_name(vocabulary: Vocabulary) -> str:
    """Return the name of pixels without a class, which no class has."""
    names = {name.casefold() for name in vocabulary.names}
    return next((name for name in (OTHER, "no class", "without a class") if name not in names), OTHER)
