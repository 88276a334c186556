"""The tiny model of the package has its digest, segments scenes, and says what it is not for."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import rskt_seg
from rskt_seg.checkpoints.fetch import VERIFIED, fetch
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.commands import rio, segment
from rskt_seg.errors import VocabularyError, WeightsNotFoundError
from rskt_seg.methods.named import find_named
from rskt_seg.methods.notices import model_notices
from rskt_seg.synthetic import MINIATURES, render_unseen

ROOT = Path(__file__).parents[2]
ROW = find_named("tiny").weights
FILE = ROW.place()
NAMES = MINIATURES["DLRSD"].classes
LIMIT = "generated scenes only"


@pytest.fixture(scope="module")
def trained():
    return rskt_seg.load("tiny")


def scene(index, seed=7, side=96):
    return render_unseen(MINIATURES["DLRSD"], seed, index, side)


def write_scene(folder, side=96):
    Image.fromarray(scene(0, side=side).image).save(folder / "scene.png")
    return folder / "scene.png"


def test_the_file_has_the_digest_of_its_row_and_stays_small():
    digest, name = FILE.with_suffix(".sha256").read_text().split()
    assert name == FILE.name and digest == ROW.sha256 == hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert ROW.size == FILE.stat().st_size <= 12_000_000
    assert fetch(ROW).state == VERIFIED
    page = (ROOT / ROW.page).read_text()
    assert digest in page and f"{ROW.size:,} bytes" in page


def test_it_loads_strictly_and_states_everything_itself(trained):
    stored = load_file(FILE)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    state = trained.model.state_dict()
    assert stored.keys() == state.keys() and {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert all(torch.equal(stored[key].float(), state[key]) for key in stored)
    stated = read_weights(FILE)
    assert [each["name"] for each in stated.trained_on] == ["DLRSD_train_sem_seg"]
    assert trained.options["short_side"] == 96 and LIMIT in stated.limits
    page = (ROOT / ROW.page).read_text()
    assert f"{sum(tensor.numel() for tensor in stored.values()):,}" in page


def test_it_segments_scenes_that_it_never_saw(trained):
    """The bounds are far below what it reaches, and far above chance and any answer of one colour."""
    segmenter = rskt_seg.Segmenter(trained, NAMES)
    drawn = [scene(index) for index in range(24)]
    truths = np.stack([MINIATURES["DLRSD"].labels(each) for each in drawn])
    labels = np.stack([segmenter.predict(each.image).labels for each in drawn])
    accuracy = (labels == truths).mean()
    best_single = max((truths == label).mean() for label in range(len(NAMES)))
    best_of_each_scene = np.mean([np.bincount(truth.ravel()).max() / truth.size for truth in truths])
    assert accuracy > ACCURACY and accuracy > best_of_each_scene + 0.2
    assert best_single < 0.35 and 1 / len(NAMES) < 0.06


ACCURACY = 0.8


def test_it_reads_the_names_and_not_their_order(trained):
    picture = scene(3).image
    forward = rskt_seg.Segmenter(trained, NAMES).predict(picture).labels
    backward = rskt_seg.Segmenter(trained, NAMES[::-1]).predict(picture).labels
    assert (forward == len(NAMES) - 1 - backward).mean() > 0.9


def test_whoever_uses_it_is_told_that_it_knows_generated_scenes_only(trained, caplog):
    for options in ({}, {"precision": "fp32"}):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            segmenter = rskt_seg.Segmenter(rskt_seg.load(FILE), NAMES, **options)
        assert [LIMIT in record.getMessage() for record in caplog.records] == [True]
        assert sum(LIMIT in notice for notice in segmenter.predict(scene(0).image).notices) == 1


def test_other_weights_in_the_same_model_are_not_spoken_of():
    model = rskt_seg.load("tiny").model
    assert model_notices(model)
    torch.manual_seed(0)
    rskt_seg.load_checkpoint(model, rskt_seg.create_model("rskt_tiny").state_dict())
    assert not model_notices(model)


def test_words_that_it_does_not_know_are_refused_with_the_nearest(trained):
    with pytest.raises(VocabularyError, match=r"never saw 'bildings'.*near in spelling: .*buildings"):
        rskt_seg.Segmenter(trained, ["bildings", "grass"]).predict(scene(0).image)
    with pytest.raises(VocabularyError, match=r"never saw 'xqzw'.*training; use the words"):
        rskt_seg.Segmenter(trained, ["xqzw", "grass"]).predict(scene(0).image)


def ids(folder):
    return np.asarray(Image.open(folder / "scene_ids.png"))


def test_its_name_gives_the_map_of_its_file_on_the_command_line_and_in_rio(tmp_path, caplog):
    picture, words = write_scene(tmp_path), ["--device", "cpu", "--vocabulary", ", ".join(NAMES)]
    for option, value in (("--model", "tiny"), ("--weights", FILE), ("--model", FILE)):
        caplog.clear()
        out = tmp_path / f"{option}-{Path(value).name}"
        assert segment.main([str(picture), option, str(value), *words, "--output", str(out)]) == 0
        assert caplog.text.count(LIMIT) == 1  # not again for every image
    result = CliRunner().invoke(
        rio.segment, [str(picture), "--model", "tiny", *words, "--output", str(tmp_path / "rio")]
    )
    assert result.exit_code == 0
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    expected = rskt_seg.Segmenter(rskt_seg.load("tiny"), NAMES, precision="fp32").predict(picture).labels
    assert len(folders) == 4 and all(np.array_equal(ids(folder), expected) for folder in folders)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_larger_scene_is_segmented_in_windows_and_its_provenance_says_what_the_model_is_not_for(
    tmp_path, caplog
):
    picture, out = write_scene(tmp_path, side=208), tmp_path / "out"
    words = ["--model", "tiny", "--device", "cpu", "--vocabulary", ", ".join(NAMES), "--polygons", "none"]
    assert segment.main([str(picture), *words, "--output", str(out)]) == 0
    assert caplog.text.count(LIMIT) == 1
    truth = MINIATURES["DLRSD"].labels(scene(0, side=208))
    assert (ids(out) == truth).mean() > 0.5
    assert LIMIT in json.dumps(json.loads((out / "scene_provenance.json").read_text()))


def test_detectron2_is_not_needed(tmp_path):
    code = (
        "import sys\nsys.modules['detectron2'] = None\n"
        "from rskt_seg.commands.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    words = ["segment", str(write_scene(tmp_path)), "--model", "tiny", "--vocabulary", "grass, trees"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--output", str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and ids(tmp_path / "out").shape == (96, 96), done.stderr


def test_a_package_that_has_lost_its_file_is_to_be_installed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(type(ROW), "place", lambda self, folder="": tmp_path / self.file)
    with pytest.raises(WeightsNotFoundError, match=r"came with rskt_seg\.methods\.rskt and is gone: install"):
        rskt_seg.load("tiny")
