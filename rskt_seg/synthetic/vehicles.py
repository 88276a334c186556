"""Vehicles: functions (rng, concept) -> Drawing, centred, heading along +x, px at scale 1.

`rng` is the source of all variation, and `concept` holds the colours to choose from.
"""

import numpy as np

from rskt_seg.synthetic.concepts import Concept
from rskt_seg.synthetic.shapes import RGB, Drawing, box, disc, fill, pick, rounded, shade, stroke

Rng = np.random.Generator
_WHITE = (236, 235, 230)


def _mirrored(points: list[tuple[float, float]], color: RGB) -> Drawing:
    return [fill(points, color), fill([(x, -y) for x, y in points], color)]


def airplane(rng: Rng, concept: Concept) -> Drawing:
    """Draw a jet: fuselage, swept wings with engines, tail; 28 to 40 px long."""
    body, accent = pick(rng, concept.colors), pick(rng, concept.accents)
    f = rng.uniform(0.8, 1.15)
    sweep, span = rng.uniform(5, 9), rng.uniform(14, 17.5)
    wing = [(5, 1), (5 - sweep, span), (2.2 - sweep, span), (-4, 1)]
    tail = [(-12.5, 0.8), (-16.5, 6.2), (-18.2, 6.2), (-16.5, 0.8)]
    engine_y = span * 0.42
    engine_x = 5 - sweep * 0.42
    drawing = _mirrored(wing, shade(body, 0.93)) + _mirrored(tail, shade(body, 0.93))
    for side in (-1, 1):
        drawing.append(rounded(4.6, 2.1, 0.9, shade(body, 0.72), engine_x + 0.8, side * engine_y))
    nose = [(17.5, 0), (16, 1.3), (13.5, 2.1), (-11, 2.1), (-18, 0.7)]
    drawing.append(fill(nose + [(x, -y) for x, y in reversed(nose)], body))
    drawing.append(stroke([(12, 0.9), (-12, 0.9)], 0.9, shade(body, 1.12)))
    drawing.append(box(6.5, 1.1, accent, -15))
    drawing.append(box(1.3, 2.2, (50, 58, 66), 15))
    return [type(m)(m.points * f, m.color, m.width) for m in drawing]


def car(rng: Rng, concept: Concept) -> Drawing:
    """Draw a car seen from above: body, bonnet, dark windscreens; about 9 x 4.4 px."""
    color, glass = pick(rng, concept.colors), pick(rng, concept.accents)
    length, width = rng.uniform(8.4, 10), rng.uniform(4.1, 4.8)
    return [
        rounded(length, width, 1.2, color),
        rounded(length * 0.56, width * 0.86, 0.8, glass, -0.05 * length),
        rounded(length * 0.30, width * 0.74, 0.5, shade(color, 1.1), -0.06 * length),
    ]


def large_vehicle(rng: Rng, concept: Concept) -> Drawing:
    """Draw a truck with cab and trailer, or a bus; 17 to 24 px long."""
    color, dark = pick(rng, concept.colors), pick(rng, concept.accents)
    length = rng.uniform(17, 24)
    if rng.random() < 0.35:
        hatches = [box(2, 2.6, shade(color, 0.8), x) for x in np.linspace(-0.3, 0.3, 3) * length]
        return [rounded(length, 5.6, 1.1, color), box(1.4, 4.6, dark, length / 2 - 1.6), *hatches]
    cab = pick(rng, concept.colors)
    ribs = [
        stroke([(x, -2.6), (x, 2.6)], 0.5, shade(color, 0.84)) for x in np.linspace(-0.42, 0.18, 6) * length
    ]
    trailer = box(length * 0.72, 5.6, color, -length * 0.14)
    return [
        box(length * 0.9, 2.4, dark),
        trailer,
        *ribs,
        rounded(length * 0.2, 5, 0.9, cab, length * 0.4),
        box(1.2, 4.2, dark, length * 0.46),
    ]


def ship(rng: Rng, concept: Concept) -> Drawing:
    """Draw a boat or a ship: pointed hull, deck, cabin or hatches; 13 to 34 px long."""
    hull, deck = pick(rng, concept.colors), pick(rng, concept.accents)
    large = rng.random() < 0.3
    length = rng.uniform(26, 34) if large else rng.uniform(13, 20)
    half = length * (0.12 if large else 0.155)
    side = [(0.5, 0), (0.38, 0.55), (0.2, 0.92), (-0.1, 1), (-0.44, 0.92), (-0.5, 0.7)]
    points = [(x * length, y * half) for x, y in side]
    rim = points + [(x, -y) for x, y in reversed(points)]
    inner = [(x * 0.84 - 0.02 * length, y * 0.72) for x, y in rim]
    drawing = [fill(rim, hull), fill(inner, deck)]
    if large:
        hatches = np.linspace(-0.18, 0.28, 4) * length
        drawing += [box(length * 0.1, half * 0.9, shade(hull, 0.8), x) for x in hatches]
        return [*drawing, box(length * 0.11, half * 1.4, _WHITE, -0.36 * length)]
    drawing += [rounded(length * 0.3, half * 1.05, 0.7, shade(hull, 0.9), -0.02 * length)]
    return [*drawing, box(length * 0.06, half * 0.95, (48, 58, 66), 0.1 * length)]


def helicopter(rng: Rng, concept: Concept) -> Drawing:
    """Draw a helicopter: body, tail boom and a four-bladed rotor."""
    color, dark = pick(rng, concept.colors), pick(rng, concept.accents)
    turn = rng.uniform(0, np.pi / 2)
    blades = [
        stroke(
            [(0.5, 0), (0.5 + 11 * np.cos(turn + k * np.pi / 2), 11 * np.sin(turn + k * np.pi / 2))],
            0.9,
            dark,
        )
        for k in range(4)
    ]
    boom = [
        fill([(-3, 1.3), (-15, 0.5), (-15, -0.5), (-3, -1.3)], shade(color, 0.85)),
        box(1.4, 5, dark, -14.4),
    ]
    body = [disc(6.4, color, 3.1), disc(2.2, (54, 66, 76), 2.2, x=4), disc(1.2, dark, x=0.5)]
    return [*boom, *body, *blades]
