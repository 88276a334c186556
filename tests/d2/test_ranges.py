"""Values of a configuration that no run can use are refused before it starts."""

import math
import re

import pytest
import yaml
from detectron2.config import get_cfg

from rskt_seg.d2.config import add_rskt_seg_config, load_config
from rskt_seg.d2.ranges import RANGES, check_values, leaves
from rskt_seg.errors import ConfigError
from tests.d2.conftest import CONFIGS

BASE = str(CONFIGS / "tiny_dlrsd.yaml")


def refusal(opts: list[str], file: str = BASE) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file, opts)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(("SOLVER.BASE_LR", value, "above 0, at most 1000") for value in ("nan", "inf", "1e999", "fast")),
        *(("SOLVER.BASE_LR", value, "above 0, at most 1000") for value in ("-0.1", "0.0", "2000.0")),
        ("SOLVER.CLIP_MULTIPLIER", "-0.1", "at least 0, at most 1000"),
        *(("SOLVER.IMS_PER_BATCH", value, "at least 1") for value in ("0", "-4", "2.5", "nan", "True")),
        *(("SOLVER.CHECKPOINT_PERIOD", value, "at least 1") for value in ("0", "-1")),
        *(("SOLVER.MAX_ITER", value, "at least 1") for value in ("0", "-3", "2.5", "1e5")),
        *((f"SOLVER.WEIGHT_DECAY{end}", "-0.1", "at least 0") for end in ("", "_NORM", "_EMBED")),
        ("DATALOADER.NUM_WORKERS", "-1", "at least 0"),
        ("SOLVER.MOMENTUM", "1.0", "at least 0 and below 1"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.0", "above 0"),
        ("TEST.EVAL_PERIOD", "-2", "at least -1"),
        ("SEED", "4294967296", "below 2147483648"),
    ],
)  # fmt: skip
def test_a_value_outside_of_its_range_is_refused_with_the_key_the_value_and_the_range(
    tmp_path, key, value, expected
):
    sentence = rf"{re.escape(key)} must be (an integer, )?{expected}.*; found '?{re.escape(value)}"
    sentence = sentence.replace("1e999", "inf").replace("1e5", r"100000\.0")
    assert re.search(f"command line: {sentence}", refusal([key, value]))
    *sections, last = key.split(".")
    text = f"_BASE_: {BASE}\n" + "".join(f"{section}: {{" for section in sections)
    (tmp_path / "c.yaml").write_text(f"{text}{last}: {value}{'}' * len(sections)}\n")
    assert re.search(rf"c\.yaml: {sentence}", refusal([], str(tmp_path / "c.yaml")))


def test_every_key_of_the_table_exists_and_its_default_is_allowed():
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    assert RANGES.keys() <= dict(leaves(cfg)).keys()
    check_values(cfg)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("DATASETS.TRAIN", "(1,)", "names in a tuple"),
        ("DATASETS.TEST", "(1,)", "names in a tuple"),
        ("DATASETS.OWN", "(1,)", "YAML files in a tuple"),
        ("INPUT.MIN_SIZE_TRAIN", "()", "one or more sizes"),
        ("INPUT.MIN_SIZE_TRAIN", "(64, -1)", "one or more sizes"),
        ("INPUT.MIN_SIZE_TRAIN", "(64.5,)", "one or more sizes"),
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "some", "one of choice, range"),
        ("INPUT.CROP.TYPE", "square", "one of absolute, absolute_range"),
        *(("INPUT.CROP.SIZE", value, "two numbers above 0") for value in ("[]", "[64]", "[64, 0]", "['a']")),
        ("OUTPUT_DIR", "", "the name of a folder"),
        ("TEST.EXPECTED_RESULTS", "[-1]", "lists of"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_single_number_is_refused_by_its_rule(key, value, expected):
    message = refusal([key, value])
    assert message.startswith(f"{key} must be {expected}") and "; found " in message


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_no_number_of_a_configuration_is_nan_or_infinite(tmp_path, value):
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    numbers = [key for key, default in leaves(cfg) if type(default) is float and "NORM_TYPE" not in key]
    assert len(numbers) > 20
    (tmp_path / "c.yaml").write_text(f"_BASE_: {BASE}\nINPUT: {{SCALE_RANGE: [0.5, {value}]}}\n")
    expected = f"INPUT.SCALE_RANGE must be a finite number; found {float(value.replace('.', ''))}"
    assert refusal([], str(tmp_path / "c.yaml")) == expected
    for key in numbers:
        changed = cfg.clone()
        *sections, last = key.split(".")
        node = changed
        for section in sections:
            node = node[section]
        node[last] = float(value.replace(".", ""))
        with pytest.raises(ConfigError, match=rf"^{re.escape(key)} must be .*; found -?(nan|inf)$"):
            check_values(changed)


def test_the_largest_value_is_a_norm_of_gradients(tmp_path):
    (tmp_path / "c.yaml").write_text(f"_BASE_: {BASE}\nSOLVER: {{CLIP_GRADIENTS: {{NORM_TYPE: .inf}}}}\n")
    assert math.isinf(load_config(str(tmp_path / "c.yaml")).SOLVER.CLIP_GRADIENTS.NORM_TYPE)


@pytest.mark.parametrize("value", ["(" * 3000, "[" * 100_000, "0" + "-1" * 100_000, "9" * 5000])
def test_a_value_that_nests_without_end_is_refused_in_one_short_line(value):
    assert "SOLVER.STEPS takes several values" in refusal(["SOLVER.STEPS", value])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DATASETS.OWN", "7"),
        ("DATASETS.TEST", "(farm_val_sem_seg,)"),
        ("INPUT.MIN_SIZE_TRAIN", "64"),
        ("INPUT.CROP.SIZE", "64"),
    ],
)
def test_one_value_in_place_of_several_is_refused_with_the_form_that_is_read(key, value):
    message = refusal([key, value])
    assert message.startswith(
        f"""command line: {key} takes several values, "('a', 'b')", or "('a',)" for one"""
    )
    assert message.endswith(f"; found {value!r}")


@pytest.mark.parametrize(
    ("value", "name"),
    [("its/a 'farm'.yaml", "its/a 'farm'.yaml"), ("('its/a.yaml')", "its/a.yaml"), ("a,b.yaml", "a,b.yaml")],
)
@pytest.mark.parametrize("key", ["DATASETS.OWN", "DATASETS.TRAIN", "DATASETS.TEST"])
def test_one_name_in_place_of_several_needs_no_tuple(key, value, name, tmp_path):
    last = key.rpartition(".")[2]
    assert load_config(BASE, [key, value]).DATASETS[last] == (name,)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"_BASE_": BASE, "DATASETS": {last: name}}))
    assert load_config(str(tmp_path / "c.yaml")).DATASETS[last] == (name,)


def test_a_name_of_a_file_with_a_zero_byte_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text(f'_BASE_: {BASE}\nOUTPUT_DIR: "a\\0b"\n')
    message = r"OUTPUT_DIR must be a text without zero bytes; found 'a\x00b'"
    assert refusal([], str(tmp_path / "c.yaml")) == message
