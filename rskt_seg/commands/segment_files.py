"""Segment many image files with a ready model and write a folder of results."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rskt_seg.class_colors import class_colors
from rskt_seg.commands.scene_run import is_large, segment_large
from rskt_seg.data.labels import read_label
from rskt_seg.data.samples import valid_target
from rskt_seg.errors import ConfigError, ImageReadError, LabelError, NotFiniteError
from rskt_seg.geo import RasterImage, read_image
from rskt_seg.geo.area_tables import area_table
from rskt_seg.geo.grids import grid_difference, read_georeference
from rskt_seg.geo.stretch import parse_stretch
from rskt_seg.map_files import make_folder, result_name, save_picture
from rskt_seg.methods.notices import model_notices
from rskt_seg.methods.record import Picture
from rskt_seg.methods.use import find_explanation, known_explanations
from rskt_seg.scenes.engines import Engine
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.segmenter import Segmenter
from rskt_seg.visualization import draw_errors, draw_labels, undrawable_notice
from rskt_seg.windows import point_in

logger = logging.getLogger(__name__)
_RESULTS = r"(ids|overlay|labels|legend|truth|errors|quicklook)\.png|(ids|confidence|scores)\.tif"
"""Ends of the names of results that are images, which could be read as well."""


@dataclass(frozen=True)
class SegmentOptions:
    """How images are read, and which explanations are drawn besides the standard results.

    Attributes:
        output: Folder of the results.
        bands: As for `read_image`.
        stretch: As for `read_image`.
        nodata: As for `read_image`.
        alpha: As for `read_image`.
        explanations: Names of the explanations to draw, such as "cost_maps".
        present: Classes of an explanation for an image-level label; None stands for those of the ground
            truth, or without ground truth those predicted.
        at: A pixel (row, column) from 0 for an explanation of one place; None is the centre.
        in_windows: Whether images that are small enough to be seen as a whole are scenes too.

    Raises:
        ConfigError: If `stretch` cannot be parsed, or `at` or `present` is given without what it applies to.
    """

    output: Path
    bands: tuple[int, ...] | None = None
    stretch: str = "auto"
    nodata: float | None = None
    alpha: bool = True
    explanations: tuple[str, ...] = ()
    present: tuple[str, ...] | None = None
    at: tuple[int, int] | None = None
    in_windows: bool = False

    def __post_init__(self) -> None:
        parse_stretch(self.stretch)
        known = known_explanations()
        for field, given in (("at", self.at), ("present", self.present)):
            able = [name for name, explanation in known.items() if field in explanation.takes]
            if given is not None and not set(able) & set(self.explanations):
                flags = " or ".join(f"--{name.replace('_', '-')}" for name in able)
                raise ConfigError(f"--{field} applies to {flags}; give both or neither")


def segment_files(
    segmenter: Segmenter,
    images: Sequence[Path | str],
    truths: Mapping[Path | str, Path],
    options: SegmentOptions,
    scenes: SceneOptions | None = None,
    engine: Engine | None = None,
) -> int:
    """Segment every image and write its results. A file that fails does not stop the others.

    Args:
        segmenter: The model.
        images: The image files, and names of GDAL's own.
        truths: Image file -> file of its ground truth, for those that have one.
        options: How to read the images, what to draw and where to write.
        scenes: How images over twice the side that the model sees are segmented in windows; None: they are
            reduced to what it sees.
        engine: What computes them.

    Returns:
        The exit status: 0, or 1 after listing the files that failed.

    Raises:
        ConfigError: If the model lacks an explanation to draw, or the output folder cannot be created.
        VocabularyError: If the model does not know a class of `options.present`.
    """
    for name in options.explanations:
        segmenter.check_explanation(name, options.present)
    _check_results(named := _named(images), truths.values(), options)
    make_folder(options.output)
    if notice := undrawable_notice([entry.name for entry in segmenter.legend.entries]):
        logger.warning("%s", notice)
    failures: list[tuple[Path | str, Exception]] = []
    large: dict[str, Path | str] = {}
    with logging_redirect_tqdm():
        # Scenes, which have a bar of their own, are only told apart here; that takes no second.
        for image, stem in tqdm(named, unit="image", delay=1, disable=None):  # in a terminal
            try:
                if scenes is not None and (options.in_windows or is_large(segmenter, image)):
                    large[stem] = image
                else:
                    _segment_file(segmenter, image, truths.get(image), options, stem)
            except (ImageReadError, LabelError) as error:
                logger.error("%s", error)
                failures.append((image, error))
            # The image is too small for a view, does not contain the pixel `at`, or its scores overflow.
            except (ConfigError, NotFiniteError) as error:
                logger.error("%s: %s", image, error)
                failures.append((image, error))
            except OSError as error:
                logger.error("%s: cannot write its results: %s", image, error)
                failures.append((image, error))
        if scenes is not None and engine is not None and large:
            failures += segment_large(segmenter, large, options.output, scenes, engine)
    for image, failure in failures:
        logger.error("failed: %s (%s)", image, type(failure).__name__)
    if failures:
        others = f"; the others are in {options.output}" if len(failures) < len(images) else ""
        logger.error("%d of %d images failed%s", len(failures), len(images), others)
    return 1 if failures else 0


def _segment_file(
    segmenter: Segmenter, path: Path | str, truth_path: Path | None, options: SegmentOptions, stem: str
) -> None:
    image = read_image(path, options.bands, options.stretch, nodata=options.nodata, alpha=options.alpha)
    truth = None
    if truth_path is not None:
        truth = _read_truth(truth_path, path, image, segmenter.vocabulary.names)
    if options.at is not None:
        point_in(image.valid.shape, options.at)  # fails before the image is segmented
    result = segmenter.predict(image)
    told = model_notices(segmenter.model)  # once for all images, when the segmenter was made
    for notice in result.notices:
        if notice not in told:
            logger.warning("%s: %s", path, notice)
    colors, labels = result.legend.colors, result.legend.positions(result.labels)
    base = options.output / stem
    result.save(options.output, stem)
    logger.info("%s\n%s", path, area_table(result.area_summary()))
    if truth is not None:
        picture = draw_labels(image.pixels, labels, result.class_names, colors, truth=truth)
        save_picture(base, "truth", picture)
        save_picture(base, "errors", draw_errors(image.pixels, labels, truth, result.class_names))
    if image.valid.any():
        for name in options.explanations:
            _write_explanation(base, name, segmenter, _Scene(path, image, truth), options)
    elif options.explanations:
        kinds = " and ".join(known_explanations()[name].label for name in options.explanations)
        logger.warning("%s: no %s are drawn, the image is all nodata", path, kinds)


class _Scene(NamedTuple):
    """An image with its file and, if there is one, its ground truth."""

    path: Path | str
    image: RasterImage
    truth: np.ndarray | None


def _write_explanation(
    base: Path, name: str, segmenter: Segmenter, scene: _Scene, options: SegmentOptions
) -> None:
    explanation = find_explanation(segmenter.model, name)
    result = segmenter.explain(
        name,
        scene.image,
        at=options.at if "at" in explanation.takes else None,
        present=options.present if "present" in explanation.takes else None,
        truth=scene.truth if "truth" in explanation.takes else None,
    )
    if report := explanation.report(result):
        message, is_warning = report
        logger.log(logging.WARNING if is_warning else logging.INFO, "%s: %s", scene.path, message)
    names = segmenter.vocabulary.names  # those of the background have no colour in the legend
    shown = {entry.name: entry.color for entry in segmenter.legend.entries}
    colors = np.array(class_colors(names, [shown.get(each) for each in names]), np.uint8)
    pictures = explanation.draw(result, Picture(scene.image.pixels, segmenter.prompts, colors))
    for number, picture in enumerate(pictures, start=1):
        save_picture(base, name if len(pictures) == 1 else f"{name}_{number}", picture)


def _read_truth(
    path: Path, image_path: Path | str, image: RasterImage, class_names: Sequence[str]
) -> np.ndarray:
    """Return the ground truth of an image, 255 where label or image have no data.

    Raises:
        LabelError: It cannot be read, has other ids, another size or another grid, or the image was turned by
            its EXIF orientation and nothing tells whether the label was.
    """
    where = f"{path} (ground truth of {image_path})"
    truth = valid_target(read_label(path), path, image.valid, class_names, 255, where)
    if image.orientation != 1 and (image.orientation < 5 or len(set(truth.shape)) == 1):
        raise LabelError(
            f"{where}: the image was turned by its EXIF orientation {image.orientation}, and sizes do not "
            "tell whether the label follows: save the image upright (PIL.ImageOps.exif_transpose), or remove "
            "the orientation if the label fits the stored pixels (exiftool -Orientation= FILE)"
        )
    if how := grid_difference(image.georeference, read_georeference(path), truth.shape):
        raise LabelError(
            f"{where} lies on another grid of the ground: {how}; warp it onto the grid of the image with "
            "gdalwarp -r near"
        )
    return truth


def _check_results(
    named: Sequence[tuple[Path | str, str]], truths: Iterable[Path], options: SegmentOptions
) -> None:
    """Check that no result takes the place of an image or a ground truth.

    Raises:
        ConfigError: One would.
    """
    drawings = "".join(rf"|{name}(_\d+)?\.png" for name in options.explanations)
    folder, names = options.output.resolve(), {stem for _, stem in named}
    for source in map(Path, [*(image for image, _ in named), *truths]):
        found = re.fullmatch(rf"(.+?)_({_RESULTS}{drawings})", source.name, re.DOTALL)
        if found is not None and found[1] in names and source.parent.resolve() == folder:
            raise ConfigError(
                f"the results of {found[1]} would replace {source}, which is read; choose another folder for "
                "them"
            )


def _named(images: Sequence[Path | str]) -> list[tuple[Path | str, str]]:
    """Return images with names for their results: the stem, numbered if another image has the same."""
    taken: set[str] = set()
    named = []
    for image in images:
        own = result_name(image)
        stem, number = own, 1
        while stem in taken:
            number += 1
            stem = f"{own}-{number}"
        taken.add(stem)
        named.append((image, stem))
    return named
