"""Numbers that are not finite are found in every dtype, and named."""

import pytest
import torch

from rskt_seg.errors import NotFiniteError
from rskt_seg.finite import all_finite, check_scores, describe_not_finite

BAD = [float("nan"), float("inf"), float("-inf")]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", BAD)
def test_one_value_that_is_not_finite_is_found_wherever_it_is(dtype, value):
    tensor = torch.ones(3, 5, 7, dtype=dtype)
    assert all_finite(tensor)
    for place in (0, 52, 104):
        broken = tensor.clone()
        broken.view(-1)[place] = value
        assert not all_finite(broken) and not all_finite(broken.permute(2, 0, 1))


def test_infinities_of_both_signs_do_not_cancel():
    assert not all_finite(torch.tensor([float("inf"), float("-inf"), 0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_values_whose_sum_overflows_are_finite(dtype):
    assert all_finite(torch.full((10,), torch.finfo(dtype).max, dtype=dtype))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([2**62, 2**62]),
        torch.tensor([True]),
        torch.empty(0),
        torch.ones(2).to(torch.float8_e4m3fn),
    ],
    ids=["integers", "booleans", "nothing", "eight bits"],
)
def test_tensors_of_other_kinds_are_finite(tensor):
    assert all_finite(tensor)


def test_an_eight_bit_nan_is_found():
    assert not all_finite(torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn))


def test_up_to_ten_tensors_are_named_and_the_rest_is_counted():
    broken = [(f"w{i}", torch.tensor(float("nan"))) for i in range(12)]
    assert describe_not_finite([("good", torch.ones(1))]) == ""
    assert describe_not_finite([("good", torch.ones(1)), *broken[:1]]) == "1 tensor (w0)"
    text = describe_not_finite(broken)
    assert text.startswith("12 tensors (w0, w1, ") and text.endswith("w9, and 2 more)")


def test_scores_that_are_not_finite_are_refused_with_their_share_and_their_image():
    scores = torch.zeros(2, 2, 2)
    check_scores(scores, "a.tif")
    scores[0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"^a\.tif: expected finite class scores; 12\.5% of"):
        check_scores(scores, "a.tif")
    with pytest.raises(FloatingPointError):
        check_scores(scores, "a.tif")
