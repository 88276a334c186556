"""Pictures of curves and of confusion matrices."""

import numpy as np

from rskt_seg.visualization import draw_confusion, draw_curves


def test_a_confusion_picture_depends_on_shares_and_not_on_sizes():
    names = ("a", "$b", "c" * 80)
    counts = np.array([[8, 1, 0], [2, 3, 0], [0, 0, 0], [0, 0, 0]])
    picture = draw_confusion(counts, names)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert np.array_equal(picture, draw_confusion(counts * 1000, names))
    other = counts.copy()
    other[:2, 0] = other[1::-1, 0]
    assert not np.array_equal(picture, draw_confusion(other, names))
    unclassified = counts.copy()
    unclassified[-1, 1] = 4
    assert draw_confusion(unclassified, names).shape != picture.shape


def test_a_confusion_picture_of_many_classes_is_drawn():
    assert draw_confusion(np.eye(61, 60, dtype=np.int64), [f"class {k}" for k in range(60)]).ndim == 3


def test_curves_of_any_values_are_drawn():
    for points in ([(1, 2.0)], [(1, 0.0), (2, -1.0)], [(5, 1e-6), (7, 1e6)], [(1, 3.0), (2, 3.0)]):
        assert draw_curves({"$loss": points, "b" * 90: points}, title="$", scale="log").shape[2] == 3
    assert draw_curves({f"class {k}": [(1, k)] for k in range(40)}, title="IoU").ndim == 3
