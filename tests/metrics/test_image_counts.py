"""Counts of each image: they add up to those of the set, and their file holds them exactly or is refused."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.image_counts import ImageCounts, class_counts, mean_iou, stack_counts
from rskt_seg.metrics.protocols import PROTOCOLS, protocol_scores


def counted(images: int, classes: int, seed: int = 0) -> tuple[ConfusionMatrix, ImageCounts]:
    """The counts of random label maps, of the set and of each image; some pixels have no class or label."""
    rng = np.random.default_rng(seed)
    whole, each = ConfusionMatrix(classes), []
    for _ in range(images):
        one = ConfusionMatrix(classes)
        prediction, label = rng.integers(0, classes + 1, (2, 8, 7))
        prediction[prediction == classes] = label[label == classes] = 255
        one.update(prediction, label)
        whole.merge(one)
        each.append(class_counts(one))
    return whole, stack_counts([f"scène{i}" for i in range(images)], each, classes)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 99))
def test_the_counts_of_images_add_up_to_the_scores_of_the_set(images, classes, seed):
    whole, counts = counted(images, classes, seed)
    assert np.array_equal(counts.counts.sum(axis=0), class_counts(whole))
    if whole.counts.any():
        assert mean_iou(counts.counts.sum(axis=0)) == pytest.approx(whole.scores().mIoU, rel=1e-12)


@given(st.sampled_from(sorted(PROTOCOLS)), st.integers(0, 99), st.booleans())
def test_by_a_protocol_the_mean_is_that_of_the_protocol(name, seed, sparse):
    rule = PROTOCOLS[name]
    whole, counts = counted(2, rule.num_classes, seed)
    if sparse:  # some classes are not labelled, some neither labelled nor predicted
        whole.counts[:, 1::2] = 0
        whole.counts[1::4] = 0
        counts = stack_counts(["a"], [class_counts(whole)], rule.num_classes)
    found = mean_iou(counts.counts.sum(axis=0), rule)
    assert found == pytest.approx(protocol_scores(whole, name).mIoU, rel=1e-12, nan_ok=True)


def test_a_class_that_no_pixel_is_labelled_as_is_left_out_of_the_mean():
    right, predicted, labelled = [3, 0, 0], [3, 5, 0], [6, 0, 4]
    assert mean_iou(np.array([right, predicted, labelled])) == 100 * (0.5 + 0) / 2
    assert np.isnan(mean_iou(np.zeros((3, 3))))


@given(st.integers(0, 9), st.integers(1, 6))
def test_what_is_saved_is_read_again(tmp_path_factory, images, classes):
    path = tmp_path_factory.mktemp("counts") / "set.images.npz"
    _, counts = counted(images, classes)
    counts.save(path)
    first = path.read_bytes()
    found = ImageCounts.load(path, counts.digest)
    assert found.stems == counts.stems and np.array_equal(found.counts, counts.counts)
    counts.save(path)
    assert path.read_bytes() == first


def test_the_digest_tells_names_and_counts_apart():
    _, counts = counted(3, 2)
    changed = counts.counts.copy()
    changed[1, 0, 0] += 1
    others = [ImageCounts(counts.stems[::-1], counts.counts), ImageCounts(counts.stems, changed)]
    assert len({counts.digest, *(each.digest for each in others)}) == 3


def test_a_missing_a_damaged_and_another_file_are_refused_in_one_line(tmp_path):
    path = tmp_path / "set.images.npz"
    _, counts = counted(3, 2)
    with pytest.raises(DatasetError, match=r"set\.images\.npz: the counts of images are missing"):
        ImageCounts.load(path, counts.digest)
    counts.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-30], whole[:60] + b"\0\0\0" + whole[63:], b"PK no archive"):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"set\.images\.npz: .*evaluate or score the set again"):
            ImageCounts.load(path, counts.digest)
    counted(4, 2)[1].save(path)
    with pytest.raises(DatasetError, match="not those that belong to the scores"):
        ImageCounts.load(path, counts.digest)


@pytest.mark.parametrize("shape", ["(9000000000000, 3, 2)", "(-1, 3, 2)", "(1, 2, 3)"])
def test_an_array_that_states_more_than_it_has_is_refused(tmp_path, shape):
    path = tmp_path / "set.images.npz"
    _, counts = counted(1, 2)
    counts.save(path)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(6)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stems.npy", b"\x93NUMPY\x01\x00" + content[8:])
        archive.writestr("counts.npy", content)
    with pytest.raises(DatasetError, match="not the counts of images that were written here"):
        ImageCounts.load(path, counts.digest)
