"""Statistics of the ids of all labels of a dataset, and the mistakes that no single label can show."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind
from rskt_seg.data.labels import likely_mistake, pixel_counts

BINARY = Kind(
    ERROR,
    "all labels hold 0 and 255 and nothing else: binary masks, of which 255 would be ignored",
    "write ids, such as 1 where the mask is 255 and 0 elsewhere; if class 0 is all that these labels have, "
    "leave the other names out of the class list",
)
ALL_IGNORED = Kind(
    ERROR,
    "every pixel of every label is ignored, so there is nothing to train or score",
    "the ids were lost on the way: convert the official labels again, or correct `ignore`",
)
ONLY_TWO = Kind(
    ERROR,
    "all labels hold 0 and 1 and nothing else, though the set has more than two classes",
    "ids collapse to this when a palette mask is saved without its palette or as a binary one: convert the "
    "official labels again; if it is meant, shorten the class list",
)


def suspicion(totals: Mapping[int, int], num_classes: int, ignore_label: int) -> Kind | None:
    """Return the mistake that the ids of the labels read so far prove, or None.

    Further labels can only disprove it, never add one. Ids that are no class are not judged here
    (`stray_faults`).

    Args:
        totals: Id -> pixels, over the labels.
        num_classes: How many classes the dataset has.
        ignore_label: The id of pixels that are neither trained nor scored.

    Returns:
        `ALL_IGNORED`, `BINARY` or None.
    """
    seen = {k for k, pixels in totals.items() if pixels} - {ignore_label}
    if not seen:
        return ALL_IGNORED if totals else None
    if seen == {0} and ignore_label == 255 and totals.get(255) and num_classes > 1:
        return BINARY
    return None


def collapsed(totals: Mapping[int, int], num_classes: int, ignore_label: int) -> Kind | None:
    """Return the mistake of ids that collapsed to 0 and 1, judged by all labels of a dataset, or None.

    Args:
        totals: Id -> pixels, over all labels.
        num_classes: How many classes the dataset has.
        ignore_label: The id of pixels that are neither trained nor scored.

    Returns:
        `ONLY_TWO` or None.
    """
    seen = {k for k, pixels in totals.items() if pixels} - {ignore_label}
    return ONLY_TWO if seen == {0, 1} and num_classes > 2 else None


def strays(counts: Mapping[int, int], num_classes: int, ignore_label: int) -> dict[int, int]:
    """Return the entries of `counts` (id -> pixels) whose ids are neither a class nor ignored.

    Args:
        counts: Id -> pixels, of one label or of many.
        num_classes: K.
        ignore_label: The id of pixels that are neither trained nor scored.

    Returns:
        Id -> pixels, of ids from K on.
    """
    return {k: pixels for k, pixels in counts.items() if k >= num_classes and k != ignore_label}


def stray_faults(
    labels: Sequence[tuple[Path, Mapping[int, int]]], class_names: Sequence[str], ignore_label: int
) -> list[Fault]:
    """Return a fault for each label (path, id -> pixels) with strays; the cure follows from all labels.

    Args:
        labels: File and id -> pixels of each label.
        class_names: K names in the order of ids.
        ignore_label: The id of pixels that are neither trained nor scored.

    Returns:
        One fault for each label with such ids.
    """
    number = len(class_names)
    kind = Kind(
        ERROR,
        f"label ids outside 0..{number - 1} ({number} classes) and {ignore_label} (ignored)",
        _cure({k for _, counts in labels for k in counts}, class_names, ignore_label),
    )
    found = [(path, strays(counts, number, ignore_label)) for path, counts in labels]
    return [Fault(kind, str(path), f"found ids {pixel_counts(wrong)}") for path, wrong in found if wrong]


def _cure(values: set[int], class_names: Sequence[str], ignore_label: int) -> str:
    number = len(class_names)
    if ignore_label == 0 and values <= set(range(number + 1)):
        return "id 0 is ignored, but the first name is its name too: put one in front, such as 'unlabelled'"
    stray_ids = set(strays(dict.fromkeys(values, 0), number, ignore_label))
    if ignore_label != 255 and stray_ids == {255} and values - {0, 255}:
        return f"if 255 is what the labels ignore, say so; here it is {ignore_label}"
    return likely_mistake(values, number, ignore_label).removeprefix(". ") or (
        f"the last class is {number - 1}, {class_names[-1]!r}: is the class list complete, and are these the "
        "labels of this dataset?"
    )


def absent_classes(totals: Counter[int], class_names: Sequence[str], ignore_label: int) -> Iterator[Fault]:
    """Yield a note that names the classes without a pixel in any label, if there are such classes.

    Args:
        totals: Id -> pixels, over all labels.
        class_names: K names in the order of ids.
        ignore_label: The id of pixels that are neither trained nor scored.

    Yields:
        One note, or none.
    """
    last = len(class_names) - 1
    absent = [k for k in range(last + 1) if not totals[k] and k != ignore_label]
    if not absent or len(absent) == len(class_names):
        return
    names = ", ".join(f"{k} {class_names[k]}" for k in absent)
    cure = "nothing to do if the images show none; such classes are left out of the scores"
    if absent[0] == 0 and last not in absent:
        cure += ". Ids that start at 1 look like this too: compare shares and names below"
    if absent[-1] == last and 0 not in absent and totals[ignore_label]:
        cure += ". Ids lowered by one twice look like this too: compare shares and names below"
    yield Fault(Kind(NOTE, f"classes that occur in no label: {names}", cure), "")
