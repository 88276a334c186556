"""What the mapper makes of training images with the chains of the closed-set methods."""

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from rskt_seg.d2.loaders import training_loader
from rskt_seg.d2.mapper import RSDatasetMapper
from rskt_seg.errors import ConfigError, LabelError
from tests.d2.conftest import tiny_config

CLASSES = ("roof", "road", "tree")
SIDE = 32
GEOSEG = (
    "INPUT.AUGMENTATION", "geoseg", "INPUT.SIZE_DIVISIBILITY", "-1", "INPUT.CROP.SIZE", f"[{SIDE},{SIDE}]",
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", "0.75", "INPUT.MOSAIC_SIDE", "64",
)  # fmt: skip
FCTL = ("INPUT.AUGMENTATION", "fctl", "INPUT.SIZE_DIVISIBILITY", "-1", "INPUT.CROP.ENABLED", "False")
STILL = ("INPUT.SCALES", "(1.0,)", "INPUT.ROTATE90", "0.0", "INPUT.HFLIP", "0.0", "INPUT.VFLIP", "0.0")


def write_pair(folder, name: str, image: np.ndarray, label: np.ndarray, **more) -> dict:
    Image.fromarray(image).save(folder / f"{name}.png")
    Image.fromarray(label).save(folder / f"{name}_label.png")
    paths = {
        "file_name": str(folder / f"{name}.png"),
        "sem_seg_file_name": str(folder / f"{name}_label.png"),
    }
    return {**paths, "vocabulary": CLASSES, **more}


def painted(label: np.ndarray) -> np.ndarray:
    """An image that shows the label: class k has the value 50 + 60 k in every channel."""
    return np.repeat((50 + 60 * label.astype(int))[..., None], 3, axis=2).astype(np.uint8)


def blocks(height: int, width: int, seed: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, len(CLASSES), (4, 4), dtype=np.uint8)
    rows, columns = (np.arange(n) * 4 // n for n in (height, width))
    return ids[rows[:, None], columns]


@pytest.fixture
def samples(tmp_path) -> list[dict]:
    labels = [blocks(40 + 9 * k, 70 - 8 * k, k) for k in range(5)]
    return [write_pair(tmp_path, f"scene{k}", painted(label), label) for k, label in enumerate(labels)]


def mapped(mapper: RSDatasetMapper, entry: dict, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    np.random.seed(seed)  # noqa: NPY002  (Detectron2 draws from NumPy's global generator)
    result = mapper(entry)
    return result["image"], result["sem_seg"]


# Resizing a mosaic mixes its padding with the image, which would blur what is asked here.
@pytest.mark.parametrize(("mosaic", "scales"), [("0.0", "(0.75,1.5)"), ("1.0", "(1.0,)")])
def test_geoseg_gives_crops_of_the_size_in_which_image_and_label_agree(samples, mosaic, scales):
    cfg = tiny_config(*GEOSEG, "INPUT.MOSAIC", mosaic, "INPUT.SCALES", scales)
    mapper = RSDatasetMapper(cfg, is_train=True, samples=samples)
    for seed in range(25):
        image, target = mapped(mapper, samples[seed % 5], seed)
        assert image.shape == (3, SIDE, SIDE) and image.dtype == torch.uint8
        assert target.shape == (SIDE, SIDE) and target.dtype == torch.uint8
        padded = target == 255
        assert (image[:, padded] == 0).all()
        assert set(target[~padded].tolist()) <= {0, 1, 2}
        agree = (image[0].long() - 50 - 60 * target).abs() <= 30
        assert agree[~padded].double().mean() > 0.8


def test_geoseg_without_chance_is_the_crop_alone(samples):
    whole = ("INPUT.CROP.ENABLED", "False", "INPUT.MOSAIC", "0.0")
    mapper = RSDatasetMapper(tiny_config(*GEOSEG, *STILL, *whole), is_train=True)
    image, target = mapped(mapper, samples[1], 0)
    label = blocks(49, 62, 1)
    assert np.array_equal(image.numpy(), painted(label).transpose(2, 0, 1))
    assert np.array_equal(target.numpy(), label)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("HFLIP", lambda x: x[..., ::-1]), ("VFLIP", lambda x: x[..., ::-1, :])],
)
def test_a_flip_of_probability_one_always_happens(samples, key, expected):
    still = (*STILL, f"INPUT.{key}", "1.0", "INPUT.CROP.ENABLED", "False", "INPUT.MOSAIC", "0.0")
    mapper = RSDatasetMapper(tiny_config(*GEOSEG, *still), is_train=True)
    label = blocks(40, 70, 0)
    for seed in range(5):
        image, target = mapped(mapper, samples[0], seed)
        assert np.array_equal(target.numpy(), expected(label))
        assert np.array_equal(image.numpy(), expected(painted(label).transpose(2, 0, 1)))


