"""Labels of whole images: which classes an image shows, by a file or by the folder that it is in."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.image_labels import read_image_labels
from rskt_seg.data.own_preparation.files import Source
from rskt_seg.data.own_preparation.label_forms import ImageLevel
from rskt_seg.errors import DatasetError


def read_image_level(
    form: ImageLevel, path: Path, sources: Sequence[Source], names: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """Return the classes that each image shows.

    Args:
        form: Whether a file or folders say it.
        path: The file, CSV or JSON; not read where folders say it.
        sources: The images.
        names: The class names.

    Returns:
        Image, by its name in the set -> ids of its classes, ascending.

    Raises:
        DatasetError: As `read_image_labels`; stems repeat, so that lines of the file are ambiguous; or an
            image is not in the folder of one class.
    """
    if form.folders is None:
        stems = [source.image.stem for source in sources]
        if twice := repeated(stems):
            raise DatasetError(
                f"{path}: several images are called {listed(twice)}, so which one a line means is not known; "
                "rename them"
            )
        found = read_image_labels(path, names, stems)
        return {source.name: found[source.image.stem] for source in sources}
    classes = {}
    for source in sources:
        folders = PurePosixPath(source.place).parts[:-1]
        shown = {form.folders[folder] for folder in folders if folder in form.folders}
        if len(shown) != 1:
            raise DatasetError(
                f"{source.image}: expected one folder of a class ({listed(form.folders)}) on the way to the "
                f"image; found {len(shown)} in {source.place}"
            )
        classes[source.name] = tuple(shown)
    return classes
