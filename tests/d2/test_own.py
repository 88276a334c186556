"""A user's own dataset from its YAML file to training and scores, and the check at the start of a run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from rskt_seg.commands.check import main as check_command
from rskt_seg.commands.train import main as train_command
from rskt_seg.d2.datasets import load_datasets, register_own
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.d2.mapper import RSDatasetMapper
from rskt_seg.errors import ConfigError, DatasetError, LabelError
from tests.d2.conftest import CONFIGS, TINY, tiny_config

ROOT = CONFIGS.parents[1]
SECTION = (ROOT / "datasets/README.md").read_text(encoding="utf-8").partition("## Your own data")[2]
CLASSES = ["building", "road", "field", "tree"]


def write_part(folder: Path, ignore: int = 255, count: int = 3, shape: tuple[int, int] = (40, 48)) -> None:
    """Pairs in `folder/images` and `folder/labels`: ids 0..3 in blocks, and a row that is ignored."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for k in range(count):
        ids = rng.integers(0, 4, shape, dtype=np.uint8)
        Image.fromarray(np.repeat(ids[..., None] * 60, 3, axis=2)).save(folder / f"images/plot{k}.jpg")
        ids[0] = ignore
        Image.fromarray(ids).save(folder / f"labels/plot{k}.png")


@pytest.fixture
def own(tmp_path):
    """Writes a dataset and its YAML file, registers it on request, and forgets all of them afterwards."""
    before = set(DatasetCatalog.list())

    def make(name: str = "farm", ignore: int = 255, classes: list[str] = CLASSES) -> str:
        folder = tmp_path / name
        write_part(folder, ignore)
        path = folder / "own.yaml"
        path.write_text(
            f"name: {name}\nclasses: [{', '.join(classes)}]\nignore: {ignore}\n"
            "splits: {train: {images: images, labels: labels}, val: {images: images, labels: labels}}\n"
        )
        return str(path)

    yield make
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def own_config(path: str, *opts: str):
    names = ("DATASETS.TRAIN", "('farm_train_sem_seg',)", "DATASETS.TEST", "('farm_val_sem_seg',)")
    return tiny_config("DATASETS.OWN", f"('{path}',)", *names, *opts)


def labels_of(path: str) -> list[Path]:
    return sorted(Path(path).with_name("labels").iterdir())


def change(path: Path, new) -> None:
    Image.fromarray(new(np.array(Image.open(path)))).save(path)


def test_every_split_of_the_file_is_registered_with_its_classes_and_ignored_id(own):
    path = own(ignore=254)
    names = ["farm_train_sem_seg", "farm_val_sem_seg"]
    assert register_own([path]) == dict.fromkeys(names, path)
    for name in names:
        metadata = MetadataCatalog.get(name)
        assert metadata.stuff_classes == CLASSES and len(metadata.stuff_colors) == 4
        assert (metadata.ignore_label, metadata.evaluator_type) == (254, "sem_seg")
        entries = load_datasets([name])
        assert [entry["ignore"] for entry in entries] == [254] * 3
        assert {entry["vocabulary"] for entry in entries} == {tuple(CLASSES)}


def test_registering_again_takes_the_file_as_it_is_then(own):
    path = own()
    register_own([path])
    register_own([path])
    register_own([own(classes=["a", "b", "c", "d"])])
    assert load_datasets(["farm_val_sem_seg"])[0]["vocabulary"] == ("a", "b", "c", "d")


def test_a_name_that_someone_else_has_is_refused(own, tmp_path):
    path = own()
    with pytest.raises(DatasetError, match=r"copy\.yaml: name: farm_train_sem_seg is in .*own\.yaml too"):
        copy = Path(path).with_name("copy.yaml")
        copy.write_text(Path(path).read_text())
        register_own([path, str(copy)])
    DatasetCatalog.remove("farm_train_sem_seg")
    DatasetCatalog.register("farm_train_sem_seg", list)
    with pytest.raises(
        DatasetError, match=r"own\.yaml: name: farm_train_sem_seg is registered by other code"
    ):
        register_own([path])


def test_an_unknown_name_is_told_where_own_data_come_from():
    with pytest.raises(ConfigError, match=r"'barn_val_sem_seg'.*DATASETS\.OWN"):
        load_datasets(["barn_val_sem_seg"])


@pytest.mark.parametrize("ignore", [0, 254, 255])
@pytest.mark.parametrize("value", [255, 200])
def test_training_translates_what_the_files_ignore_and_nothing_else(own, ignore, value):
    path = own(ignore=ignore)
    sizes = ("INPUT.MIN_SIZE_TRAIN", "(40,)", "INPUT.RANDOM_FLIP", "none", "INPUT.CROP.ENABLED", "False")
    cfg = own_config(
        path, *sizes, "INPUT.SIZE_DIVISIBILITY", "-1", "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", str(value)
    )
    check_datasets(cfg, training=True)
    for entry in load_datasets(["farm_train_sem_seg"]):
        stored = np.array(Image.open(entry["sem_seg_file_name"])).astype(int)
        target = RSDatasetMapper(cfg, is_train=True)(entry)["sem_seg"].numpy()
        assert np.array_equal(target, np.where(stored == ignore, value, stored))


@pytest.mark.parametrize("ignore", [0, 254])
def test_scores_leave_out_what_the_files_ignore(own, ignore):
    register_own([own(ignore=ignore)])
    evaluator = RSEvaluator("farm_val_sem_seg")
    labelled = 0
    for entry in load_datasets(["farm_val_sem_seg"]):
        ids = np.array(Image.open(entry["sem_seg_file_name"])).astype(np.int64)
        kept = ids != ignore
        labelled += kept.sum()
        guess = np.where(kept, ids, 3)
        scores = torch.nn.functional.one_hot(torch.from_numpy(guess), 4).permute(2, 0, 1).float()
        evaluator.process([entry], [{"sem_seg": scores}])
    results = evaluator.evaluate()["sem_seg"]
    assert results["mIoU"] == results["pACC"] == 100
    assert evaluator.scores.pixels.sum() == labelled
    assert ("IoU-building" in results) == (ignore != 0)


