"""Confusion counts, precision and recall against torchmetrics and a count by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

from rskt_seg.metrics.confusion import ConfusionMatrix


@pytest.mark.parametrize("classes", [2, 5])
def test_they_are_those_of_torchmetrics(classes):
    rng = np.random.default_rng(classes)
    label, predicted = rng.integers(0, classes, (2, 40, 30))
    label[:5] = 255
    ours = ConfusionMatrix(classes)
    ours.update(predicted, label)
    options = {"num_classes": classes, "ignore_index": 255}
    theirs = multiclass_confusion_matrix(torch.tensor(predicted), torch.tensor(label), **options)
    assert np.array_equal(ours.counts[:-1], theirs.numpy().T)
    for found, function in ((ours.precision(), multiclass_precision), (ours.scores().ACC, multiclass_recall)):
        expected = function(torch.tensor(predicted), torch.tensor(label), average="none", **options)
        assert found == pytest.approx(100 * expected.numpy(), rel=1e-5)


def test_precision_has_no_value_where_nothing_was_predicted_or_there_is_no_truth():
    matrix = ConfusionMatrix(4)
    label = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    matrix.update(np.array([0, 0, 3, 0, 0, 2, 255, 2]), label)
    # Class 0 was predicted four times, half of them rightly; 1 never; 2 and 3 are not in the truth.
    assert matrix.precision().tolist() == pytest.approx([50, np.nan, np.nan, np.nan], nan_ok=True)
