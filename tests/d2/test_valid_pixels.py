"""Pixels without data are neither trained nor scored, and images mean the same as in prediction."""

import numpy as np
import pytest
import rasterio
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.mapper import RSDatasetMapper, WeakDatasetMapper
from rskt_seg.data.labels import read_label, without_nodata
from rskt_seg.errors import ImageReadError
from rskt_seg.geo import read_image
from rskt_seg.geo.declared import read_declared
from tests.d2.conftest import tiny_config
from tests.d2.test_mapper import CLASSES, blocks, painted
from tests.geo.rasters import UTM, noise, write_tiff

SIZE = 48
HOLE = np.s_[:20, :]
OPTS = ("INPUT.COLOR_AUG_SSD", "False", "INPUT.MIN_SIZE_TRAIN", f"({SIZE},)", "INPUT.MIN_SIZE_TEST", "0")
OPTS = (*OPTS, "INPUT.CROP.SIZE", f"[{SIZE},{SIZE}]", "INPUT.SIZE_DIVISIBILITY", str(SIZE))


def pair(folder, kind):
    """A GeoTIFF with a hole declared in one of three ways, or whose label declares a nodata value."""
    label = blocks(SIZE, SIZE)
    label[HOLE] = 0
    bands = np.stack([label * 60 + 20 * band + 7 for band in range(3)])
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[HOLE] = 0
    image, options = folder / "a.tif", dict(UTM)
    if kind == "nodata":
        bands[:, *HOLE], options["nodata"] = 0, 0
        write_tiff(image, bands, **options)
    elif kind == "mask":
        write_tiff(image, bands, mask=mask, **options)
    elif kind == "alpha":
        write_tiff(image, np.concatenate([bands, mask[None]]), photometric="RGB", ALPHA="YES", **options)
    else:
        label[HOLE] = 2
        label[20:][label[20:] == 2] = 1
        write_tiff(image, bands, **options)
    path = folder / "label.tif"
    write_tiff(path, label[None], **UTM, **({"nodata": 2} if kind == "label" else {}))
    return {"file_name": str(image), "sem_seg_file_name": str(path), "vocabulary": CLASSES, "ignore": 255}


KINDS = ["nodata", "mask", "alpha", "label"]


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_data_are_not_trained(tmp_path, kind):
    torch.manual_seed(0)
    entry = pair(tmp_path, kind)
    target = RSDatasetMapper(tiny_config(*OPTS), is_train=True)(entry)["sem_seg"].numpy()
    assert (target == 255).sum() == 20 * SIZE
    assert set(np.unique(target)) <= {0, 1, 2, 255}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_data_are_not_scored(tmp_path, kind):
    name = f"valid_pixels_{kind}"
    MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255)
    entry = pair(tmp_path, kind)
    fed = RSDatasetMapper(tiny_config(*OPTS), is_train=False)(entry)
    evaluator = RSEvaluator(name)
    evaluator.process([fed], [{"labels": torch.zeros(SIZE, SIZE, dtype=torch.long)}])
    label = read_label(entry["sem_seg_file_name"])
    assert (
        evaluator.matrix.counts[:, : len(CLASSES)].sum() + evaluator.matrix.counts[:, len(CLASSES) :].sum()
        == (SIZE - 20) * SIZE
    )
    assert evaluator.matrix.scores().pixels.tolist() == [(label[20:] == k).sum() for k in range(3)]


def test_a_method_without_masks_is_told_where_an_image_has_data(tmp_path):
    entry = pair(tmp_path, "mask")
    valid = WeakDatasetMapper(tiny_config(*OPTS), is_train=True)(entry)["valid"].numpy()
    assert (~valid).sum() == 20 * SIZE


def test_training_and_evaluation_see_the_pixels_that_prediction_sees(tmp_path):
    bands = noise(3, SIZE, SIZE)
    bands[:, 0, 0] = 7  # at least one pixel without data
    colors = [getattr(rasterio.enums.ColorInterp, name) for name in ("blue", "green", "red")]
    path = write_tiff(tmp_path / "a.tif", bands, colorinterp=colors, nodata=7)
    Image.fromarray(blocks(SIZE, SIZE)).save(tmp_path / "a.png")
    entry = {"file_name": str(path), "sem_seg_file_name": str(tmp_path / "a.png"), "vocabulary": CLASSES}
    expected = torch.from_numpy(read_image(path).filled()).permute(2, 0, 1)
    valid = torch.from_numpy((bands != 7).any(axis=0))
    assert torch.equal(expected[:, valid], torch.from_numpy(bands[::-1].copy())[:, valid])
    assert torch.equal(RSDatasetMapper(tiny_config(*OPTS), is_train=False)(entry)["image"], expected)
    unflipped = tiny_config(*OPTS, "INPUT.RANDOM_FLIP", "none")
    assert torch.equal(RSDatasetMapper(unflipped, is_train=True)(entry)["image"], expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
def test_samples_that_are_not_bytes_are_refused_with_the_stretch_to_make(tmp_path, dtype):
    values = np.arange(SIZE * SIZE).reshape(1, SIZE, SIZE) % 120
    path = write_tiff(tmp_path / "a.tif", values.astype(dtype))
    entry = {"file_name": str(path), "vocabulary": CLASSES}
    with pytest.raises(ImageReadError, match=rf"a\.tif has {np.dtype(dtype).name} samples.*-scale LOW HIGH"):
        RSDatasetMapper(tiny_config(*OPTS), is_train=False)(entry)


def test_an_image_with_data_everywhere_adds_nothing_to_the_result(tmp_path):
    label = blocks(SIZE, SIZE)
    Image.fromarray(painted(label)).save(tmp_path / "a.png")
    entry = {"file_name": str(tmp_path / "a.png"), "vocabulary": CLASSES}
    assert "valid_pixels" not in RSDatasetMapper(tiny_config(*OPTS), is_train=False)(entry)


@pytest.mark.parametrize(("nodata", "found"), [(None, None), (0, 0), (255, 255), (-9999, -9999)])
def test_the_nodata_value_of_a_label_is_read_from_the_file(tmp_path, nodata, found):
    ids = blocks(30, 40)
    dtype = np.int16 if nodata == -9999 else np.uint8
    path = write_tiff(tmp_path / "a.tif", ids[None].astype(dtype), nodata=nodata)
    assert read_declared(path) == (found, None)
    if dtype == np.uint8:
        kept = without_nodata(read_label(path), path, 255)
        np.testing.assert_array_equal(kept, np.where(ids == found, 255, ids) if found is not None else ids)
