"""Labels whose nodata or mask lies in the file or beside it, and TIFFs that Pillow cannot read."""

import numpy as np
import pytest
import rasterio
from PIL import Image

from rskt_seg.data.checking.facts import nodata_notes
from rskt_seg.data.labels import read_label, without_nodata
from rskt_seg.errors import LabelError
from tests.geo.rasters import UTM, write_mask_file, write_nodata_side_car, write_tiff

IDS = (np.arange(30 * 40).reshape(30, 40) // 7 % 3).astype(np.uint8)
LEFT = np.arange(40) < 13
KEPT = ["TIFF", "BigTIFF", "TIFF and side-car", "PNG and side-car"]
MASKED = ["internal mask", "PNG and mask file", "TIFF and mask file"]


def write_label(folder, kind):
    if kind.startswith("PNG"):
        path = folder / "a.png"
        Image.fromarray(IDS).save(path)
    else:
        nodata = 0 if kind in ("TIFF", "BigTIFF") else None
        mask = ~np.broadcast_to(LEFT, IDS.shape) if kind == "internal mask" else None
        big = "YES" if kind == "BigTIFF" else "NO"
        path = write_tiff(folder / "a.tif", IDS[None], mask=mask, nodata=nodata, BIGTIFF=big, **UTM)
    if "side-car" in kind:
        write_nodata_side_car(path, 1)
    if "mask file" in kind:
        write_mask_file(path, ~np.broadcast_to(LEFT, IDS.shape))
    return path


@pytest.mark.parametrize("kind", KEPT + MASKED)
def test_pixels_without_data_of_a_label_are_ignored_wherever_they_are_declared(tmp_path, kind):
    path = write_label(tmp_path, kind)
    without = LEFT[None] if kind in MASKED else IDS == 0
    kept = without_nodata(read_label(path), path, 255)
    np.testing.assert_array_equal(kept, np.where(without, 255, IDS))
    (note,) = nodata_notes(path)
    assert note.detail == ("mask, 32.5% without data" if kind in MASKED else "nodata 0")


@pytest.mark.parametrize("size", [(15, 20), (60, 80), None])
def test_a_mask_file_of_another_size_is_an_error_and_not_applied_in_part(tmp_path, size):
    path = write_label(tmp_path, "PNG")
    if size is None:
        path.with_name("a.png.msk").write_text("no raster")
    else:
        write_mask_file(path, np.ones(size, bool))
    with pytest.raises(LabelError, match=r"expected a mask of its size .*30 x 40, found .*a\.png\.msk"):
        without_nodata(read_label(path), path, 255)
    (fault,) = nodata_notes(path)
    assert fault.kind.level == "error" and "a.png.msk" in fault.detail


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"BIGTIFF": "YES", "ENDIANNESS": "BIG"}, "uint8 samples, big-endian BigTIFF"),
        ({"dtype": "int64"}, "int64 samples"),
        ({"compress": "LERC_DEFLATE"}, "uint8 samples, LERC_DEFLATE compression"),
    ],
)
def test_a_whole_label_of_an_unread_kind_is_not_called_damaged(tmp_path, options, found):
    path = write_tiff(tmp_path / "a.tif", IDS[None].astype(options.get("dtype", "uint8")), **options)
    with pytest.raises(LabelError, match=f"found a TIFF of {found}; save it anew: gdal_translate") as error:
        read_label(path)
    assert "copy" not in str(error.value)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), IDS)
