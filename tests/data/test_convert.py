"""Laws of the label converters, on arrays made here and on real sample files where they are at hand."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data import catalog
from rskt_seg.data.catalog import IGNORE_LABEL
from rskt_seg.data.convert import CONVERTERS, convert_label
from rskt_seg.data.labels import check_label
from rskt_seg.errors import DatasetError, LabelError

SAMPLES = os.environ.get("RSKT_SEG_SAMPLES")
LOWERED = ["potsdam_mmseg", "loveda"]
COLOURED = ["isaid", "isprs", "deepglobe"]  # with black as unlabelled
AS_THEY_ARE = [
    "vdd", "udd5", "loveda_8c", "dlrsd_ids", "isaid_ids", "isprs_ids", "uavid_ids", "udd5_ids", "inria_ids"
]  # fmt: skip
BLACK = np.zeros(3, np.uint8)

# Pixel counts published with the samples: official value or colour -> count, as project ids.
REAL = {
    "potsdam/2_10_0_0_512_512_label.png": (
        "potsdam_mmseg",
        {255: 24696, 0: 100557, 1: 64023, 2: 34357, 3: 30670, 4: 7841},
    ),
    "loveda/0_label.png": ("loveda", {0: 142441, 1: 14427, 2: 19208, 3: 3888, 6: 868612}),
    "isaid/P0005_instance_color_RGB.png": ("isaid", {7: 135058, 8: 20325, 255: 884 * 977 - 155383}),
    "isaid/P0002_instance_color_RGB_label_only.png": (
        "isaid",
        {7: 477127, 8: 21678, 255: 2557 * 2086 - 498805},
    ),
    "deepglobe/6399_mask.png": (
        "deepglobe",
        {2: 3013524, 1: 1491420, 4: 931980, 255: 432328, 3: 102792, 5: 20660},
    ),
}
REAL_FCTL = {3: 3013524, 2: 1491420, 5: 931980, 0: 432328, 4: 102792, 6: 20660}


def official_ids(name: str) -> np.ndarray:
    """(6, 2 K + 2) map of official ids 0..K."""
    top = len(CONVERTERS[name].class_set)
    return np.tile(np.arange(top + 1, dtype=np.uint8), (6, 2))


def official_colors(name: str) -> np.ndarray:
    """(6, K + 1, 3) map of black and every class colour."""
    return np.tile(np.array([BLACK, *CONVERTERS[name].class_set.colors], np.uint8), (6, 1, 1))


def histogram(ids: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def save(folder: Path, pixels: np.ndarray, name: str = "x.png") -> Path:
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.mark.parametrize("name", LOWERED)
@pytest.mark.parametrize("palette", [False, True])
def test_official_ids_are_lowered_by_one_and_0_becomes_ignored(name, palette, tmp_path):
    official = official_ids(name)
    image = Image.fromarray(official)
    if palette:
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "x.png")
    ids = convert_label(name, tmp_path / "x.png")
    assert ids.dtype == np.uint8
    assert np.array_equal(ids[official == 0], np.full((official == 0).sum(), 255))
    assert np.array_equal(ids[official > 0] + 1, official[official > 0])


@pytest.mark.parametrize("name", COLOURED)
def test_every_class_colour_becomes_its_id_and_black_becomes_ignored(name, tmp_path):
    ids = convert_label(name, save(tmp_path, official_colors(name)))
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[255, *range(len(CONVERTERS[name].class_set))]] * 6


@pytest.mark.parametrize("name", LOWERED + COLOURED)
def test_converted_ids_pass_the_check_of_their_class_set_and_are_refused_by_their_converter(name, tmp_path):
    official = official_ids(name) if name in LOWERED else official_colors(name)
    ids = convert_label(name, save(tmp_path, official))
    classes = CONVERTERS[name].class_set
    check_label(ids, len(classes), IGNORE_LABEL, "x.png", official.shape[:2], classes.names)
    with pytest.raises(LabelError, match="already"):
        convert_label(name, save(tmp_path, ids))


@pytest.mark.parametrize("name", LOWERED)
def test_an_id_above_the_official_ones_is_refused(name, tmp_path):
    official = official_ids(name)
    official[2, 3] = len(CONVERTERS[name].class_set) + 1
    with pytest.raises(LabelError, match="found 1 pixels"):
        convert_label(name, save(tmp_path, official))


@pytest.mark.parametrize("name", COLOURED)
def test_unknown_colours_fail_without_tolerance_and_are_ignored_and_reported_with_it(name, tmp_path, caplog):
    rgb = official_colors(name)
    stray = next(c for c in ((255, 0, 0), (255, 0, 255)) if c not in CONVERTERS[name].class_set.colors)
    rgb[0, 0] = stray
    path = save(tmp_path, rgb)
    with pytest.raises(LabelError, match=re.escape(f"{stray} (1 px)")):
        convert_label(name, path)
    ids = convert_label(name, path, tolerance=1 / ids_in(rgb))
    assert ids[0, 0] == 255 and histogram(ids)[255] == 6
    assert str(path) in caplog.text and f"{stray}: 1" in caplog.text


def ids_in(rgb: np.ndarray) -> int:
    return rgb.shape[0] * rgb.shape[1]


def test_compressed_colours_are_recovered_for_deepglobe_and_unknown_for_isaid(tmp_path):
    noise = np.random.default_rng(0).integers(-100, 101, (*official_colors("deepglobe").shape,))
    rgb = np.clip(official_colors("deepglobe").astype(int) + noise, 0, 255).astype(np.uint8)
    clean = convert_label("deepglobe", save(tmp_path, official_colors("deepglobe")))
    assert np.array_equal(convert_label("deepglobe", save(tmp_path, rgb)), clean)
    one_off = official_colors("isaid")
    one_off[1, 1, 2] -= 1
    with pytest.raises(LabelError, match=r"1 of 96 pixels"):
        convert_label("isaid", save(tmp_path, one_off))


def test_channels_of_deepglobe_are_cut_between_127_and_128(tmp_path):
    rgb = np.array([[(127, 128, 128), (128, 127, 127), (127, 127, 127), (128, 128, 255)]], np.uint8)
    with pytest.raises(LabelError, match=r"1 of 4 pixels .*\(255, 0, 0\) \(1 px\)"):
        convert_label("deepglobe", save(tmp_path, rgb))
    path = save(tmp_path, rgb[:, [0, 2, 3]])
    assert convert_label("deepglobe", path).tolist() == [[0, 255, 5]]
    assert convert_label("deepglobe_fctl", path).tolist() == [[1, 0, 6]]


def test_the_two_forms_of_deepglobe_differ_by_one_and_in_what_unknown_is(tmp_path):
    path = save(tmp_path, official_colors("deepglobe"))
    ids, raised = (convert_label(name, path).astype(int) for name in ("deepglobe", "deepglobe_fctl"))
    assert np.array_equal(raised, np.where(ids == 255, 0, ids + 1))
    assert set(histogram(raised)) == set(range(7))


def test_binary_masks_become_0_and_1_and_hold_nothing_else(tmp_path):
    mask = np.array([[0, 255, 255]], np.uint8)
    assert convert_label("inria", save(tmp_path, mask)).tolist() == [[0, 1, 1]]
    with pytest.raises(LabelError, match=r"255 \(building\) alone; found 1 \(2 px\); is .* already\?"):
        convert_label("inria", save(tmp_path, mask // 255))
    with pytest.raises(LabelError, match=r"found 128 \(1 px\), 254 \(1 px\)$"):
        convert_label("inria", save(tmp_path, np.array([[0, 128, 254]], np.uint8)))
    with pytest.raises(LabelError, match="a colour image"):
        convert_label("inria", save(tmp_path, np.stack([mask] * 3, -1)))


def test_an_unknown_converter_is_refused_with_the_known_names(tmp_path):
    with pytest.raises(DatasetError, match="dlrsd, isaid, loveda, isprs"):
        convert_label("vaihingen", tmp_path / "x.png")


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_ids_stay_what_they_are_and_others_are_refused(name, tmp_path):
    top = len(CONVERTERS[name].class_set)
    ids = np.tile(np.arange(top, dtype=np.uint8), (4, 2))
    ids[0, 0] = 255
    assert np.array_equal(convert_label(name, save(tmp_path, ids)), ids)
    ids[1, 1] = top
    with pytest.raises(LabelError, match=rf"found ids {top} \(1 px\)"):
        convert_label(name, save(tmp_path, ids))


def test_black_is_a_class_of_uavid_and_of_coloured_udd5(tmp_path):
    for name, split in (("uavid", "UAVID"), ("udd5", "UDD5")):
        colors = getattr(catalog, split).colors
        ids = convert_label(name, save(tmp_path, np.tile(np.array(colors, np.uint8), (3, 1, 1))))
        assert ids.tolist() == [list(range(len(colors)))] * 3
        assert BLACK.tolist() in [list(color) for color in colors]


def test_dlrsd_counts_palette_indices_and_refuses_gray(tmp_path):
    image = Image.fromarray(np.arange(18, dtype=np.uint8)[None])
    image.putpalette([channel for color in [(9, 9, 9), *catalog.DLRSD.colors] for channel in color])
    image.save(tmp_path / "x.png")
    assert convert_label("dlrsd", tmp_path / "x.png").tolist() == [[255, *range(17)]]
    with pytest.raises(LabelError, match="expected a palette file of DLRSD, found gray"):
        convert_label("dlrsd", save(tmp_path, np.arange(1, 18, dtype=np.uint8)[None]))


needs_samples = pytest.mark.skipif(
    not SAMPLES, reason="RSKT_SEG_SAMPLES does not name the folder of real sample files"
)


@needs_samples
@pytest.mark.parametrize("file", REAL)
def test_real_label_files_give_their_published_pixel_counts_and_no_unknown_colour(file):
    name, counts = REAL[file]
    converter = CONVERTERS[name]
    converted = converter.function(Path(SAMPLES) / file, converter.class_set)
    assert converted.unknown == {}
    assert histogram(converted.ids) == counts


@needs_samples
def test_the_published_form_of_the_real_deepglobe_label_has_unknown_as_class_0():
    converted = CONVERTERS["deepglobe_fctl"](Path(SAMPLES) / "deepglobe/6399_mask.png")
    assert converted.unknown == {} and histogram(converted.ids) == REAL_FCTL


@needs_samples
def test_the_second_loveda_sample_holds_its_published_ids():
    ids = convert_label("loveda", Path(SAMPLES) / "loveda/2_label_only.png")
    assert set(histogram(ids)) == {0, 3, 5, 6}


@needs_samples
def test_a_real_mask_of_another_dataset_is_refused_with_its_colours():
    path = Path(SAMPLES) / "udd/DJI_0627_mask_udd6_colours.png"
    with pytest.raises(LabelError, match=r"\(70, 70, 70\) \(169434 px\)"):
        convert_label("isaid", path)
