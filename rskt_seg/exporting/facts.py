"""What an exported file states of its graph, beside the graph: as text in its metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, get_args

from rskt_seg.decision import Decision
from rskt_seg.errors import CheckpointError, VocabularyError
from rskt_seg.inference.cells import WindowPlan
from rskt_seg.inference.strategies import Strategy
from rskt_seg.typing import ScoreKind
from rskt_seg.vocabulary import Vocabulary, check_names

FORMAT = 1
"""Version of the metadata and of the graph: files of another version are refused."""
FACTS, SCORES, DIGEST = "rskt_seg", "rskt_seg_scores", "rskt_seg_digest"
"""Keys of the metadata: the facts as JSON; the graph from blended maps to scores, ONNX in base64; and the
SHA-256 of both graphs and of the facts."""


@dataclass(frozen=True)
class GraphFacts:
    """What is known of an exported graph.

    Attributes:
        format: `FORMAT`.
        method: Title of the method of the model.
        weights: `rskt_seg.digests.weights_digest` of the model.
        class_names: T names of the classes; the first T channels of the scores.
        synonyms: T groups, all names of each class, its name first.
        palette: T colours, RGB in 0..255.
        ids: T values of a map.
        thresholds: T scores in 0..1 below which a pixel that the class wins has no class; 0: never.
        background: Names that compete with the classes and are written as no class; the last channels.
        rest: Position of the class that stands for everything else; None if there is none.
        score_kind: What the scores are, a `rskt_seg.typing.ScoreKind`.
        colors: Order of the channels of the images.
        range: Least and greatest value of the images.
        window: Side (px) of the windows that the graph sees.
        input_side: Side (px) of the images that it takes: windows and contexts, resized if it differs.
        overlap: Share of a window that the next one covers again.
        stride: The same as a step (px).
        cell: Side (px) of a cell, the resolution at which windows are blended.
        margin: Pixels around a window that its contexts reach.
        contexts: Context -> its side in windows, 0 for the whole scene; {} for a graph of images alone.
        resolution: Ground resolution (m) of a pixel that the model is meant for; None if unknown.
        notices: What the user should know of the model, one line each.
        versions: Software that wrote the file -> version.
    """

    format: int
    method: str
    weights: str
    class_names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    palette: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]
    thresholds: tuple[float, ...]
    background: tuple[str, ...]
    rest: int | None
    score_kind: ScoreKind
    window: int
    input_side: int
    overlap: float
    stride: int
    cell: int
    margin: int
    contexts: Mapping[str, float]
    resolution: float | None
    notices: tuple[str, ...]
    versions: Mapping[str, str]
    colors: str = "RGB"
    range: tuple[int, int] = (0, 255)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of the scores: those of the classes, then those of the background."""
        return (*self.class_names, *self.background)

    @property
    def sees_patches(self) -> bool:
        """Whether windows are resized, and contexts cut, before the graph sees them."""
        return bool(self.contexts) or self.input_side != self.window

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, with the ids, colours and thresholds of the map."""
        thresholds = tuple(each or None for each in self.thresholds)
        return Vocabulary(
            self.class_names,
            self.synonyms,
            colors=self.palette,
            ids=self.ids,
            thresholds=thresholds if any(thresholds) else None,
        )

    def check_names(self, names: Sequence[str] | Vocabulary | None, source: str) -> None:
        """Check that the names that a user gives are those of the graph.

        Args:
            names: The names, or None.
            source: The file, for the message.

        Raises:
            VocabularyError: They are others.
        """
        if names is None:
            return
        asked = names.names if isinstance(names, Vocabulary) else check_names(names)
        if [name.casefold() for name in asked] != [name.casefold() for name in self.class_names]:
            raise VocabularyError(
                f"the classes of {source} are frozen; leave the vocabulary out, or export another. Its "
                f"classes are {', '.join(map(repr, self.class_names))}; found {', '.join(map(repr, asked))}"
            )

    def to_json(self) -> str:
        """Return the facts as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def describe(strategy: Strategy, decision: Decision, plan: WindowPlan, **known: Any) -> GraphFacts:
    """Return what a file states of a model.

    Args:
        strategy: The model with its names.
        decision: What becomes of its scores.
        plan: How windows cover a large scene.
        known: The other facts: `method`, `weights`, `score_kind`, `resolution`, `notices`, `versions`.

    Returns:
        The facts.
    """
    entries = {entry.id: entry for entry in decision.legend.entries if entry.id != decision.other}
    names = strategy.vocabulary.names
    ids = tuple(map(int, decision.ids[: len(entries)]))
    return GraphFacts(
        format=FORMAT,
        class_names=names[: len(entries)],
        synonyms=strategy.vocabulary.synonyms[: len(entries)],
        palette=tuple(entries[each].color for each in ids),
        ids=ids,
        thresholds=tuple(round(float(each), 6) for each in decision.thresholds[: len(entries)]),
        background=names[len(entries) :],
        rest=strategy.background,
        window=plan.side,
        input_side=strategy.graph_inputs(plan)["images"][-1],
        overlap=round(1 - plan.stride / plan.side, 6),
        stride=plan.stride,
        cell=plan.cell,
        margin=plan.margin,
        contexts=dict(strategy.contexts),
        **known,
    )


