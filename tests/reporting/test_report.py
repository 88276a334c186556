"""The page of a run: complete, escaped, by itself, and the same for the same files."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.commands.report import main
from rskt_seg.reporting import read_run_folder, report_page

CLASSES = ("<script>alert(1)</script>", '$x^2$ & "y"', "water")
COUNTS = [[30, 10, 0], [0, 5, 0], [10, 5, 0], [0, 0, 0]]
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects the elements of a page, and fails where one is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def pictures(self) -> list[str]:
        return [attrs["alt"] for tag, attrs in self.seen if tag == "img"]


def write_set(folder: Path, name: str = "farm_val_sem_seg", picture: bool = True) -> None:
    inference = folder / "inference"
    inference.mkdir(parents=True, exist_ok=True)
    state = {"classes": CLASSES, "num_classes": 3, "ignore": 255, "counts": COUNTS}
    (inference / f"{name}.confusion.json").write_text(json.dumps(state))
    if picture:
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(inference / f"{name}.png")


def write_curves(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in (19, 39):
        lines.append({"iteration": step, "total_loss": 40 / (step + 1), "lr": 0.01, "time": 0.1})
        scores = {"sem_seg/mIoU": step / 2, "sem_seg/pACC": 70 - step, f"sem_seg/IoU-{CLASSES[0]}": 1.0}
        lines.append({"iteration": step + (step == 39), **scores})
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_record(folder: Path) -> None:
    facts = {
        "method": "RSKT-Seg", "versions": {"torch": "2.0<b>"}, "seconds": 3723.0, "iterations": 40,
        "max_iter": 40, "config_file": "a&b.yaml", "file_sets": {"SEED": "42"},
        "changes": {"SOLVER.MAX_ITER": ["320", "40"]},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"training": facts}))
    (folder / "config.yaml").write_text("SEED: 42 # <i>\n")


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "output"
    write_curves(folder)
    write_set(folder)
    write_record(folder)
    return folder


def page_of(folder: Path) -> str:
    return report_page(read_run_folder(folder))


def test_it_shows_curves_scores_pictures_settings_versions_and_time(run):
    found = Reader(page_of(run))
    assert found.pictures() == [
        "curves of the losses", "curve of the learning rate", "curves of the scores",
        "curves of the IoU of each class", "confusion matrix", "images beside ground truth and prediction",
    ]  # fmt: skip
    words = " ".join(found.text)
    assert "40 of 40 iterations in 1 h 02 min 03 s" in words
    assert words.index("SOLVER.MAX_ITER") < words.index("SEED: 42")  # differences first
    assert "torch" in words and "a&b.yaml" in words


def test_its_numbers_are_those_of_an_independent_count(run):
    page = page_of(run)
    counts = np.array(COUNTS)
    for k, name in enumerate(CLASSES[:2]):
        hits, predicted, true = counts[k, k], counts[k].sum(), counts[:, k].sum()
        expected = [hits / (predicted + true - hits), hits / predicted, hits / true]
        row = next(
            row for row in re.findall(r"<tr>.*?</tr>", page) if name[1:6] in row and "pixels" not in row
        )
        assert re.findall(r">(\d+\.\d\d)<", row)[:3] == [f"{100 * each:.2f}" for each in expected]
    best = next(row for row in re.findall(r"<tr>.*?</tr>", page) if "<td>pACC</td>" in row)
    assert re.findall(r'number">([\d.]+)<', best) == ["51.00", "20", "31.00"]


def test_texts_are_escaped_and_nothing_comes_from_outside(run):
    page = page_of(run)
    found = Reader(page)
    assert {tag for tag, _ in found.seen}.isdisjoint({"script", "link", "iframe", "object", "b", "i"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for _, attrs in found.seen:
        assert not any(name.startswith("on") for name in attrs) and "href" not in attrs
        assert attrs.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    assert "url(" not in page and "@import" not in page


def test_the_same_files_give_the_same_bytes(run):
    assert page_of(run) == page_of(run)


def test_an_evaluation_alone_has_a_page(tmp_path):
    write_set(tmp_path, picture=False)
    (tmp_path / "run.json").write_text('{"evaluation": {"method": "FCtL", "seconds": 61.2}}')
    found = Reader(page_of(tmp_path))
    assert found.pictures() == ["confusion matrix"]
    assert "farm_val_sem_seg" in found.text and "Evaluated in 0 h 01 min 01 s." in found.text


def test_a_training_that_goes_on_has_a_page(tmp_path, capsys):
    write_record(tmp_path)
    assert "Nothing has been evaluated yet." in Reader(page_of(tmp_path)).text
    write_curves(tmp_path)
    with open(tmp_path / "metrics.json", "a") as file:
        file.write('{"iteration": 59, "total_')
    words = " ".join(Reader(page_of(tmp_path)).text)
    assert "1 line of metrics.json could not be read" in words
    assert main([str(tmp_path)]) == 0 and (tmp_path / "report.html").is_file()
    assert "report.html: curves of 2 points, 0 scored sets" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_a_run_is_refused_in_one_line(name, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "photo.tif").touch()
    assert main([str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "metrics.json" in line and "photo.tif" in line if name == "empty" else "OUTPUT_DIR" in line
    assert not (tmp_path / "empty" / "report.html").exists()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"classes": ["a"]}',
        '{"classes": ["a"], "num_classes": 2, "ignore": 255, "counts": 1}',
        '{"classes": ["a", "b"], "num_classes": 1, "ignore": 255, "counts": [[1], [0]]}',
        '{"classes": ["a"], "num_classes": 1, "ignore": 255, "counts": [[0], [0]]}',
    ],
)
def test_damaged_counts_are_named_in_one_line(content, run, capsys):
    (run / "inference" / "farm_val_sem_seg.confusion.json").write_text(content)
    assert main([str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "farm_val_sem_seg.confusion.json is damaged" in line


def test_many_sets_classes_and_losses_are_all_there(tmp_path):
    write_set(tmp_path, "a_sem_seg")
    write_set(tmp_path, "b_sem_seg_TTA")
    scalars = {f"{name}_sem_seg/sem_seg/IoU-class {k}": float(k) for name in "ab" for k in range(50)}
    scalars |= {f"{name}_sem_seg/sem_seg/mIoU": 1.0 for name in "ab"} | {"loss_heat": 2.0, "total_loss": -1.0}
    (tmp_path / "metrics.json").write_text(json.dumps({"iteration": 0, **scalars}))
    found = Reader(page_of(tmp_path)).pictures()
    assert found.count("curves of the IoU of each class a_sem_seg") == 2
    assert found.count("confusion matrix") == 2 and "curves of the scores b_sem_seg" in found
