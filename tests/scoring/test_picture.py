"""`rskt-seg picture`: a row for each scene, a column for image, truth and each method."""

import numpy as np
import pytest
from PIL import Image

from rskt_seg.commands import picture, score
from rskt_seg.palette import palette
from rskt_seg.visualization.scenes import Scene, draw_scenes
from tests.scoring.conftest import CLASSES, STEMS

NAME = "farm_val_sem_seg"


@pytest.fixture
def draw(farm, tmp_path):
    """Run the command on the dataset; return its exit status and the picture, if there is one."""

    def call(*words):
        out = tmp_path / "picture.png"
        out.unlink(missing_ok=True)
        common = ["--own", str(farm), "--dataset", NAME, "--output", str(out)]
        status = picture.main([*common, *map(str, words)])
        return status, np.asarray(Image.open(out)) if out.exists() else None

    return call


@pytest.fixture
def run_folder(farm):
    folder = farm.parent / "run"
    words = ["--own", str(farm), "--dataset", NAME, "--output", str(folder)]
    assert score.main(["--predictions", str(farm.parent / "first"), *words]) == 0
    return folder


def test_folders_and_runs_give_the_same_picture(draw, farm, run_folder, capsys):
    status, from_run = draw(f"Mine={run_folder}", f"Other={farm.parent / 'second'}")
    assert status == 0 and "3 scenes, 2 methods" in (said := capsys.readouterr().out)
    assert f"Mine: the predictions that {run_folder} scored" in said and "Other: the label files of" in said
    _, from_report = draw(f"Mine={run_folder / 'benchmark.json'}", f"Other={farm.parent / 'second'}")
    assert np.array_equal(from_run, from_report)
    _, from_folder = draw(f"Mine={farm.parent / 'first'}", f"Other={farm.parent / 'second'}")
    assert np.array_equal(from_run, from_folder)


def test_scenes_are_the_first_or_the_named_ones(draw, farm, capsys):
    _, one = draw("--scenes", 1, farm.parent / "first")
    assert "picture.png: 1 scene, 1 method\n" in capsys.readouterr().out
    _, named = draw("--scene", sorted(STEMS)[0], farm.parent / "first")
    _, both = draw("--scene", "a", "--scene", "ç", farm.parent / "first")
    assert np.array_equal(one, named) and len(both) > 1.5 * len(one)


def test_every_class_of_every_map_has_its_colour_in_the_picture():
    colors = palette(4)
    maps = [np.full((8, 9), k) for k in (0, 1, 255)]
    scene = Scene("scene", np.zeros((8, 9, 3), np.uint8), maps[0], maps[1:])
    found = draw_scenes([scene], (*CLASSES, "sand"), colors, titles=["$one", "two"])
    inside = {tuple(color) for color in found.reshape(-1, 3)}
    assert {tuple(colors[0]), tuple(colors[1]), (225, 225, 225)} <= inside
    assert tuple(colors[2]) not in inside and tuple(colors[3]) not in inside


def test_a_run_without_its_report_is_no_folder_of_label_files(draw, run_folder, capsys):
    (run_folder / "benchmark.json").unlink()
    assert draw(f"Mine={run_folder}")[0] == 2
    assert "has no benchmark.json: name a folder that" in capsys.readouterr().err


def test_a_prediction_that_has_changed_since_it_was_scored_is_refused(draw, farm, run_folder, capsys):
    file = farm.parent / "first" / "a.png"
    ids = np.array(Image.open(file))
    Image.fromarray(np.where(ids == 255, np.uint8(0), ids)).save(file)
    status, none = draw(run_folder)
    assert (status, none) == (2, None)
    assert "a.png: not the prediction that the run scored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scene", "x"], "--scene: farm_val_sem_seg has no image x; names have no extension, such as a"),
        (["--output", "picture.gif"], "--output must end in .png; found picture.gif"),
        (["first"], "two columns have one title"),
        (["model.pth"], "a checkpoint alone does not say how it is evaluated: name CONFIG,model.pth"),
        (["gone.yaml,model.pth"], "gone.yaml"),
    ],
)
def test_a_mistake_is_one_line(draw, farm, capsys, monkeypatch, words, message):
    monkeypatch.chdir(farm.parent)
    status, none = draw("first", *words)
    error = capsys.readouterr().err
    assert (status, none) == (2, None) and message in error and error.count("\n") == 1


def test_a_run_without_predictions_or_without_the_set_says_so(draw, farm, run_folder, capsys):
    file = run_folder / "benchmark.json"
    text = file.read_text()
    file.write_text(text.replace(str(farm.parent / "first"), ""))
    assert draw(run_folder)[0] == 2
    assert "kept no predictions of it (TEST.SAVE_PREDICTIONS)" in capsys.readouterr().err
    file.write_text(text.replace(NAME, "other_val_sem_seg"))
    assert draw(run_folder)[0] == 2
    assert "the run did not evaluate it" in capsys.readouterr().err
