"""Saved predictions of an evaluation: complete or evaluated again, and scored to the same numbers."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rskt_seg.commands import score
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.d2.trainer import Trainer
from rskt_seg.data.catalog import find_split
from rskt_seg.errors import DatasetError
from rskt_seg.metrics.stored import read_run
from rskt_seg.scoring.predictions import replace_predictions, save_prediction, unfinished_predictions
from rskt_seg.scoring.tally import Tally
from tests.d2.conftest import tiny_config

SETS = ("DLRSD_val_sem_seg", "UDD5_all_sem_seg")
SAVING = ("TEST.SAVE_PREDICTIONS", "True")


@pytest.fixture
def cfg(data_root, tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "weights.safetensors"
    save_file(Trainer.build_model(tiny_config()).state_dict(), path)

    def build(*opts: str, out: str = "out"):
        folder = tmp_path / out
        return tiny_config(
            "MODEL.WEIGHTS", str(path), "OUTPUT_DIR", str(folder), "DATASETS.TEST", str(SETS), *opts
        )

    return build


def report(folder):
    return json.loads((folder / "benchmark.json").read_text())


def test_saved_predictions_score_the_same_to_the_last_bit(cfg, data_root, tmp_path, capsys):
    image = data_root / find_split(SETS[0]).images / "scene0.jpg"  # a TIFF inside, with a hole
    pixels = np.asarray(Image.open(image))
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[:7] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(image, format="TIFF")
    evaluate(cfg(*SAVING))
    words = [word for name in SETS for word in ("--dataset", name)]
    own = ["--output", str(tmp_path / "scored"), "--trained-on", "DLRSD_train_sem_seg"]
    assert score.main(["--predictions", str(tmp_path / "out" / "inference"), *words, *own]) == 0
    evaluated, scored = (report(tmp_path / name) for name in ("out", "scored"))
    assert scored["mean"] == evaluated["mean"]
    for name in SETS:
        first, second = evaluated["datasets"][name], scored["datasets"][name]
        for records in (first["records"], second["records"]):
            records["predictions"] = ""  # a path
        assert first == second
        counts = [
            folder / "inference" / f"{name}.images.npz" for folder in (tmp_path / "out", tmp_path / "scored")
        ]
        assert counts[0].read_bytes() == counts[1].read_bytes()
    ids = np.asarray(Image.open(tmp_path / "out" / "inference" / SETS[0] / "scene0.png"))
    assert ids.dtype == np.uint8 and (ids[:7] == 255).all() and (ids[7:] < 17).all()
    assert "mean of 2" in capsys.readouterr().out


def test_nothing_is_saved_unless_it_is_asked_for_and_the_scores_are_the_same(cfg, tmp_path, passes):
    plain = evaluate(cfg())
    assert not (tmp_path / "out" / "inference" / SETS[0]).exists()
    assert report(tmp_path / "out")["datasets"][SETS[0]]["records"]["predictions"] == ""
    assert evaluate(cfg(*SAVING, out="saving")) == plain
    assert passes == [*SETS, *SETS]


def test_counts_are_not_taken_up_where_predictions_are_missing_or_have_changed(cfg, tmp_path, passes, caplog):
    first = evaluate(cfg())
    with caplog.at_level(logging.INFO, "rskt_seg"):
        assert evaluate(cfg(*SAVING)) == first
    assert f"{SETS[0]}: evaluated again, because scene0.png is not saved" in caplog.text
    assert passes == [*SETS, *SETS]
    evaluate(cfg(*SAVING))
    evaluate(cfg())  # what is saved does no harm
    assert passes == [*SETS, *SETS]
    folder = tmp_path / "out" / "inference"
    kept = (folder / SETS[1] / "scene1.png").read_bytes()
    (folder / SETS[1] / "scene1.png").unlink()
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(folder / SETS[0] / "scene2.png")
    evaluate(cfg(*SAVING))
    assert passes == [*SETS, *SETS, *SETS] and (folder / SETS[1] / "scene1.png").read_bytes() == kept


def other_weights(folder):
    """Weights of another checkpoint."""
    torch.manual_seed(2)
    path = folder / "other.safetensors"
    save_file(Trainer.build_model(tiny_config()).state_dict(), path)
    return path


def saved(folder, name=SETS[0]):
    return {path.name: path.read_bytes() for path in (folder / "inference" / name).glob("[!.]*")}


def test_files_that_no_evaluation_wrote_are_refused_before_the_first_image(cfg, tmp_path, passes):
    folder = tmp_path / "out" / "inference" / SETS[0]
    folder.mkdir(parents=True)
    before, after = folder / "scene0.png", folder / "overlay.png"
    before.write_bytes(b"mine")
    with pytest.raises(
        DatasetError, match=r"holds 1 PNG file that no evaluation wrote: scene0\.png\. .*: move"
    ):
        evaluate(cfg(*SAVING))
    assert before.read_bytes() == b"mine" and not passes
    before.unlink()
    evaluate(cfg(*SAVING))
    after.write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"overlay\.png"):
        evaluate(cfg(*SAVING))
    assert after.read_bytes() == b"mine" and passes == list(SETS)


def test_predictions_of_another_checkpoint_are_replaced_whole(cfg, tmp_path, data_root):
    evaluate(cfg(*SAVING))
    out, first = tmp_path / "out", saved(tmp_path / "out")
    (out / "inference" / SETS[0] / "notes.txt").write_text("mine")
    for folder in (find_split(SETS[0]).images, find_split(SETS[0]).labels):  # a smaller set
        next((data_root / folder).glob("scene2.*")).unlink()
    other = other_weights(tmp_path)
    evaluate(cfg(*SAVING, "MODEL.WEIGHTS", str(other)))
    found = saved(out)
    assert sorted(found) == ["notes.txt", "scene0.png", "scene1.png"] and found.pop("notes.txt") == b"mine"
    assert all(found[name] != first[name] for name in found)
    evaluate(cfg(*SAVING, "MODEL.WEIGHTS", str(other), out="fresh"))
    assert found == saved(tmp_path / "fresh")
    assert not list((out / "inference").glob(".*"))


def test_an_interrupted_evaluation_leaves_the_earlier_predictions_whole(cfg, tmp_path, monkeypatch):
    evaluate(cfg(*SAVING))
    first = saved(tmp_path / "out")
    count = Tally.count

    def stop(self, digests, *rest):
        if digests.stem == "scene1":
            raise KeyboardInterrupt
        return count(self, digests, *rest)

    other = cfg(*SAVING, "MODEL.WEIGHTS", str(other_weights(tmp_path)))
    with monkeypatch.context() as patch:
        patch.setattr(Tally, "count", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(other)
    assert saved(tmp_path / "out") == first
    evaluate(other)
    assert saved(tmp_path / "out").keys() == first.keys() and saved(tmp_path / "out") != first
    assert not list((tmp_path / "out" / "inference").glob(".*"))


def test_predictions_of_several_processes_are_put_together_and_what_killed_ones_left_is_removed(tmp_path):
    folder = tmp_path / "set"
    for rank, stem in ((0, "a"), (2, "b"), (7, "of a killed process")):
        save_prediction(unfinished_predictions(folder, rank), stem, np.zeros((2, 2), np.uint8))
    assert not replace_predictions(folder, 3)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".predictions", "a.png", "b.png", "set"]
    assert replace_predictions(folder, 1)  # by an evaluation of no image
    assert [path.name for path in folder.iterdir()] == [".predictions"]


def test_a_process_that_is_killed_while_it_replaces_loses_no_file_of_the_user(tmp_path, monkeypatch):
    folder, ids = tmp_path / "set", np.zeros((2, 2), np.uint8)
    save_prediction(unfinished_predictions(folder, 0), "a", ids)
    replace_predictions(folder, 1)
    (folder / "notes.txt").write_text("mine")
    rename = Path.replace
    for steps in range(3):
        left = iter(range(steps))

        def stop(path, target, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return rename(path, target)

        save_prediction(unfinished_predictions(folder, 0), "b", ids)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stop)
            with pytest.raises(KeyboardInterrupt):
                replace_predictions(folder, 1)
        save_prediction(unfinished_predictions(folder, 0), "b", ids)
        replace_predictions(folder, 1)
        assert {path.name for path in folder.iterdir()} == {".predictions", "b.png", "notes.txt"}, steps
        assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PK")])
def test_counts_without_those_of_images_are_not_taken_up(cfg, tmp_path, passes, damage):
    evaluate(cfg())
    path = tmp_path / "out" / "inference" / f"{SETS[0]}.images.npz"
    before = path.read_bytes()
    damage(path)
    evaluate(cfg())
    assert passes == [*SETS, SETS[0]] and path.read_bytes() == before


def test_a_run_read_again_has_the_counts_and_predictions_that_its_report_names(cfg, tmp_path):
    evaluate(cfg(*SAVING))
    run = read_run(tmp_path / "out")
    assert tuple(run.sets) == SETS and run.title == "out"
    for name in SETS:
        assert run.image_counts(name).stems == ("scene0", "scene1", "scene2")
        assert len(list(run.predictions(name).glob("*.png"))) == 3


def test_a_control_saves_its_predictions_beside_those_of_the_result(cfg, tmp_path):
    evaluate(cfg(*SAVING, "TEST.ROTATE_NAMES", "1"))
    assert {path.name for path in (tmp_path / "out" / "inference").iterdir() if path.is_dir()} == {
        f"{name}_rotated1" for name in SETS
    }


def test_images_of_one_stem_are_refused_before_anything_is_evaluated(cfg, monkeypatch):
    from rskt_seg.d2 import loaders

    load = loaders.load_datasets
    monkeypatch.setattr(loaders, "load_datasets", lambda names: load(names) * 2)
    check_datasets(cfg(), training=False)
    with pytest.raises(DatasetError, match="several images share a stem: scene0, scene1, scene2"):
        check_datasets(cfg(*SAVING), training=False)