def test_the_seed_alone_decides_and_a_copy_for_a_worker_process_does_the_same(samples):
    mapper = RSDatasetMapper(tiny_config(*GEOSEG, "INPUT.MOSAIC", "0.5"), is_train=True, samples=samples)
    copied = pickle.loads(pickle.dumps(mapper))
    results = []
    for seed in range(12):
        first, again, other = (mapped(each, samples[0], seed) for each in (mapper, mapper, copied))
        assert all(
            torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, again, other, strict=True)
        )
        results.append(first[0])
    assert sum(torch.equal(results[0], other) for other in results) == 1


@pytest.mark.parametrize("chain", ["geoseg", "fctl"])
def test_ignored_pixels_of_every_source_stay_ignored(tmp_path, chain):
    own = np.full((40, 40), 3, np.uint8)
    own[:, :20] = 1
    entries = [write_pair(tmp_path, f"scene{k}", painted(own), own, ignore=3) for k in range(2)]
    chains = {"geoseg": (*GEOSEG, "INPUT.MOSAIC", "1.0"), "fctl": FCTL}
    mapper = RSDatasetMapper(tiny_config(*chains[chain]), is_train=True, samples=entries)
    for seed in range(10):
        assert set(mapped(mapper, entries[0], seed)[1].unique().tolist()) <= {1, 255}


def test_a_mosaic_names_the_broken_file_of_another_sample(tmp_path, samples):
    label = blocks(40, 40, 0)
    broken = write_pair(tmp_path, "broken", painted(label), label + 5)
    mapper = RSDatasetMapper(tiny_config(*GEOSEG, "INPUT.MOSAIC", "1.0"), is_train=True, samples=[broken])
    with pytest.raises(LabelError, match=r"broken_label\.png"):
        mapper(samples[0])


def symmetries(array: np.ndarray) -> list[bytes]:
    """The eight flips and turns of (H, W) or (3, H, W); first turned by 0, 90, 180, 270, then mirrored."""
    turned = [np.rot90(array, k, axes=(-2, -1)) for k in range(4)]
    mirrored = [np.rot90(array[..., ::-1], k, axes=(-2, -1)) for k in range(4)]
    return [np.ascontiguousarray(view).tobytes() for view in turned + mirrored]


