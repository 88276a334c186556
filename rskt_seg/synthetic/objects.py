"""The drawing function of each object."""

from collections.abc import Callable

import numpy as np

from rskt_seg.synthetic.concepts import Concept
from rskt_seg.synthetic.shapes import Drawing
from rskt_seg.synthetic.sports import (
    baseball_diamond,
    basketball_court,
    court,
    ground_track_field,
    soccer_ball_field,
)
from rskt_seg.synthetic.structures import (
    bridge,
    building,
    clutter,
    dock,
    human,
    mobile_home,
    roundabout,
    swimming_pool,
    tank,
    wall,
)
from rskt_seg.synthetic.vehicles import airplane, car, helicopter, large_vehicle, ship

DRAWINGS: dict[str, Callable[[np.random.Generator, Concept], Drawing]] = {
    "airplane": airplane,
    "buildings": building,
    "cars": car,
    "court": court,
    "dock": dock,
    "mobile home": mobile_home,
    "ship": ship,
    "tanks": tank,
    "baseball diamond": baseball_diamond,
    "basketball court": basketball_court,
    "ground track field": ground_track_field,
    "bridge": bridge,
    "large vehicle": large_vehicle,
    "helicopter": helicopter,
    "swimming pool": swimming_pool,
    "roundabout": roundabout,
    "soccer ball field": soccer_ball_field,
    "wall": wall,
    "human": human,
    "clutter": clutter,
}
"""Concept name -> its drawing function."""
