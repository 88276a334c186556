"""Sports grounds: functions (rng, concept) -> Drawing, centred, long side along x, px at scale 1.

`rng` is the source of all variation, and `concept` holds the colours to choose from.
"""

import numpy as np

from rskt_seg.synthetic.concepts import Concept
from rskt_seg.synthetic.shapes import Drawing, arc, box, circle, disc, fill, outline, pick, stroke

Rng = np.random.Generator
_PAINT = (240, 239, 232)


def court(rng: Rng, concept: Concept) -> Drawing:
    """Draw a tennis court: two-tone ground, singles, doubles and service lines, net; 36 x 19 px."""
    ground, surround = pick(rng, concept.colors), pick(rng, concept.accents)
    f = rng.uniform(0.88, 1.15)
    length, width, pen = 28 * f, 13 * f, 0.75
    lines = [
        stroke([(-length / 2, s * width * 0.37), (length / 2, s * width * 0.37)], pen, _PAINT)
        for s in (-1, 1)
    ]
    lines += [
        stroke([(s * length * 0.27, -width * 0.37), (s * length * 0.27, width * 0.37)], pen, _PAINT)
        for s in (-1, 1)
    ]
    lines.append(stroke([(-length * 0.27, 0), (length * 0.27, 0)], pen, _PAINT))
    net = stroke([(0, -width * 0.56), (0, width * 0.56)], 0.8, (58, 60, 58))
    inner = [box(length, width, ground), outline(length, width, pen, _PAINT)]
    return [box(36 * f, 19 * f, surround), *inner, *lines, net]


def basketball_court(rng: Rng, concept: Concept) -> Drawing:
    """Draw a basketball court: centre circle, keys and three-point arcs; 28 x 16 px."""
    ground, key = pick(rng, concept.colors), pick(rng, concept.accents)
    f = rng.uniform(0.9, 1.2)
    length, width, pen = 28 * f, 16 * f, 0.7
    drawing = [box(length, width, ground), outline(length - 1.5, width - 1.5, pen, _PAINT)]
    for side in (-1, 1):
        edge = side * (length / 2 - 0.8)
        drawing += [box(length * 0.2, width * 0.34, key, edge - side * length * 0.1)]
        facing = np.pi if side > 0 else 0.0
        drawing.append(arc(width * 0.4, facing - np.pi / 2, facing + np.pi / 2, pen, _PAINT, edge))
    return [
        *drawing,
        stroke([(0, -width / 2), (0, width / 2)], pen, _PAINT),
        circle(width * 0.15, pen, _PAINT),
    ]


def soccer_ball_field(rng: Rng, concept: Concept) -> Drawing:
    """Draw a mown pitch with halfway line, centre circle, penalty areas; 50 x 32 px."""
    color, other = pick(rng, concept.colors), pick(rng, concept.accents)
    f = rng.uniform(0.85, 1.1)
    length, width, pen = 50 * f, 32 * f, 0.8
    step = length / 10  # of the stripes that a mower leaves
    drawing = [box(length, width, color)]
    drawing += [box(step, width, other, -length / 2 + (k + 0.5) * step) for k in range(0, 10, 2)]
    drawing += [outline(length - 3, width - 3, pen, _PAINT), circle(width * 0.15, pen, _PAINT)]
    drawing.append(stroke([(0, -width / 2 + 1.5), (0, width / 2 - 1.5)], pen, _PAINT))
    for side in (-1, 1):
        for depth, span in ((0.15, 0.55), (0.06, 0.27)):
            center = side * (length / 2 - 1.5 - length * depth / 2)
            drawing.append(outline(length * depth, width * span, pen, _PAINT, center))
    return drawing


def _stadium(straight: float, radius: float) -> np.ndarray:
    t = np.linspace(-np.pi / 2, np.pi / 2, 14)
    right = np.stack([straight / 2 + radius * np.cos(t), radius * np.sin(t)], axis=1)
    return np.vstack([right, -right])


def ground_track_field(rng: Rng, concept: Concept) -> Drawing:
    """Draw a running track with lanes around a green infield; 60 x 36 px."""
    track, infield = pick(rng, concept.colors), pick(rng, concept.accents)
    f = rng.uniform(0.85, 1.1)
    straight, radius = 26 * f, 18 * f
    drawing = [fill(_stadium(straight, radius), track)]
    for lane in (0.92, 0.85, 0.78):
        points = _stadium(straight, radius * lane)
        drawing.append(stroke(np.vstack([points, points[:1]]), 0.45, _PAINT))
    drawing.append(fill(_stadium(straight, radius * 0.7), infield))
    goals = [
        arc(5 * f, np.pi / 2, 3 * np.pi / 2, 0.6, _PAINT, straight / 2 + 3),
        outline(straight, radius * 0.95, 0.6, _PAINT),
    ]
    return [*drawing, *goals]


def baseball_diamond(rng: Rng, concept: Concept) -> Drawing:
    """Draw a dirt quarter with a grass infield, foul lines and the pitcher's mound; about 32 px."""
    dirt, grass = pick(rng, concept.colors), pick(rng, concept.accents)
    radius = rng.uniform(24, 32)
    t = np.linspace(-np.pi / 4, np.pi / 4, 14)
    sector = np.vstack([[(-2.5, 0)], np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)])
    side = radius * 0.62
    corner = side / np.sqrt(2)
    square = np.array([(3, 0), (corner, corner - 3), (2 * corner - 3, 0), (corner, 3 - corner)])
    lines = [
        stroke([(0, 0), (radius * np.cos(a), radius * np.sin(a))], 0.7, _PAINT)
        for a in (-np.pi / 4, np.pi / 4)
    ]
    plate = [disc(2.6, dirt), disc(0.8, _PAINT)]
    bases = [box(1.4, 1.4, _PAINT, x, y) for x, y in ((corner, corner), (2 * corner, 0), (corner, -corner))]
    drawing = [fill(sector, dirt), fill(square, grass), disc(2, dirt, x=corner), *lines, *plate, *bases]
    return [type(m)(m.points - (radius / 2, 0), m.color, m.width) for m in drawing]
