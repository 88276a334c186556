"""Scenes and models for the tests of this folder."""

from pathlib import Path

import numpy as np

from rskt_seg.decision import make_decision
from rskt_seg.geo.raster import RasterImage
from rskt_seg.geo.windowed import survey_image
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.scenes.job import SceneJob, compute_chunk
from rskt_seg.scenes.region import SceneTask
from rskt_seg.vocabulary import make_vocabulary
from rskt_seg.windows import Window
from tests.stub_models import Colours

NAMES = ["red", "green", "blue"]


def scene(height, width, seed=0, nodata=0.0):
    """An image of smooth noise, of which a rectangle at a corner and single pixels are not valid."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
    valid = generator.random((height, width)) >= nodata
    valid[: int(height * nodata), : int(width * nodata)] = False
    return RasterImage(pixels, valid)


def strategy(model=None, names=NAMES):
    return WholeImageStrategy(model or Colours(), make_vocabulary(names))


def task(seen, image, window=48, overlap=1 / 3, taper="hann", **options):
    """The task of a strategy for an image in memory."""
    plan = seen.plan_scene(image.valid.shape, window, overlap, taper)
    _, decision = make_decision(seen.vocabulary)
    reader = survey_image(image).reader
    return SceneTask("a scene", reader, plan, decision, (90, 80, 70), image.pixels, **options)


def maps_of(seen, given, area=None, chunk=4096):
    """The maps of an area, put together from chunks: ids, confidence, scores or None, chosen."""
    area = area or Window(0, 0, given.plan.height, given.plan.width)
    job = SceneJob(given, area, chunk, Path("unused"))
    ids = np.zeros((area.height, area.width), given.decision.legend.dtype)
    confidence = np.zeros(ids.shape, np.uint8)
    scores = np.zeros((len(given.decision.ids), *ids.shape), np.uint8) if given.keeps_scores else None
    chosen = np.zeros(len(given.decision.ids), int)
    with evaluating(seen.model):
        for each in job.chunks:
            found = compute_chunk(seen, job, each)
            place = each.relative_to(area).slices
            ids[place], confidence[place] = found.ids, found.confidence
            if scores is not None:
                scores[:, *place] = found.scores
            chosen += found.chosen
    return ids, confidence, scores, chosen
