"""Buildings and other fixed objects: functions (rng, concept) -> Drawing, centred, px at scale 1.

`rng` is the source of all variation, and `concept` holds the colours to choose from.
"""

import numpy as np

from rskt_seg.synthetic.concepts import Concept
from rskt_seg.synthetic.shapes import (
    RGB,
    Drawing,
    box,
    circle,
    disc,
    fill,
    moved,
    pick,
    ring_points,
    shade,
    stroke,
)

Rng = np.random.Generator
_WHITE = (236, 235, 230)


def _gable(length: float, width: float, color: RGB) -> Drawing:
    upper = fill(
        [(-length / 2, -width / 2), (length / 2, -width / 2), (length / 2, 0), (-length / 2, 0)], color
    )
    return [
        box(length, width, shade(color, 0.78)),
        upper,
        stroke([(-length / 2, 0), (length / 2, 0)], 0.7, shade(color, 1.2)),
    ]


def _hip(length: float, width: float, color: RGB) -> Drawing:
    a, b, ridge = length / 2, width / 2, max(length / 2 - width / 2, 0.5)
    sides = [
        (((-a, -b), (a, -b), (ridge, 0), (-ridge, 0)), 1.08),
        (((a, -b), (a, b), (ridge, 0)), 0.92),
        (((-a, b), (a, b), (ridge, 0), (-ridge, 0)), 0.72),
        (((-a, -b), (-a, b), (-ridge, 0)), 0.98),
    ]
    return [box(length, width, color)] + [fill(points, shade(color, f)) for points, f in sides]


def _flat(rng: Rng, length: float, width: float, color: RGB, trim: RGB) -> Drawing:
    drawing = [box(length, width, trim), box(length - 2.4, width - 2.4, color)]
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(-0.33, 0.33, 2) * (length, width)
        drawing += [box(3.2, 2.6, shade(color, 0.62), x + 0.7, y + 0.7), box(3, 2.4, shade(trim, 1.05), x, y)]
    return drawing


def building(rng: Rng, concept: Concept) -> Drawing:
    """Draw a gabled, hipped, L-shaped or flat roof, 16 to 34 px long."""
    color, trim = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = rng.uniform(18, 32), rng.uniform(12, 19)
    kind = rng.integers(4)
    if kind == 0:
        return _gable(length, width, color)
    if kind == 1:
        return _hip(length, width, color)
    if kind == 2:
        return _flat(rng, length, width, color, trim)
    wing = rng.uniform(9, 12)
    annex = moved(_hip(wing + width / 2, wing, color), -length / 2 + wing / 2, width / 2, np.pi / 2)
    return annex + _hip(length, width * 0.8, color)


def mobile_home(rng: Rng, concept: Concept) -> Drawing:
    """Draw a long narrow unit with a ribbed roof, sometimes with an awning; 18 to 23 x 7 px."""
    color, trim = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = rng.uniform(18, 23), rng.uniform(6.4, 7.6)
    drawing = (
        [box(length * 0.4, 3.4, shade(trim, 0.85), rng.uniform(-4, 4), width / 2 + 1.2)]
        if rng.random() < 0.4
        else []
    )
    drawing += [box(length, width, shade(color, 0.84))]
    drawing.append(
        fill([(-length / 2, -width / 2), (length / 2, -width / 2), (length / 2, 0), (-length / 2, 0)], color)
    )
    drawing += [
        stroke([(x, -width / 2), (x, width / 2)], 0.45, shade(trim, 1.0))
        for x in np.arange(-length / 2 + 2, length / 2 - 1, 3.2)
    ]
    drawing.append(stroke([(-length / 2, 0), (length / 2, 0)], 0.6, shade(color, 1.1)))
    return drawing


def tank(rng: Rng, concept: Concept) -> Drawing:
    """Draw a storage tank: round roof lit from one side, rim, centre vent, a stair; radius 7 to 12 px."""
    color, rim = pick(rng, concept.colors), pick(rng, concept.accents)
    radius = rng.uniform(7, 12)
    drawing = [disc(radius, shade(rim, 0.85)), disc(radius - 0.7, color)]
    if rng.random() < 0.4:
        drawing += [
            disc(radius - 2.2, shade(color, 0.8)),
            disc(radius - 2.6, shade(color, 0.92), x=0.5, y=0.5),
        ]
    else:
        drawing += [disc(radius * 0.62, shade(color, 1.07), x=-0.16 * radius, y=-0.12 * radius)]
        drawing += [
            stroke([(0, 0), tuple(p)], 0.45, shade(color, 0.88))
            for p in ring_points(radius - 1, radius - 1, count=8)
        ]
    return [
        *drawing,
        disc(1.3, shade(rim, 0.8)),
        stroke([(radius * 0.2, radius * 0.97), (radius * 0.95, radius * 0.3)], 0.9, shade(rim, 0.7)),
    ]


def dock(rng: Rng, concept: Concept) -> Drawing:
    """Draw a pier that starts at x = 0 and runs out along +x, with fingers across it; 30 to 48 px long."""
    color, plank = pick(rng, concept.colors), pick(rng, concept.accents)
    length, finger = rng.uniform(30, 46), rng.uniform(9, 12)
    drawing = [box(length + 6, 4.6, color, length / 2 - 3)]
    for x in np.arange(9, length, 11.0):
        drawing.append(box(2.6, 2 * finger, color, x))
    drawing += [stroke([(x, -2.2), (x, 2.2)], 0.5, shade(plank, 1.1)) for x in np.arange(-4, length, 2.4)]
    return drawing


