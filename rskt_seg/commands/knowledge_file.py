"""Checks of a description file of the weakly supervised method: its text, classes and embeddings."""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from rskt_seg.checkpoints.clip import RULES as CLIP_RULES
from rskt_seg.checkpoints.clip import normalise_names
from rskt_seg.checkpoints.files import read_source
from rskt_seg.checkpoints.hub import BUNDLED, locate
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.commands.entry import echo
from rskt_seg.data.catalog import SPLITS, find_split
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16, ClipPreset
from rskt_seg.encoders.text import Tokenizer, build_tokenizer, vocabulary_size
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.methods.layout import OTHER_ENCODER
from rskt_seg.models.wsss.knowledge import Knowledge, KnowledgeClass, read_knowledge
from rskt_seg.models.wsss.prototypes import cluster_texts
from rskt_seg.models.wsss.text import encode_texts

WORDS = (12, 40)
"""Words of a description, its opening included."""
HEDGES = ("may", "might", "often", "usually", "typically", "sometimes", "generally", "perhaps", "possibly")
MOST_HEDGES = 1
"""Words that hedge, in a whole file."""
MOST_MEASURES = 3
"""Lengths in figures (as `20 m`) in the sentences of a class."""
NEIGHBOURS = 1 / 3
"""Share of a class's sentences that may name another class of the file: K-means mixes what shares nouns."""
ALIKE = 0.8
"""Share of common words (Jaccard) from which two sentences count as one with words exchanged."""
COSINE = (0.75, 0.97)
"""Mean cosine between the sentences of a class: below, they drift apart; above, they all say the same."""
NEAREST = 0.9
"""Share of a class's sentences that lie nearest to the mean of their own class."""
CLUSTERS, TOUCHED = 8, 2
"""Centroids of the method, and over how many of them the sentences of a class should spread at least."""
_MEASURE = re.compile(r"\d\s?-?(mm|cm|km|m|met(er|re)s?|f(oo|ee)t)\b", re.IGNORECASE)


