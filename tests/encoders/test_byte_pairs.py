"""Our byte-pair encoder gives the ids of open_clip's tokenizer, whatever the text."""

import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.data.catalog import SPLITS
from rskt_seg.encoders.byte_pairs import load_byte_pair_encoder


@cache
def encoders():
    from open_clip.tokenizer import SimpleTokenizer

    return load_byte_pair_encoder().encode, SimpleTokenizer(clean="lower").encode


FRAGMENTS = ["aa", "aaa", "ab", "'s", "'LL", "ss", " ", "\t", "&amp;", "<end_of_text>", "3", "-", "é", "日本"]


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_text_has_the_ids_of_open_clip(text):
    ours, theirs = encoders()
    assert ours(text) == theirs(text)


@pytest.mark.parametrize("template", ["{}", "A photo of a {} in the scene"])
def test_all_class_names_have_the_ids_of_open_clip(template):
    ours, theirs = encoders()
    for name in {name for split in SPLITS for name in split.class_set.names}:
        assert ours(template.format(name)) == theirs(template.format(name))


def test_a_model_that_reads_text_segments_without_libraries_that_take_seconds_to_import():
    code = (
        "import sys, numpy, rskt_seg\n"
        "model = rskt_seg.create_model('rskt_tiny')\n"
        "rskt_seg.Segmenter(model, ['building', 'road']).predict(numpy.zeros((32, 32, 3), numpy.uint8))\n"
        "heavy = ('torchvision', 'torch._dynamo', 'open_clip', 'timm', 'detectron2', 'rasterio', 'scipy')\n"
        "print(*(name for name in heavy if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
