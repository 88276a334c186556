"""Equal digests mean equal weights, and nothing else counts."""

import pytest
import torch

from rskt_seg.digests import weights_digest

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(()), "c": torch.ones(2, dtype=torch.long)}


def test_order_memory_layout_and_gradients_do_not_count():
    same = {name: WEIGHTS[name].clone() for name in ("c", "b", "a")}
    same["a"] = torch.nn.Parameter(same["a"].T.contiguous().T)
    assert not same["a"].is_contiguous() and weights_digest(same) == weights_digest(WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        {"a": WEIGHTS["a"] + 1e-6},
        {"b": torch.tensor(-0.0)},
        {"c": torch.tensor([1, 2])},
        {"c": torch.ones(2, dtype=torch.int32)},
        {"a": WEIGHTS["a"].view(3, 2)},
        {"d": torch.zeros(0)},
    ],
    ids=["first", "sign of zero", "last", "kind", "shape", "one more"],
)
def test_every_value_kind_and_shape_of_every_tensor_counts(change):
    assert weights_digest(WEIGHTS | change) != weights_digest(WEIGHTS)


def test_the_names_of_the_tensors_count():
    a, b = torch.zeros(2), torch.ones(2)
    assert weights_digest({"a": a, "b": b}) != weights_digest({"a": a, "c": b})