@dataclass
class Findings:
    """Faults of a file, one line for each.

    Attributes:
        errors: Faults with which the method cannot use the file.
        warnings: Advice.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def contexts(knowledge: Knowledge, each: KnowledgeClass) -> list[str]:
    """Return the descriptions of a class without the opening and the full stop.

    Args:
        knowledge: The file as read.
        each: One of its classes.

    Returns:
        One text for each description, in their order.
    """
    opening = knowledge.opening.replace("{name}", each.name)
    return [text.removeprefix(opening).removesuffix(".") for text in each.descriptions]


def check_texts(knowledge: Knowledge, found: Findings) -> None:
    """Add a warning to `found` for each fault that the text alone shows.

    Args:
        knowledge: The file as read.
        found: Where the warnings are added.
    """
    found.warnings += knowledge.notices
    for each in knowledge.classes:
        found.warnings += [f"{each.name}: {text}" for text in _check_class(knowledge, each)]
    said = Counter(word for each in knowledge.classes for text in each.descriptions for word in _words(text))
    hedges = {word: said[word] for word in HEDGES if said[word]}
    if sum(hedges.values()) > MOST_HEDGES:
        found.warnings.append(f"hedging: {', '.join(f'{word} ({count})' for word, count in hedges.items())}")
    sentences = [
        (each.name, text, set(_words(text)))
        for each in knowledge.classes
        for text in contexts(knowledge, each)
    ]
    for (name, text, words), (second, other, others) in combinations(sentences, 2):
        if len(words & others) >= ALIKE * len(words | others):
            found.warnings.append(f"{name}, {second}: hardly different: {text!r} and {other!r}")


def _check_class(knowledge: Knowledge, each: KnowledgeClass) -> Iterator[str]:
    """Yield the faults of the descriptions of a class."""
    sentences = contexts(knowledge, each)
    for text, context in zip(each.descriptions, sentences, strict=True):
        count = len(text.split())
        if not WORDS[0] <= count <= WORDS[1]:
            yield f"{WORDS[0]}..{WORDS[1]} words expected, found {count}: {text!r}"
        if re.search(r"[.!?](\s|$)", context):
            yield f"one sentence expected after the opening: {text!r}"
        if knowledge.template.endswith(".") and not text.endswith("."):
            yield f"no full stop at the end: {text!r}"
    measures = sum(len(_MEASURE.findall(text)) for text in sentences)
    if measures > MOST_MEASURES:
        yield f"{measures} lengths in figures; at most {MOST_MEASURES}, where they are typical"
    others = [re.escape(other.name) for other in knowledge.classes if other is not each]
    naming = [
        text for text in sentences if re.search(rf"\b({'|'.join(others)})(e?s)?\b", text, re.IGNORECASE)
    ]
    if others and len(naming) > NEIGHBOURS * len(sentences):
        yield f"{len(naming)} of {len(sentences)} sentences name other classes of the file; at most a third"


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold())


def check_classes(knowledge: Knowledge, dataset: str, found: Findings) -> None:
    """Check that the file describes the classes of a dataset, or of a split, in their order.

    A class called background needs no description. Missing classes are an error in `found`, others warnings.

    Args:
        knowledge: The file as read.
        dataset: Name of a dataset or of a split.
        found: Where errors and warnings are added.

    Raises:
        DatasetError: No dataset or split has this name.
    """
    datasets = {split.dataset.casefold(): split for split in reversed(SPLITS)}
    split = datasets.get(dataset.casefold()) or find_split(dataset)
    ids = {name: number for number, name in enumerate(split.class_set.names)}
    described = {n.casefold() for c in knowledge.classes for n in (c.name, c.dataset_name) if n}
    needed = [n for n in ids if n.casefold() in described or "background" not in n.casefold().split("/")]
    try:
        asked = knowledge.for_classes(needed)
    except ConfigError as error:
        found.errors.append(str(error))
        return
    if unused := [each.name for each in knowledge.classes if each not in asked]:
        found.warnings.append(f"{split.dataset} has no class {', '.join(unused)}")
    if [each.id for each in asked] != [ids[name] for name in needed]:
        found.warnings.append(f"ids are not those of {split.dataset}; classes are found by their names")


def token_lengths(knowledge: Knowledge, tokenizer: Tokenizer, found: Findings) -> dict[str, int]:
    """Count the tokens of the descriptions; a text that is too long is an error in `found`.

    Args:
        knowledge: The file as read.
        tokenizer: Tokenizer of the text encoder.
        found: Where errors are added.

    Returns:
        Class -> most tokens of a description, start and end included; without classes of which no text fits.
    """
    most: dict[str, int] = {}
    for each in knowledge.classes:
        for text in each.descriptions:
            try:
                # The token that ends a text has the highest number.
                count = int(tokenizer([text])[0].argmax()) + 1
                most[each.name] = max(count, most.get(each.name, 0))
            except VocabularyError as error:
                found.errors.append(f"{each.name}: {error}")
    return most


@dataclass(frozen=True)
class Spread:
    """How the embedded sentences of a class are spread.

    Attributes:
        cosine: Mean cosine between two of its sentences.
        nearest: Share (0..1) of its sentences that lie nearest to the mean of their own class.
        clusters: Over how many of the `CLUSTERS` centroids they are spread.
    """

    cosine: float
    nearest: float
    clusters: int


def spreads(texts: Tensor, classes: int) -> list[Spread]:
    """Measure how the embedded sentences of each class are spread.

    Args:
        texts: Unit vectors (T * n, E), class after class.
        classes: The number of classes, T.

    Returns:
        T measurements, in the order of the classes.
    """
    groups = texts.unflatten(0, (classes, -1))
    n = groups.shape[1]
    cosines = (groups @ groups.mT).sum(dim=(1, 2)).sub(n).div(n * (n - 1))
    means = F.normalize(groups.mean(dim=1), dim=-1)
    nearest = (groups @ means.T).argmax(dim=-1) == torch.arange(classes)[:, None]
    clusters = torch.cdist(texts, cluster_texts(texts, CLUSTERS)).argmin(dim=1).unflatten(0, (classes, n))
    return [
        Spread(float(cosine), int(own.sum()) / n, len(row.unique()))
        for cosine, own, row in zip(cosines, nearest, clusters, strict=True)
    ]


def check_spreads(knowledge: Knowledge, measured: Sequence[Spread], found: Findings) -> None:
    """Add a warning to `found` for each class whose spread is outside of the limits.

    Args:
        knowledge: The file as read.
        measured: What `spreads` returned for its descriptions.
        found: Where the warnings are added.
    """
    for each, spread in zip(knowledge.classes, measured, strict=True):
        if not COSINE[0] <= spread.cosine <= COSINE[1]:
            found.warnings.append(
                f"{each.name}: mean cosine {spread.cosine:.3f}, expected {COSINE[0]}..{COSINE[1]}"
            )
        if spread.nearest < NEAREST:
            found.warnings.append(
                f"{each.name}: {spread.nearest:.0%} of the sentences lie nearest to their own class; "
                f"expected {NEAREST:.0%}"
            )
        if spread.clusters < TOUCHED:
            found.warnings.append(
                f"{each.name}: all sentences in one of {CLUSTERS} clusters; expected {TOUCHED} or more"
            )


def load_clip(preset: ClipPreset, source: str) -> CLIP:
    """Return a CLIP with the weights of a file, an open_clip name or "tiny".

    Args:
        preset: The architecture.
        source: A file, an open_clip name, or "tiny".

    Returns:
        The model.

    Raises:
        CheckpointError: The weights cannot be read or do not fit.
    """
    name, weights = read_source(locate(source))
    model = CLIP(preset, vocabulary_size(preset.text))
    state = convert(normalise_names(weights.state), CLIP_RULES, LoadReport(name))
    load_strict(model, state, name, OTHER_ENCODER)
    return model


def check(args: argparse.Namespace) -> int:
    """Check a file and print a table and the findings. Return 1 if there is an error, else 0."""
    found = Findings()
    preset = CLIP_TINY if args.clip == BUNDLED else CLIP_VITB16
    try:
        knowledge = read_knowledge(args.source)
    except ConfigError as error:
        found.errors.append(str(error))
        return report(found)
    check_texts(knowledge, found)
    if args.classes:
        check_classes(knowledge, args.classes, found)
    tokenizer = build_tokenizer(preset.text)
    tokens = token_lengths(knowledge, tokenizer, found)
    measured: list[Spread] = []
    if args.clip and not found.errors:
        clip = load_clip(preset, args.clip)
        texts = [text for each in knowledge.classes for text in each.descriptions]
        measured = spreads(encode_texts(clip, tokenizer, texts), len(knowledge.classes))
        check_spreads(knowledge, measured, found)
    echo(table(knowledge, tokens, measured))
    return report(found)


def table(knowledge: Knowledge, tokens: dict[str, int], measured: Sequence[Spread]) -> str:
    """Return the table of the classes, under a line that identifies the file.

    Args:
        knowledge: The file as read.
        tokens: What `token_lengths` returned.
        measured: What `spreads` returned, for three further columns; empty without them.

    Returns:
        The text.
    """
    head = ["class", "sentences", "words", "most tokens"]
    rows = []
    for each in knowledge.classes:
        words = [len(text.split()) for text in each.descriptions]
        rows.append([each.name, len(words), f"{min(words)}..{max(words)}", tokens.get(each.name, "-")])
    if measured:
        head += ["cosine", "nearest own", f"of {CLUSTERS} clusters"]
        for row, spread in zip(rows, measured, strict=True):
            row += [f"{spread.cosine:.3f}", f"{spread.nearest:.0%}", spread.clusters]
    return (
        f"{knowledge.source}: {knowledge.dataset}, sha256 {knowledge.digest}\n{tabulate(rows, headers=head)}"
    )


def report(found: Findings) -> int:
    """Print the findings. Return 1 if there is an error, else 0."""
    for kind, lines in (("error", found.errors), ("warning", found.warnings)):
        for line in lines:
            echo(f"{kind}: {line}")
    echo(f"{len(found.errors)} errors, {len(found.warnings)} warnings")
    return int(bool(found.errors))
