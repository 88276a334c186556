"""The published lists of DeepGlobe and Inria."""

from collections import Counter
from itertools import combinations

import pytest

from rskt_seg.data.split_lists import LISTS, read_list


@pytest.mark.parametrize("dataset", LISTS)
def test_lists_have_their_published_sizes_and_never_meet(dataset):
    names = {part: read_list(f"{dataset}_{part}") for part in ("train", "val", "test")}
    assert {part: len(set(stems)) for part, stems in names.items()} == LISTS[dataset]
    assert {part: len(stems) for part, stems in names.items()} == LISTS[dataset]
    for one, two in combinations(names.values(), 2):
        assert not set(one) & set(two)


def test_they_name_images_as_the_owners_do_and_in_the_published_order():
    assert read_list("deepglobe_train")[:3] == ("100694", "10233", "103665")
    assert read_list("inria_test")[:3] == ("vienna3", "chicago10", "vienna20")
    every = [stem for part in LISTS["deepglobe"] for stem in read_list(f"deepglobe_{part}")]
    assert len(every) == 803 and all(stem.isdecimal() for stem in every)


def test_those_of_inria_hold_36_images_of_each_city_mixed_over_the_parts():
    def cities(part: str) -> Counter:
        return Counter(stem.rstrip("0123456789") for stem in read_list(f"inria_{part}"))

    train = {"austin": 23, "chicago": 27, "kitsap": 25, "tyrol-w": 26, "vienna": 25}
    assert cities("train") == train
    assert cities("train") + cities("val") + cities("test") == Counter(dict.fromkeys(train, 36))