def test_an_ignored_value_of_the_configuration_that_is_a_class_is_refused(own):
    with pytest.raises(ConfigError, match=r"IGNORE_VALUE 2 would ignore a class of farm_train_sem_seg"):
        check_datasets(own_config(own(), "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "2"), training=True)
    check_datasets(own_config(own(ignore=2), "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "2"), training=True)


def test_a_foreign_dataset_brings_its_ignored_id(own):
    entry = {"file_name": "a.png", "sem_seg_file_name": "b.png"}
    for name, extra, ignore in (("foreign_a", {}, 255), ("foreign_b", {"ignore_label": 7}, 7)):
        DatasetCatalog.register(name, lambda: [entry])
        MetadataCatalog.get(name).set(stuff_classes=["roof", "road"], **extra)
        assert load_datasets([name])[0]["ignore"] == ignore


def test_an_error_stops_the_run_and_names_dataset_file_cure_and_the_full_check(own):
    path = own()
    (first, *_) = labels_of(path)
    change(first, lambda ids: np.where(ids == 3, 77, ids).astype(np.uint8))
    with pytest.raises(DatasetError) as error:
        check_datasets(own_config(path), training=False)
    message = str(error.value)
    assert message.startswith("farm_val_sem_seg: label ids outside 0..3 (4 classes) and 255 (ignored): ")
    assert f"{first} (found ids 77 (" in message and "is the class list complete" in message
    assert message.endswith(f"`rskt-seg check {path}` gives the complete list")
    assert "\n" not in message


def test_a_set_of_the_table_is_checked_under_its_own_name(data_root):
    (first, *_) = sorted((data_root / "UDD5/all/gt").iterdir())
    change(first, lambda ids: ids[:-1])
    cfg = tiny_config("DATASETS.TEST", "('UDD5_all_sem_seg',)")
    with pytest.raises(DatasetError, match=rf"{first} \(label 39x48.*rskt-seg check UDD5_all_sem_seg` gives"):
        check_datasets(cfg, training=False)


def test_an_evaluation_does_not_look_at_training_sets(own, data_root):
    for path in (data_root / "DLRSD_split/train/D2masks").iterdir():
        path.write_text("no label")
    cfg = tiny_config("DATASETS.TEST", "('UDD5_all_sem_seg',)")
    check_datasets(cfg, training=False)
    with pytest.raises(DatasetError, match="DLRSD_train_sem_seg: label cannot be read"):
        check_datasets(cfg, training=True)


def test_what_is_remarkable_is_a_warning(own, caplog):
    path = own()
    image = Image.open(labels_of(path)[0]).convert("L")
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.save(labels_of(path)[0])
    check_datasets(own_config(path), training=True)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split(":")[:2] for text in warnings] == [
        ["farm_train_sem_seg", " palette labels"], ["farm_val_sem_seg", " palette labels"]
    ]  # fmt: skip


def test_a_label_that_is_spoilt_after_the_check_is_still_refused(own):
    path = own(ignore=254)
    cfg = own_config(path)
    check_datasets(cfg, training=True)
    change(labels_of(path)[0], lambda ids: np.where(ids == 254, 255, ids).astype(np.uint8))
    with pytest.raises(LabelError, match="found ids 255"):
        RSDatasetMapper(cfg, is_train=True)(load_datasets(["farm_train_sem_seg"])[0])


SCRIPTS = {"check": "datasets/check.py", "train": "train_net.py", "eval": "train_net.py"}
"""Subcommand of `rskt-seg` -> the script of a checkout that does the same; "eval" with --eval-only."""


def commands() -> list[list[str]]:
    """The words of the commands that the section shows, as calls of scripts."""
    block = re.search(r"```sh\n(.*?)```", SECTION, re.S)[1].replace("\\\n", " ")
    found = []
    for _, name, *words in map(shlex.split, block.splitlines()):
        if name == "eval":
            words.insert(2, "--eval-only")
        found.append(["python", SCRIPTS[name], *words])
    return found


def at_root(word: str) -> str:
    """A file of the repository by its full path, and the tiny configuration in place of the full one."""
    word = word.replace("configs/ovrsis/vitb_dlrsd", "configs/ovrsis/tiny_dlrsd")
    return str(ROOT / word) if (ROOT / word).is_file() else word


def test_the_worked_example_of_the_readme_runs_as_it_is_printed(own, tmp_path, monkeypatch):
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm/farm.yaml").write_text(re.search(r"```yaml\n(.*?)```", SECTION, re.S)[1])
    for part in ("train", "val"):
        write_part(tmp_path / "farm" / part)
    monkeypatch.chdir(tmp_path)
    small = ["SOLVER.MAX_ITER", "2", *TINY, "DATALOADER.NUM_WORKERS", "1"]
    check, train, evaluate = ([at_root(word) for word in words] for words in commands())
    assert train[1] == evaluate[1] == str(ROOT / "train_net.py") and evaluate[4] == "--eval-only"

    assert check[1] == str(ROOT / "datasets/check.py") and check_command(check[2:]) == 0
    # Two processes and their workers, each of which has to know the dataset.
    train[2:2] = ["--num-gpus", "2", "--dist-url", "auto"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *train[1:], *small], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert train_command([*evaluate[2:], *small]) == 0
    scores = (tmp_path / "output/farm/inference/farm_val_sem_seg.json").read_text()
    assert all(f'"{name}"' in scores for name in CLASSES)
