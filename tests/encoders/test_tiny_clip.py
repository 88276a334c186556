"""The shipped tiny CLIP is the file that its digest names, fits its preset, and knows what it was taught."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rskt_seg.data.catalog import DEEPGLOBE, SPLITS
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_TINY
from rskt_seg.encoders.text import build_tokenizer, vocabulary_size
from rskt_seg.synthetic import NAMES

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "rskt_seg" / "encoders" / "tiny_clip.safetensors"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrain", ROOT / "tools" / "pretrain_tiny_clip.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip():
    model = CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text))
    model.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()}, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def pool(script):
    return script.ScenePool(130, seed=77)


def test_the_file_has_its_digest_and_stays_small():
    digest, name = WEIGHTS.with_suffix(".sha256").read_text().split()
    assert name == WEIGHTS.name
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == digest
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_every_caption_of_every_name_can_be_read(script):
    tokenize = build_tokenizer(CLIP_TINY.text)
    asked = (split.class_set for split in SPLITS if not split.protocol)
    names = {*NAMES, *DEEPGLOBE.names, *(name for classes in asked for name in classes.names)}
    captions = [template.format(name) for template in script.TEMPLATES for name in names]
    tokens = tokenize(captions)
    assert tokens.shape == (len(captions), CLIP_TINY.text.context_length)
    assert len({tuple(row) for row in tokens.tolist()}) == len({caption.lower() for caption in captions})


def test_it_names_scenes_that_it_never_saw(clip, script, pool):
    scores = script.evaluate(clip, build_tokenizer(CLIP_TINY.text), pool, seed=0, count=20)
    assert scores["crop_accuracy_concepts"] > 55, "chance is 3.2"
    assert scores["dense_miou_dlrsd"] > 25, "chance is about 3"


def test_the_figures_fall_to_chance_without_the_weights(script, pool):
    torch.manual_seed(0)
    blank = CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text)).eval()
    scores = script.evaluate(blank, build_tokenizer(CLIP_TINY.text), pool, seed=0, count=10)
    assert scores["crop_accuracy_concepts"] < 12
    assert scores["dense_miou_dlrsd"] < 8


def test_training_starts_and_writes_what_it_says(script, pool, tmp_path):
    model = CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text))
    path = tmp_path / "tiny.safetensors"
    options = [
        "--output",
        str(path),
        "--iterations",
        "2",
        "--batch",
        "4",
        "--wide-batch",
        "1",
        "--cells",
        "4",
        "--dense-weight",
        "1",
    ]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    script.train(model, build_tokenizer(CLIP_TINY.text), pool, script.parse(options))
    still = [n for n, v in model.state_dict().items() if torch.equal(v, before[n])]
    assert still == [], "every parameter learns"
    digest = script.save(model, path, {"seed": "1"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
