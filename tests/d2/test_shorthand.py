"""`--model`, `--data`, `--output` and keys in the habit of other programs."""

import pytest

from rskt_seg.commands.train import parse_args
from rskt_seg.d2.config import load_config
from rskt_seg.d2.config_files import config_names
from rskt_seg.d2.habits import _HABITS, instead_of
from rskt_seg.d2.ranges import leaves
from rskt_seg.d2.shorthand import choose_config, own_data
from rskt_seg.errors import ConfigError, DatasetError
from tests.d2.conftest import CONFIGS
from tests.d2.test_own import own, write_part  # noqa: F401

BASE = str(CONFIGS / "tiny_dlrsd.yaml")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bicor_convnextb", "bicor/convnextb.yaml"),
        ("bicor/tiny", "bicor/tiny.yaml"),
        ("configs/bicor/tiny.yaml", "bicor/tiny.yaml"),
        ("wsss_tiny", "wsss/tiny.yaml"),
        ("catseg_tiny_dlrsd", "peers/catseg_tiny_dlrsd.yaml"),
        ("vitb_dlrsd", "ovrsis/vitb_dlrsd.yaml"),
        ("fctl_inria_1_local", "fctl/inria/1_local.yaml"),
    ],
)
def test_a_short_name_is_one_configuration(name, file):
    assert choose_config(name) == file


def test_every_configuration_has_a_short_name_of_its_own():
    whole = [name for name in config_names() if "Base" not in name and "ablations" not in name]
    assert [choose_config(name.removesuffix(".yaml").replace("/", "_")) for name in whole] == whole


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tiny", "bicor/tiny, clip_zeroshot/tiny, fctl/tiny, wsss/tiny"),
        ("bicor_convnext", "near are bicor/convnextb"),
        ("ovrsis_tiny", "near are ovrsis/bench_tiny_dlrsd, ovrsis/tiny_dlrsd"),
        ("qqqq", "folders bicor, clip_zeroshot"),
        ("bicor/Base", "near are bicor/"),
    ],
)
def test_other_names_are_refused_with_the_near_ones(name, near):
    with pytest.raises(ConfigError) as caught:
        choose_config(name)
    assert near in str(caught.value)


def parsed(*argv: str):
    return parse_args("rskt-seg train", None, ["--model", "bicor_tiny", *argv])


def test_data_and_output_are_overrides_and_those_of_the_user_win(own, capsys):  # noqa: F811
    path = own()
    args = parsed("--data", path, "--output", "its/folder", "DATASETS.TEST", "('UDD5_all_sem_seg',)")
    cfg = load_config(args.config_file, args.opts)
    assert list(cfg.DATASETS.OWN) == [path] and list(cfg.DATASETS.TRAIN) == ["farm_train_sem_seg"]
    assert list(cfg.DATASETS.TEST) == ["UDD5_all_sem_seg"] and cfg.OUTPUT_DIR == "its/folder"
    assert "DATASETS.TRAIN ('farm_train_sem_seg',)" in capsys.readouterr().out


def write_parts(tmp_path, *parts: str) -> str:
    write_part(tmp_path)
    (tmp_path / "labels.csv").write_text("plot0.jpg,road\n")
    kinds = {True: "image_labels: labels.csv", False: "labels: labels"}
    lines = [f"  {part}: {{images: images, {kinds[part.startswith('weak')]}}}" for part in parts]
    file = tmp_path / "own.yaml"
    file.write_text("name: farm\nclasses: [building, road, field, tree]\nsplits:\n" + "\n".join(lines))
    return str(file)


@pytest.mark.parametrize(
    ("parts", "evaluating", "train", "tests"),
    [
        (("train", "val", "test"), False, ("train",), ("val", "test")),
        (("train", "val", "weak"), True, ("train",), ("val",)),
        (("all",), False, ("all",), ()),
        (("all",), True, (), ("all",)),
        (("a", "b"), True, (), ("a", "b")),
    ],
)
def test_the_part_train_is_trained_on_and_those_with_masks_are_scored(
    tmp_path, parts, evaluating, train, tests
):
    file = write_parts(tmp_path, *parts)
    named = [str(tuple(f"farm_{part}_sem_seg" for part in each)) for each in (train, tests)]
    assert own_data(file, [], evaluating) == (
        "DATASETS.OWN", str((file,)), "DATASETS.TRAIN", named[0], "DATASETS.TEST", named[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "opts", "evaluating", "message"),
    [
        (("a", "b"), [], False, "none called train: .* DATASETS.TRAIN farm_a_sem_seg"),
        (("train", "weak"), [], True, "none with masks besides train to score"),
        (("train",), ["DATASETS.OWN", "x.yaml"], False, "DATASETS.OWN x.yaml: give one of them"),
    ],
)
def test_data_that_leaves_open_what_is_meant_is_refused(tmp_path, parts, opts, evaluating, message):
    file = write_parts(tmp_path, *parts)
    with pytest.raises(ConfigError, match=message):
        own_data(file, opts, evaluating)


def test_a_user_decides_what_the_parts_leave_open(tmp_path):
    file = write_parts(tmp_path, "a", "b")
    words = own_data(file, ["DATASETS.TRAIN", "farm_a_sem_seg"], False)
    assert "DATASETS.TRAIN" not in words and words[:2] == ("DATASETS.OWN", str((file,)))


def test_two_names_of_one_thing_are_refused():
    with pytest.raises(ConfigError, match="--output a and OUTPUT_DIR b: give one"):
        parsed("--output", "a", "OUTPUT_DIR", "b")
    with pytest.raises(DatasetError, match="does not exist"):
        parsed("--data", "gone.yaml")


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("SOLVER.LR", "SOLVER.BASE_LR"),
        ("TRAIN.BATCH_SIZE", "SOLVER.IMS_PER_BATCH"),
        ("TRAIN.EPOCHS", "SOLVER.MAX_ITER"),
        ("MODEL.NUM_CLASSES", "DATASETS.TRAIN"),
        ("solver.base_lr", "SOLVER.BASE_LR"),
        ("MODEL.NUM_WORKERS", "DATALOADER.NUM_WORKERS"),
        ("SLOVER.IMS_PER_BATCH", "SOLVER.IMS_PER_BATCH"),
    ],
)
def test_a_key_of_another_habit_is_refused_with_the_one_here(key, instead):
    with pytest.raises(ConfigError, match=rf"unknown key {key}; .*{instead}"):
        load_config(BASE, [key, "4"])


def test_every_key_that_is_advised_exists():
    known = [key for key, _ in leaves(load_config(BASE))]
    for habit, advice in _HABITS.items():
        key = advice.partition(" ")[0].rstrip(",")
        assert key in known or advice.startswith("the flag --num-gpus"), habit
        assert instead_of(f"X.{habit}", known).removeprefix("did you mean ").removeprefix("use ")


@pytest.mark.parametrize("words", [["SOLVER.BASE_LR=0.1"], ["SEED", "1", "SOLVER.BASE_LR=0.1"]])
def test_an_equals_sign_is_no_blank(words):
    with pytest.raises(ConfigError, match=r"without '=': write SOLVER\.BASE_LR 0\.1$"):
        load_config(BASE, words)
    assert load_config(BASE, ["OUTPUT_DIR", "A=b"]).OUTPUT_DIR == "A=b"
