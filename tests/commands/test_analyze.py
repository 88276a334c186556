"""`rskt-seg analyze`: from a configuration to a table and files."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import rskt_seg.d2  # prepares Detectron2 for the imports below

# isort: split
import pytest

import rskt_seg
from rskt_seg.analysis import text_report
from rskt_seg.commands import analyze
from rskt_seg.commands.cli import main
from rskt_seg.d2.analysis import Request, parse_sizes
from rskt_seg.d2.analysis import analyze as analyze_request
from rskt_seg.errors import ConfigError
from rskt_seg.methods import unregister_method
from tests.methods.test_fifth_method import COLOUR, CONFIG, ColourModel

TINY = "bicor/tiny.yaml"
SCRIPT = """\
import sys
from rskt_seg.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""


def run(*arguments, capsys):
    status = main(["analyze", *map(str, arguments)])
    return status, capsys.readouterr()


def test_a_configuration_is_analyzed_without_weights_or_data(capsys, tmp_path):
    arguments = ("--config-file", TINY, "--sizes", "96x64,200x96", "--no-time", "--output", tmp_path)
    status, said = run(*arguments, "TEST.TILE", "96", "TEST.AUG.ENABLED", "True", capsys=capsys)
    assert status == 0 and "a multiply-add counts as 2 FLOPs" in said.out
    found = json.loads((tmp_path / "analyze.json").read_text("utf-8"))
    first, second = found["images"]
    assert (first["width"], first["height"], first["crops"], second["crops"]) == (96, 64, 1, 3)
    assert first["augmented"]["crops"] == 4 and first["augmented"]["flops"] == 4 * first["flops"]
    assert second["flops"] == sum(call["times"] * call["flops"] for call in second["calls"])
    assert first["flops"] == 2 * first["multiply_adds"] > 0 and first["measured"] is None
    assert found["parameters"]["total"] == found["parameters"]["trained"] + found["parameters"]["frozen"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "analyze.csv").read_text("utf-8"))))
    assert [int(row["flops"]) for row in rows] == [first["flops"], second["flops"]]
    assert (tmp_path / "analyze.md").read_text("utf-8").startswith("# BiCoR-Seg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["analyze.csv", "analyze.json", "analyze.md"]


def test_the_analysis_of_another_model_is_not_replaced(capsys, tmp_path):
    arguments = ("--sizes", "64x64", "--no-time", "--output", tmp_path)
    assert run("--config-file", TINY, *arguments, capsys=capsys)[0] == 0
    before = (tmp_path / "analyze.json").read_bytes()
    status, said = run("--config-file", TINY, *arguments, "MODEL.BICOR.NUM_LAYERS", "3", capsys=capsys)
    assert status == 2 and "analyze.json is no analysis of this model and is not replaced" in said.err
    assert (tmp_path / "analyze.json").read_bytes() == before
    assert run("--config-file", TINY, *arguments, capsys=capsys)[0] == 0
    (tmp_path / "analyze.json").write_text("{")
    assert run("--config-file", TINY, *arguments, capsys=capsys)[0] == 2


def test_time_and_memory_are_measured_in_a_process_of_their_own(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)
    arguments = ["analyze", "--config-file", TINY, "--sizes", "64x64", "--runs", "2", "--warmup", "1"]
    arguments += ["--threads", "1", "--output", str(tmp_path)]
    command = [sys.executable, str(tmp_path / "run.py"), *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr[-2000:]
    (image,) = json.loads((tmp_path / "analyze.json").read_text("utf-8"))["images"]
    measured = image["measured"]
    assert len(measured["seconds"]) == 2 and measured["threads"] == 1
    assert measured["fvcore_agrees"] and "fvcore's count of the calls: agrees" in result.stdout
    assert measured["images_per_second"] == pytest.approx(1 / measured["median_seconds"])


def test_an_open_vocabulary_has_as_many_names_as_asked_and_more_cost_more():
    few, many = (
        analyze_request(Request("ovrsis/tiny_dlrsd.yaml", classes=classes, runs=0)) for classes in (3, 20)
    )
    assert (few.classes, many.classes) == (3, 20)
    assert "none of a RSKT-Seg that computes as this one" in " ".join(few.notices)
    assert "frozen; 3 classes\n" in text_report(few)
    assert "frozen; 1 class\n" in text_report(replace(few, classes=1))
    assert many.images[0].cost.flops > few.images[0].cost.flops
    assert "3 of them made of two" in " ".join(many.notices)


@pytest.mark.parametrize("reads", [False, True], ids=["without values", "built by values"])
def test_a_method_that_says_nothing_of_its_cost_is_analyzed_too(reads, tmp_path, monkeypatch):
    rskt_seg.register_method(COLOUR)
    build = ColourModel.__init__

    def read(self, spec, class_names=None):
        build(self, spec, class_names)
        self.bound = self.classify.weight.detach().abs().max().item()  # which "meta" does not have

    if reads:
        monkeypatch.setattr(ColourModel, "__init__", read)
    (tmp_path / "colour.yaml").write_text(CONFIG)
    try:
        found = analyze_request(Request(str(tmp_path / "colour.yaml"), sizes=((10, 20),), runs=0))
    finally:
        unregister_method("colour")
    (image,) = found.images
    assert image.cost.flops == 2 * 200 * (3 * 8 + 8 * found.classes) and image.cost.crops is None


MISTAKES = {
    "--sizes 256": "--sizes takes WIDTHxHEIGHT",
    "--sizes 0x5": "--sizes takes WIDTHxHEIGHT",
    "--sizes 96x96,96X96": "--sizes has 96x96 twice; name each size once",
    "--classes 3": "the classes of this model are fixed",
    "--runs 0": "--runs must be at least 1; found 0",
    "MODEL.BICOR.WIDHT 3": "unknown key MODEL.BICOR.WIDHT",
    "MODEL.WEIGHTS nothing.pth": "'nothing.pth' does not exist",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake, capsys):
    status, said = run("--config-file", TINY, *mistake.split(), capsys=capsys)
    assert status == 2 and said.err.count("\n") == 1 and MISTAKES[mistake] in said.err


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    status, said = run("--config-file", TINY, "--no-time", "--output", tmp_path / "out", capsys=capsys)
    assert status == 2 and "must be a folder" in said.err and (tmp_path / "out").read_text() == "mine"


def test_sizes_are_width_by_height():
    assert parse_sizes("256x128, 5000X4000") == ((128, 256), (4000, 5000))
    with pytest.raises(ConfigError, match="1 to 32768 px"):
        parse_sizes("40000x2")
    assert analyze.parse_args(["--config-file", "a"]).runs == 5