def deepness_metadata(facts: GraphFacts) -> dict[str, Any]:
    """Return the keys that QGIS's plug-in Deepness reads of a graph of windows as they are.

    It feeds (value / 255 - mean) / standard deviation, which with these two are the values 0..255.

    Args:
        facts: The facts of the graph.

    Returns:
        Key -> what becomes JSON.
    """
    found: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(number): name for number, name in enumerate(facts.channels)},
        "tiles_size": facts.window,
        "tiles_overlap": round(100 * facts.overlap),
        "standardization_mean": [0.0, 0.0, 0.0],
        "standardization_std": [1 / 255] * 3,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
    return found if facts.resolution is None else {**found, "resolution": 100 * facts.resolution}


def digest_of(*parts: bytes) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of bytes with their lengths."""
    digest = sha256()
    for part in parts:
        digest.update(f"{len(part)}\n".encode())
        digest.update(part)
    return digest.hexdigest()


def read_facts(text: str, source: str) -> GraphFacts:
    """Parse the facts of a file.

    Args:
        text: What `GraphFacts.to_json` returned.
        source: The file, for messages.

    Returns:
        The facts.

    Raises:
        CheckpointError: They are of another version, or no facts.
    """
    try:
        stated = json.loads(text)
        found = stated["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{source}: its metadata {FACTS!r} cannot be read; export it again") from error
    if found != FORMAT:
        raise CheckpointError(
            f"{source}: expected an export of format {FORMAT}; found format {found!r}, of another release of "
            "rskt_seg: export it again with this one"
        )
    try:
        facts = GraphFacts(**{name: _frozen(value) for name, value in stated.items()})
        _check(facts)
    except (TypeError, ValueError, VocabularyError) as error:
        raise CheckpointError(
            f"{source}: what it states cannot be used ({error}); export it again"
        ) from error
    return facts


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _check(facts: GraphFacts) -> None:
    """Raise a `ValueError` for facts that contradict each other, as a forged file may have them."""
    count = len(facts.class_names)
    if {len(each) for each in (facts.synonyms, facts.palette, facts.ids, facts.thresholds)} != {count}:
        raise ValueError(f"{count} classes, and other numbers of what belongs to them")
    if facts.score_kind not in get_args(ScoreKind) or facts.range != (0, 255) or facts.colors != "RGB":
        raise ValueError(f"scores {facts.score_kind!r} of {facts.colors!r} images in {facts.range}")
    numbers = (facts.window, facts.stride, facts.cell)
    if not all(type(each) is int and each > 0 for each in numbers) or facts.window % facts.cell:
        raise ValueError(f"windows of {facts.window!r} px, {facts.stride!r} px apart, of {facts.cell!r} px")
    facts.vocabulary  # noqa: B018  checks the names
