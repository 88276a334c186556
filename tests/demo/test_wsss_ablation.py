"""The ablation of the weakly supervised method on synthetic scenes: its data and its table."""

import argparse
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import wsss_ablation  # noqa: E402

from rskt_seg.d2 import load_config  # noqa: E402
from rskt_seg.d2.specs import model_spec  # noqa: E402
from rskt_seg.data.catalog import find_split, pairs  # noqa: E402
from rskt_seg.data.image_labels import split_image_labels  # noqa: E402
from rskt_seg.data.own import read_own  # noqa: E402


def arguments(tmp_path: Path, name: str = "land", **changes) -> argparse.Namespace:
    sizes = {"train_scenes": 3, "test_scenes": 2, "iterations": None, "seeds": [1, 2], "only": ["none", "T"]}
    return argparse.Namespace(output=tmp_path, set=name, **sizes | changes)


def write_run(folder: Path, masks: float, cams: float) -> None:
    (folder / "inference").mkdir(parents=True)
    for end, score in (("", masks), ("_CAM", cams)):
        classes = {"a": {"pixels": 50}, "b": {"pixels": 50}, "c": {"pixels": 0}}
        row = {"mIoU": score, "mF1": score + 1, "pACC": score + 2, "classes": classes}
        content = {"datasets": {"land_test_sem_seg": row}}
        (folder / "inference" / f"land_test_sem_seg{end}.json").write_text(json.dumps(content))


def test_the_land_scenes_become_a_dataset_whose_parts_share_nothing(tmp_path):
    data, words = wsss_ablation.draw(arguments(tmp_path), 1)
    assert words == ("DATASETS.OWN", f"('{data}/land.yaml',)")
    train, test = read_own(data / "land.yaml")
    assert (train.name, test.name) == ("land_train_sem_seg", "land_test_sem_seg")
    found = [{pair.image.stem for pair in pairs(split, data)} for split in (train, test)]
    assert [len(stems) for stems in found] == [3, 2] and not found[0] & found[1]


@pytest.mark.parametrize("name", wsss_ablation.CONFIGS)
@pytest.mark.parametrize("variant", wsss_ablation.VARIANTS)
def test_every_variant_is_a_configuration_with_its_modules_on(monkeypatch, tmp_path, name, variant):
    called = []
    monkeypatch.setattr(wsss_ablation, "draw", lambda *_: (tmp_path, ()))
    monkeypatch.setattr(wsss_ablation, "call", lambda *words, data: called.append(list(map(str, words))))
    wsss_ablation.measure(arguments(tmp_path, name), variant, 1)
    ((_, _, file, *words),) = called
    words.remove("--resume")
    spec = model_spec(load_config(str(ROOT / file), words))
    assert (
        tuple(m.upper() for m in ("tpe", "usr", "vpe") if getattr(spec, m)) == wsss_ablation.VARIANTS[variant]
    )


def test_the_table_has_mean_and_spread_and_the_initial_cam_no_masks(tmp_path):
    args = arguments(tmp_path)
    write_run(wsss_ablation._folder(args, wsss_ablation.INITIAL, 1), 1.0, 30.0)
    write_run(wsss_ablation._folder(args, "none", 1), 40.0, 50.0)
    write_run(wsss_ablation._folder(args, "none", 2), 44.0, 50.0)
    found = wsss_ablation.complete(args)
    assert found["none"][1]["chance"] == pytest.approx(100 * (0.5 / 3) / (0.5 + 1 / 3 - 0.5 / 3))
    _, _, initial, none = wsss_ablation.table(found).splitlines()
    assert [cell.strip() for cell in initial.split("|")[1:-1]] == [
        "initial CAM (T)",
        "1",
        "-",
        "-",
        "-",
        "30.0",
    ]
    assert "42.0 ± 2.8" in none and "50.0 ± 0.0" in none


@pytest.mark.parametrize("name", wsss_ablation.CONFIGS)
def test_scenes_of_which_nothing_is_told_show_every_class_by_their_labels(tmp_path, name):
    data, _ = wsss_ablation.draw(arguments(tmp_path, name), 1)
    wsss_ablation.tell_every_class(name, data)
    (split,) = read_own(data / "untold.yaml")
    shown = split_image_labels(split, data)
    told = find_split(wsss_ablation.TESTS[name]) if name == "objects" else read_own(data / "land.yaml")[1]
    assert split.class_set.names == told.class_set.names
    assert {pair.image for pair in pairs(split, data)} == {pair.image for pair in pairs(told, data)}
    assert len(shown) == 2 and all(ids == tuple(range(len(told.class_set.names))) for ids in shown.values())