def bridge(rng: Rng, concept: Concept) -> Drawing:
    """Draw a deck with rails, centre line and piers; 56 px long."""
    color, rail = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = 56.0, rng.uniform(8, 11)
    drawing = [box(2.4, width + 3, shade(color, 0.7), x) for x in np.linspace(-0.35, 0.35, 4) * length]
    drawing.append(box(length, width, color))
    drawing += [
        stroke([(-length / 2, y), (length / 2, y)], 0.8, rail) for y in (-width / 2 + 0.5, width / 2 - 0.5)
    ]
    drawing += [stroke([(x, 0), (x + 3.4, 0)], 0.6, _WHITE) for x in np.arange(-length / 2, length / 2, 7.0)]
    return drawing


def swimming_pool(rng: Rng, concept: Concept) -> Drawing:
    """Draw a rectangular or kidney-shaped basin with a pale edge; 12 to 20 px long."""
    water, edge = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = rng.uniform(12, 20), rng.uniform(7, 11)
    if rng.random() < 0.5:
        lanes = [
            stroke([(-length * 0.4, y), (length * 0.4, y)], 0.4, shade(water, 1.15))
            for y in (-width / 5, width / 5)
        ]
        return [box(length + 3, width + 3, edge), box(length, width, water), *lanes]
    t = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = 1 - 0.28 * np.cos(t - np.pi / 2) ** 4 * (np.sin(t) > 0)
    kidney = np.stack([np.cos(t) * radius * length / 2, np.sin(t) * radius * width / 2], axis=1)
    outer = kidney * (1 + 3 / length, 1 + 3 / width)
    return [fill(outer, edge), fill(kidney, water), disc(length * 0.2, shade(water, 1.08), width * 0.2)]


def roundabout(rng: Rng, concept: Concept) -> Drawing:
    """Draw a traffic circle: ring of asphalt, grass island, four arms."""
    asphalt, island = pick(rng, concept.colors), pick(rng, concept.accents)
    radius = rng.uniform(14, 19)
    arms = [
        m
        for k in range(4)
        for m in moved(
            [box(10, 8, asphalt, radius + 3), stroke([(radius + 1, 0), (radius + 8, 0)], 0.7, _WHITE)],
            0,
            0,
            k * np.pi / 2,
        )
    ]
    ring = [disc(radius, asphalt), circle(radius * 0.76, 0.5, _WHITE)]
    return [
        *arms,
        *ring,
        disc(radius * 0.52, _WHITE),
        disc(radius * 0.48, island),
        disc(radius * 0.2, shade(island, 0.7)),
    ]


def wall(rng: Rng, concept: Concept) -> Drawing:
    """Draw a facade seen at a slant: a long strip of masonry with rows of windows; 34 to 50 px."""
    color, dark = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = rng.uniform(34, 50), rng.uniform(11, 15)
    windows = [
        box(2.4, 2.6, dark, x, y)
        for y in (-width * 0.24, width * 0.22)
        for x in np.arange(-length / 2 + 4, length / 2 - 2, 5.2)
    ]
    return [
        box(length, width, color),
        *windows,
        stroke([(-length / 2, -width / 2 + 0.6), (length / 2, -width / 2 + 0.6)], 1.2, shade(color, 1.2)),
    ]


def human(rng: Rng, concept: Concept) -> Drawing:
    """Draw a person from above: shoulders and head."""
    shirt, hair = pick(rng, concept.colors), pick(rng, concept.accents)
    return [disc(1.5, shirt, 2.7), disc(1.15, hair, x=0.3)]


def clutter(rng: Rng, concept: Concept) -> Drawing:
    """Draw a heap of containers, boards and rubble in many colours; about 20 px."""
    drawing = [disc(rng.uniform(8, 11), shade(pick(rng, concept.colors), 0.8), rng.uniform(6, 9))]
    for _ in range(14):
        palette = concept.colors if rng.random() < 0.5 else concept.accents
        x, y = rng.normal(0, 4.2, 2)
        piece = box(rng.uniform(2, 7), rng.uniform(1.4, 3.6), pick(rng, palette, 0.25))
        drawing += moved([piece], x, y, rng.uniform(0, np.pi))
    return drawing


def tree(rng: Rng, color: RGB) -> Drawing:
    """Draw one crown of a solitary tree with lit and dark clumps; radius 4 to 7 px.

    Args:
        rng: Source of randomness.
        color: RGB of 0..255.

    Returns:
        The drawing.
    """
    radius = rng.uniform(4, 7)
    t = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    edge = radius * (1 + rng.uniform(-0.14, 0.14, t.size))
    drawing = [fill(np.stack([edge * np.cos(t), edge * np.sin(t)], axis=1), color)]
    for _ in range(7):
        x, y = rng.uniform(-0.55, 0.55, 2) * radius
        drawing.append(
            disc(radius * rng.uniform(0.16, 0.34), shade(color, rng.uniform(0.72, 1.32)), x=x, y=y)
        )
    return drawing


def bay(pitch: float, depth: float) -> Drawing:
    """Draw the painted lines of one parking bay.

    Args:
        pitch: Width along x, px at scale 1.
        depth: Length along y, px at scale 1.

    Returns:
        The drawing.
    """
    a, b = pitch / 2, depth / 2
    return [stroke([(-a, -b), (-a, b), (a, b), (a, -b)], 0.55, _WHITE)]
