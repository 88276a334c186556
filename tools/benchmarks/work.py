"""FLOPs of RSKT-Seg by formulas: of the published computation, and those that its result needs.

A multiply-add counts as 2 FLOPs, nothing but products and convolutions counts (`rskt_seg.analysis.RULE`).
Every number follows from the presets of the encoders and the specification. Needed is what is left after
exact reductions: blocks and projections whose output nobody uses are left out, guidance is convolved once per
image, the fusion convolution is done by FFT, and a transposed convolution and the 3x3 one after it are one.
Symbols: G side of the cost volume in cells, C channels of its embedding, T classes.
"""

from dataclasses import dataclass
from math import log2

from rskt_seg.encoders.presets import ENCODER_SETS, EncoderSet, VisionPreset
from rskt_seg.errors import ConfigError
from rskt_seg.models import RSKTSpec

ROTATIONS = 4
_PUBLISHED = {
    "fusion": "separate", "aggregator": "efficient", "rotations": True, "dino": True, "remote_clip": True,
    "dino_in_set": False, "guided_values": False, "text_in_pooling": False, "cost_projection": False,
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """FLOPs of one image by stages; text is that of one vocabulary.

    Attributes:
        clip: Four rotations through CLIP.
        remote: RemoteCLIP up to the last tapped block.
        dino: DINO, and its projection to the channels of the text.
        guidance: Guidance of the layers and of the upsampler.
        correlation: Cosines of features with texts.
        cost: Convolutions of the cost volume.
        layers: SET and CET, with the guidance of the text.
        decoder: Upsampling and head.
        text: The text encoder for all classes, once per vocabulary.
    """

    clip: float
    remote: float
    dino: float
    guidance: float
    correlation: float
    cost: float
    layers: float
    decoder: float
    text: float

    @property
    def image(self) -> float:
        """FLOPs of an image whose vocabulary is encoded."""
        stages = (self.clip, self.remote, self.dino, self.guidance, self.correlation, self.cost)
        return sum(stages) + self.layers + self.decoder


def check_spec(spec: RSKTSpec) -> None:
    """Raise `ConfigError` unless a model computes what the published one does; only this is benchmarked."""
    for name, value in _PUBLISHED.items():
        if getattr(spec, name) != value:
            raise ConfigError(
                f"the benchmark knows the published RSKT-Seg alone, with {name}={value!r}; found "
                f"{getattr(spec, name)!r}"
            )


def product(rows: int, inner: int, columns: int) -> int:
    """FLOPs of a matrix product."""
    return 2 * rows * inner * columns


def convolution(cells: int, inputs: int, outputs: int, side: int) -> int:
    """FLOPs of a convolution with `cells` output cells, or of a transposed one with `cells` input cells."""
    return 2 * cells * inputs * outputs * side**2


def published_work(spec: RSKTSpec, classes: int, tokens: int) -> Work:
    """Count the published computation.

    Args:
        spec: A specification that `check_spec` accepts.
        classes: Number of classes T.
        tokens: Context length of the text encoder.

    Returns:
        The work.
    """
    sets = ENCODER_SETS[spec.encoder]
    return Work(
        clip=ROTATIONS * _published_tower(sets.clip.vision, sets.clip_side, sets.clip.embed_dim),
        remote=_published_tower(sets.remote, sets.remote_side, sets.clip.embed_dim),
        dino=_dino(sets),
        guidance=_guidance(sets, spec.hidden_dim),
        correlation=_correlation(sets, classes),
        cost=classes * (_cost_inputs(sets, spec.hidden_dim) + _fusion(sets, spec.hidden_dim)),
        layers=spec.num_layers * classes * sum(_layer(sets, spec.hidden_dim, classes))
        + _words(sets, spec.hidden_dim, classes),
        decoder=classes * _published_decoder(sets, spec.hidden_dim),
        text=_text(sets, classes, tokens),
    )


def necessary_work(spec: RSKTSpec, classes: int, tokens: int) -> Work:
    """Count what the result needs after exact reductions.

    Args:
        spec: A specification that `check_spec` accepts.
        classes: Number of classes T.
        tokens: Tokens of the longest prompt; the text encoder reads no more.

    Returns:
        The work.
    """
    sets, dim = ENCODER_SETS[spec.encoder], spec.hidden_dim
    shared, each = _guided_part(sets, dim)
    reduced = sum(_layer(sets, dim, classes)) - each
    return Work(
        clip=ROTATIONS * _dense_tower(sets.clip.vision, sets.clip_side, sets.clip.embed_dim),
        remote=_blocks(sets.remote, sets.remote_side, max(sets.remote_taps) + 1),
        dino=_dino(sets),
        guidance=_guidance(sets, dim),
        correlation=_correlation(sets, classes),
        cost=classes * (_cost_inputs(sets, dim) + _fusion_by_fft(sets, dim)),
        layers=spec.num_layers * (classes * reduced + shared + _words_part(dim, classes))
        + _words(sets, dim, classes),
        decoder=classes * _composed_decoder(sets, dim) + _decoder_guidance(sets, dim),
        text=_text(sets, classes, tokens),
    )


def grid_side(sets: EncoderSet) -> int:
    """Side G of the cost volume in cells."""
    return sets.clip_side // sets.clip.vision.patch_size


def _block(tokens: int, width: int) -> int:
    """Count an ordinary block: q, k, v, output and MLP, and both products of attention."""
    return product(tokens, width, 12 * width) + 2 * product(tokens, width, tokens)


def _blocks(preset: VisionPreset, side: int, blocks: int) -> int:
    """Count patches and the first blocks of a CLIP tower."""
    cells = (side // preset.patch_size) ** 2
    patches = convolution(cells, 3, preset.width, preset.patch_size)
    return patches + blocks * _block(cells + 1, preset.width)


def _published_tower(preset: VisionPreset, side: int, embedding: int) -> int:
    """Count a whole pass; its last block projects q, k and v twice, and multiplies nothing with them."""
    tokens = (side // preset.patch_size) ** 2 + 1
    last = product(tokens, preset.width, 14 * preset.width) + product(tokens, preset.width, embedding)
    # Values keep the class token up to the end.
    return _blocks(preset, side, preset.layers - 1) + last


def _dense_tower(preset: VisionPreset, side: int, embedding: int) -> int:
    """Count a pass whose last block computes values alone, by one product, for the patches alone."""
    cells = (side // preset.patch_size) ** 2
    last = product(cells, preset.width, 9 * preset.width) + product(cells, preset.width, embedding)
    return _blocks(preset, side, preset.layers - 1) + last


def _dino(sets: EncoderSet) -> int:
    preset = sets.dino
    cells = (sets.dino_side // preset.patch_size) ** 2
    patches = convolution(cells, 3, preset.width, preset.patch_size)
    to_text = convolution(cells // 4, preset.width, sets.clip.embed_dim, 2)
    return patches + preset.layers * _block(cells + 1, preset.width) + to_text


def _guidance(sets: EncoderSet, dim: int) -> int:
    """Count the guidance of the layers, and for three encoders what resizes and projects their taps."""
    cells = grid_side(sets) ** 2
    total = convolution(cells, sets.clip.embed_dim, dim, 3)
    for width, factor in ((sets.clip.vision.width, 1), (sets.remote.width, 1), (sets.dino.width, 2)):
        tap = factor**2 * cells
        raised = convolution(tap, width, 2 * dim, 2 // factor) + convolution(tap, width, dim, 4 // factor)
        projected = convolution(4 * cells, 2 * dim, dim // 4, 3) + convolution(16 * cells, dim, dim // 8, 3)
        total += raised + projected
    return total


def _correlation(sets: EncoderSet, classes: int) -> int:
    return (ROTATIONS + 1) * product(grid_side(sets) ** 2, sets.clip.embed_dim, classes)


def _cost_inputs(sets: EncoderSet, dim: int) -> int:
    """Count the convolutions of both cost volumes of a class."""
    return convolution(grid_side(sets) ** 2, ROTATIONS + 1, dim, 7)


def _fusion(sets: EncoderSet, dim: int) -> int:
    return convolution(grid_side(sets) ** 2, 2 * dim, dim, 7)


def _fusion_by_fft(sets: EncoderSet, dim: int) -> float:
    """Count the fusion of a class by real FFT of side G + 3; wrapped cells fall outside of the map.

    A transform of n values takes 5/2 n log2 n FLOPs, a complex multiply-add 8.
    """
    side = grid_side(sets) + 3
    transforms = 3 * dim * 2.5 * side**2 * log2(side**2)
    return transforms + 8.0 * side * (side // 2 + 1) * 2 * dim * dim


def _layer(sets: EncoderSet, dim: int, classes: int) -> tuple[int, int]:
    """Count SET and CET for one class."""
    cells = grid_side(sets) ** 2
    reduced = cells // 4
    spatial = product(cells, 2 * dim, dim) + product(cells, dim, dim)  # q, proj
    spatial += convolution(reduced, 2 * dim, 2 * dim, 2) + product(reduced, 2 * dim, dim)  # k
    spatial += convolution(reduced, dim, dim, 2) + product(reduced, dim, dim)  # v
    spatial += 2 * product(cells, dim, reduced) + product(cells, dim, 9 * dim)  # attention, MLP
    spatial += convolution(cells, 1, dim, 7)
    along = product(reduced, dim, 6 * dim) + product(reduced, dim, 9 * dim)  # q, k of both; v, proj; MLP
    return spatial, along + 2 * product(reduced, dim, classes)


def _guided_part(sets: EncoderSet, dim: int) -> tuple[int, int]:
    """Count what guidance adds to the projections of a layer: the part of the image, and all of a class.

    The part of the image is the same for every class, and that of the text for every cell.
    """
    cells = grid_side(sets) ** 2
    image = product(cells, dim, dim) + convolution(cells // 4, dim, 2 * dim, 2)
    return image, image + 2 * product(cells // 4, dim, dim)


def _words_part(dim: int, classes: int) -> int:
    """Count the text's part of the queries and keys of CET, once per class."""
    return 2 * product(classes, dim, dim)


def _words(sets: EncoderSet, dim: int, classes: int) -> int:
    """Count the guidance of the text."""
    return product(classes, sets.clip.embed_dim, dim)


def _stages(sets: EncoderSet, dim: int) -> list[tuple[int, int, int]]:
    """Return for each upsampling stage its input cells, input channels and those of one guidance map."""
    cells = grid_side(sets) ** 2
    return [(cells, dim, dim // 4), (4 * cells, dim // 2, dim // 8)]


def _head(sets: EncoderSet, dim: int) -> int:
    return convolution(16 * grid_side(sets) ** 2, dim // 4, 1, 3)


def _published_decoder(sets: EncoderSet, dim: int) -> int:
    total = _head(sets, dim)
    for cells, inputs, guide in _stages(sets, dim):
        raised, out = inputs - guide, inputs // 2
        total += convolution(cells, inputs, raised, 2) + convolution(4 * cells, raised + 3 * guide, out, 3)
        total += convolution(4 * cells, out, out, 3)
    return total


def _composed_decoder(sets: EncoderSet, dim: int) -> int:
    """Count the decoder of a class: a stage convolves its input 2x2 for each of four phases, then 3x3."""
    total = _head(sets, dim)
    for cells, inputs, _ in _stages(sets, dim):
        out = inputs // 2
        total += 4 * convolution(cells, inputs, out, 2) + convolution(4 * cells, out, out, 3)
    return total


def _decoder_guidance(sets: EncoderSet, dim: int) -> int:
    """Count the guidance channels of the first convolutions, once per image."""
    return sum(
        convolution(4 * cells, 3 * guide, inputs // 2, 3) for cells, inputs, guide in _stages(sets, dim)
    )


def _text(sets: EncoderSet, classes: int, tokens: int) -> int:
    text = sets.clip.text
    prompt = text.layers * _block(tokens, text.width)
    return classes * (prompt + product(1, text.width, sets.clip.embed_dim))
