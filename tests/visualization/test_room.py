"""The room of pictures: its argument order, and what importing it loads."""

import inspect
import subprocess
import sys

import pytest

from rskt_seg import visualization

ORDER = ("scenes", "curves", "image", "labels", "truth", "maps", "counts", "class_names", "colors", "legend")


@pytest.mark.parametrize("name", sorted({*visualization.__all__} - {"undrawable_notice"}))
def test_every_picture_takes_its_arguments_in_one_order(name):
    parameters = inspect.signature(getattr(visualization, name)).parameters.values()
    places = [ORDER.index(each.name) for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert places == sorted(places) and len(places) > 0


def test_importing_the_package_loads_neither_matplotlib_nor_rasterio():
    code = (
        "import sys, rskt_seg.visualization, rskt_seg.geo, rskt_seg.segmenter;"
        "import rskt_seg.commands.segment;"
        "print([m for m in ('matplotlib', 'rasterio', 'detectron2', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
