"""Our CLIP towers compute what open_clip's compute from the same weights, and load its checkpoints."""

import pytest
import torch
from open_clip.model import CLIP as OpenClip
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from rskt_seg.checkpoints.clip import RULES
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import ClipPreset, TextPreset, VisionPreset
from rskt_seg.encoders.text import build_tokenizer, cut_padding

PRESET = ClipPreset(32, VisionPreset(32, 8, 128, 3, 2), TextPreset(64, 2, 1))


@pytest.fixture
def towers():
    torch.manual_seed(1)
    vision = CLIPVisionCfg(layers=3, width=128, head_width=64, patch_size=8, image_size=32)
    text = CLIPTextCfg(context_length=77, width=64, heads=1, layers=2)
    reference = OpenClip(32, vision, text, quick_gelu=True).eval()
    with torch.no_grad():  # biases start at zero, which would hide a swap of theirs
        for parameter in reference.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    own = CLIP(PRESET).eval()
    load_strict(own, convert(reference.state_dict(), RULES, LoadReport("open_clip")), "open_clip", "")
    return reference, own


def test_image_and_text_embeddings_equal_open_clips(towers):
    reference, own = towers
    images = torch.randn(2, 3, 32, 32)
    tokens = build_tokenizer(PRESET.text)(["a photo of a tree", "water"])
    with torch.no_grad():
        torch.testing.assert_close(
            own.visual.pool(images), reference.encode_image(images), rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            own.encode_text(tokens), reference.encode_text(tokens), rtol=1e-5, atol=1e-5
        )
        short = cut_padding(tokens)
        assert short.shape == (2, 7) and not tokens[:, 7:].any()
        torch.testing.assert_close(own.encode_text(short), own.encode_text(tokens), rtol=1e-5, atol=1e-5)


def test_taps_are_kept_for_the_leading_images_only(towers):
    own = towers[1]
    images = torch.randn(4, 3, 40, 48)
    with torch.no_grad():
        every = own.visual.dense(images, taps=(0, 1))
        some = own.visual.dense(images, taps=(1,), tapped=1)
    assert every.final.shape == (4, 32, 5, 6) and every.taps[0].shape == (4, 128, 5, 6)
    assert list(some.taps) == [1] and torch.equal(some.taps[1], every.taps[1][:1])
    assert torch.equal(some.final, every.final)
