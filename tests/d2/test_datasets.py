"""The dataset table in Detectron2's catalogs."""

import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from rskt_seg.d2.datasets import load_datasets, register_splits
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.data.catalog import SPLITS
from rskt_seg.errors import ConfigError, DatasetError, DatasetNotFoundError
from tests.d2.conftest import CONFIGS, tiny_config, write_split


@pytest.fixture
def foreign():
    """Registers a dataset as a user of plain Detectron2 does, and forgets it afterwards."""
    names = []

    def register(name, dicts, classes):
        names.append(name)
        DatasetCatalog.register(name, lambda: dicts)
        MetadataCatalog.get(name).set(stuff_classes=classes, ignore_label=255)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_every_row_of_the_table_is_registered_with_its_classes():
    for split in SPLITS:
        assert split.name in DatasetCatalog.list()
        metadata = MetadataCatalog.get(split.name)
        assert tuple(metadata.stuff_classes) == split.class_set.names
        assert [tuple(c) for c in metadata.stuff_colors] == list(split.class_set.colors)
        assert (metadata.ignore_label, metadata.evaluator_type) == (255, "sem_seg")


def test_registering_again_changes_nothing():
    before = dict(DatasetCatalog)
    register_splits()
    assert dict(DatasetCatalog) == before


def test_registering_reads_no_folder():
    code = "import rskt_seg.d2; from detectron2.data import DatasetCatalog as c; print(len(c.list()))"
    environment = {"DETECTRON2_DATASETS": "/nowhere", "PYTHONPATH": str(CONFIGS.parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= len(SPLITS)


def test_the_root_is_that_of_the_moment_of_loading(data_root, tmp_path, monkeypatch):
    first = load_datasets(["UDD5_all_sem_seg"])
    other = tmp_path / "elsewhere"
    write_split(other, "UDD5_all_sem_seg", count=2)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(other))
    second = load_datasets(["UDD5_all_sem_seg"])
    assert (len(first), len(second)) == (3, 2)
    assert all(entry["file_name"].startswith(str(other)) for entry in second)


def test_without_the_variable_the_root_is_datasets_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / "datasets", "UDD5_all_sem_seg", count=1)
    assert len(load_datasets(["UDD5_all_sem_seg"])) == 1


def test_each_dataset_brings_its_own_vocabulary(data_root):
    for name, classes in (("DLRSD_val_sem_seg", 17), ("UDD5_all_sem_seg", 5)):
        vocabularies = {entry["vocabulary"] for entry in load_datasets([name])}
        assert vocabularies == {tuple(MetadataCatalog.get(name).stuff_classes)}
        assert len(vocabularies.pop()) == classes


def test_a_missing_folder_is_told_with_the_expected_layout(data_root):
    with pytest.raises(
        DatasetNotFoundError, match=r"VDD/src[\s\S]*stems\)\.\s+Put [\s\S]*DETECTRON2_DATASETS"
    ):
        load_datasets(["VDD_all_sem_seg"])


def test_an_unknown_name_is_told_with_near_ones():
    with pytest.raises(ConfigError, match=r"UDD_all_sem_seg.*did you mean UDD5_all_sem_seg"):
        load_datasets(["UDD_all_sem_seg"])


def test_a_foreign_dataset_takes_its_vocabulary_from_its_metadata(foreign):
    name = foreign("mine", [{"file_name": "a.png", "sem_seg_file_name": "b.png"}], ["roof", "road"])
    assert [entry["vocabulary"] for entry in load_datasets([name])] == [("roof", "road")]


def test_a_vocabulary_in_another_order_than_the_metadata_is_refused(foreign):
    dicts = [{"file_name": "a.png", "sem_seg_file_name": "b.png", "vocabulary": ("road", "roof")}]
    with pytest.raises(DatasetError, match="same names in the same order"):
        load_datasets([foreign("mine", dicts, ["roof", "road"])])


def test_a_dataset_without_class_names_is_refused(foreign):
    with pytest.raises(DatasetError, match="stuff_classes"):
        load_datasets([foreign("mine", [{"file_name": "a.png"}], [])])


def test_datasets_of_different_classes_cannot_be_trained_as_one(data_root):
    with pytest.raises(DatasetError, match="different classes"):
        load_datasets(["DLRSD_train_sem_seg", "UDD5_all_sem_seg"])
    assert len(load_datasets(["DLRSD_train_sem_seg", "DLRSD_val_sem_seg"])) == 6


def test_all_datasets_of_a_run_are_looked_for_before_it_begins(data_root):
    check_datasets(tiny_config("DATASETS.TEST", "('UDD5_all_sem_seg','DLRSD_val_sem_seg')"), training=True)
    with pytest.raises(DatasetNotFoundError):
        check_datasets(tiny_config("DATASETS.TEST", "('UDD5_all_sem_seg','VDD_all_sem_seg')"), training=True)
    with pytest.raises(ConfigError, match="TRAIN is empty"):
        check_datasets(tiny_config("DATASETS.TRAIN", "()"), training=True)
    with pytest.raises(ConfigError, match="TEST is empty"):
        check_datasets(tiny_config("DATASETS.TEST", "()"), training=False)