def fctl_views(tmp_path, *opts: str) -> set[int]:
    """Which of the eight symmetries of a whole image come out of the mapper."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 52, 3), dtype=np.uint8)
    label = rng.integers(0, len(CLASSES), (37, 52), dtype=np.uint8)
    mapper = RSDatasetMapper(tiny_config(*FCTL, *opts), is_train=True)
    entry = write_pair(tmp_path, "scene", image, label)
    seen = set()
    for seed in range(60):
        pixels, target = mapped(mapper, entry, seed)
        assert pixels.dtype == torch.uint8 and pixels.shape[1:] == target.shape
        view = symmetries(image.transpose(2, 0, 1)).index(pixels.numpy().tobytes())
        assert symmetries(label)[view] == target.numpy().astype(np.uint8).tobytes()
        seen.add(view)
    return seen


def test_fctl_keeps_the_whole_image_as_one_of_its_eight_symmetries(tmp_path):
    assert fctl_views(tmp_path) == set(range(8))


@pytest.mark.parametrize(
    ("flip", "turn", "expected"),
    [("0.0", "0.0", {0}), ("1.0", "0.0", {4}), ("0.0", "1.0", {1, 2, 3}), ("1.0", "1.0", {5, 6, 7})],
)
def test_fctl_probabilities_of_zero_and_one_are_exact(tmp_path, flip, turn, expected):
    assert fctl_views(tmp_path, "INPUT.HFLIP", flip, "INPUT.ROTATE90", turn) == expected


@pytest.mark.parametrize("chain", ["ovrsis", "geoseg", "fctl"])
@settings(max_examples=8)
@given(st.integers(4, 90), st.integers(4, 90))
def test_evaluation_takes_images_as_they_are_where_no_size_is_given(tmp_path_factory, chain, height, width):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    entry = write_pair(tmp_path_factory.mktemp("pair"), "scene", image, np.zeros((height, width), np.uint8))
    options = {"ovrsis": (), "geoseg": GEOSEG, "fctl": FCTL}[chain]
    cfg = tiny_config(*options, "INPUT.MIN_SIZE_TEST", "0", "INPUT.MAX_SIZE_TEST", "8")
    result = RSDatasetMapper(cfg, is_train=False)(entry)
    assert result["image"].dtype == torch.uint8 and "sem_seg" not in result
    assert np.array_equal(result["image"].numpy(), image.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "files"),
    [((), 2), ((*GEOSEG, "INPUT.MOSAIC", "0.0"), 2), ((*GEOSEG, "INPUT.MOSAIC", "1.0"), 8), (FCTL, 2)],
)
def test_each_image_and_each_label_of_a_training_sample_is_decoded_once(samples, monkeypatch, options, files):
    decoded, decode = [], ImageFile.ImageFile.load_prepare

    def counted(file: ImageFile.ImageFile) -> None:
        decoded.append(file)
        decode(file)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counted)
    mapped(RSDatasetMapper(tiny_config(*options), is_train=True, samples=samples), samples[0], seed=3)
    assert len(decoded) == files


@pytest.mark.parametrize("options", [("INPUT.COLOR_AUG_SSD", "True"), (*GEOSEG, "INPUT.MOSAIC", "0.5"), FCTL])
def test_batches_have_the_same_bytes_from_any_number_of_worker_processes(data_root, options):
    def batches(workers: int) -> list[list[torch.Tensor]]:
        loader = training_loader(tiny_config(*options, "DATALOADER.NUM_WORKERS", str(workers)))
        taken = islice(loader, 3)
        return [[entry[key] for entry in batch for key in ("image", "sem_seg")] for batch in taken]

    expected = batches(0)
    for workers in (1, 3):
        for one, other in zip(expected, batches(workers), strict=True):
            assert all(map(torch.equal, one, other))


def test_training_batches_hold_mosaics_also_from_worker_processes(data_root):
    cfg = tiny_config(*GEOSEG, "INPUT.MOSAIC", "1.0", "DATALOADER.NUM_WORKERS", "2")
    batch = next(iter(training_loader(cfg)))
    assert [tuple(entry["image"].shape) for entry in batch] == [(3, SIDE, SIDE)] * 2
    # Scenes have 40 x 48 pixels, and a mosaic of 64 x 64 is never without padding at its borders.
    assert all(len(entry["sem_seg"].unique()) > 2 for entry in batch)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("INPUT.AUGMENTATION", "strong"), "must be one of ovrsis, geoseg, fctl, wsss; found 'strong'"),
        ((*GEOSEG, "INPUT.COLOR_AUG_SSD", "True"), "INPUT.COLOR_AUG_SSD has no effect"),
        ((*GEOSEG, "INPUT.SIZE_DIVISIBILITY", "32"), "INPUT.SIZE_DIVISIBILITY has no effect"),
        ((*FCTL, "INPUT.CROP.ENABLED", "True"), r"INPUT\.CROP\.ENABLED has no effect"),
        ((*GEOSEG, "INPUT.HFLIP", "1.5"), r"INPUT\.HFLIP must be a probability"),
        ((*GEOSEG, "INPUT.MOSAIC", "-0.1"), r"INPUT\.MOSAIC must be a probability"),
        ((*GEOSEG, "INPUT.SCALES", "()"), r"INPUT\.SCALES"),
        ((*GEOSEG, "INPUT.SCALES", "(0.0,)"), r"INPUT\.SCALES"),
        ((*GEOSEG, "INPUT.MOSAIC_SIDE", "3"), r"INPUT\.MOSAIC_SIDE"),
        ((*GEOSEG, "INPUT.CROP.TYPE", "relative_range"), r"INPUT\.CROP\.TYPE absolute"),
        ((*GEOSEG, "INPUT.CROP.SIZE", "[0.9,0.9]"), r"INPUT\.CROP\.SIZE"),
        ((*GEOSEG, "INPUT.CROP.SIZE", "[32,64]"), "not square"),
    ],
)
def test_a_chain_that_cannot_be_built_is_refused_with_its_key(opts, message):
    with pytest.raises(ConfigError, match=message):
        RSDatasetMapper(tiny_config(*opts), is_train=True, samples=[{}])


def test_a_mosaic_without_a_dataset_is_refused():
    with pytest.raises(ConfigError, match=r"INPUT\.MOSAIC 0\.25 needs other images"):
        RSDatasetMapper(tiny_config(*GEOSEG), is_train=True)
