"""`rskt-seg demo` leaves scenes and a picture of them, and the command that it shows can be typed."""

import shlex
import sys

import numpy as np
import pytest
from PIL import Image

from rskt_seg.commands import demo
from rskt_seg.commands.cli import main
from rskt_seg.synthetic import MINIATURES, render_unseen


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_a_picture_of_scenes_and_the_next_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "a folder"
    assert main(["demo", "--output", str(out), "--scenes", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{out / 'picture.png'}: 2 generated scenes")
    made = files(out)
    scenes = {f"unseen/{kind}/scene{index}.png" for kind in ("images", "truth") for index in range(2)}
    assert made.keys() == scenes | {"picture.png"}
    row = MINIATURES["DLRSD"]
    drawn = render_unseen(row, 1, 1, 96)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "unseen/images/scene1.png")), drawn.image)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "unseen/truth/scene1.png")), row.labels(drawn))
    picture = np.asarray(Image.open(out / "picture.png"))
    assert picture.ndim == 3 and min(picture.shape[:2]) > 300 and len(np.unique(picture)) > 100
    words = shlex.split(second.partition(": ")[2])
    assert words[0] == "rskt-seg" and main([*words[1:], "--device", "cpu"]) == 0
    assert (tmp_path / "results" / "scene0_overlay.png").exists()
    assert main(["demo", "--output", str(out), "--scenes", "2"]) == 0 and files(out) == made


def test_the_command_is_shown_with_its_folder_where_that_is_not_searched(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/a folder/bin/rskt-seg", "demo"])
    monkeypatch.setenv("PATH", "")
    assert demo._program() == "'/a folder/bin/rskt-seg'"
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert demo._program() == "rskt-seg"


def test_a_folder_that_cannot_be_is_one_line(tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert main(["demo", "--output", str(tmp_path / "taken"), "--scenes", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rskt-seg demo: error: cannot write to {tmp_path / 'taken'}: ")


def test_other_seeds_draw_other_scenes_and_none_is_one_of_a_set():
    row = MINIATURES["DLRSD"]
    first, other, again = (render_unseen(row, seed, 0, 64).image for seed in (1, 2, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("words", [["--scenes", "0"], ["--scenes", "x"]])
def test_a_wrong_call_draws_nothing(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["demo", *words])
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
